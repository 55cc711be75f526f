"""FedQuad without quantized depth (ablation): the same selection over the candidates (d, 0), d <= k."""

from fedquad.rounds.strategy import Strategy
from fedquad.strategies import fedquad

VARIANTS = fedquad.VARIANTS


def strategy(
    variant: str = "", *, acs: str = "default", theta: float = 0.5, c: float = 1e-4, is_relative: bool = False
) -> Strategy:
    """Make the ablation; the parameters are FedQuad's."""
    return fedquad.strategy(variant, acs=acs, theta=theta, c=c, is_relative=is_relative, is_quantizing=False)
