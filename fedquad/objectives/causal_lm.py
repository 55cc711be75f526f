"""The words of an answer, one after the other: perplexity, and how many greedy answers are the reference, token by token.

A greedy answer is the reference exactly if each of its tokens is the likeliest after the reference's own, so that one forward
pass tells both.
"""

import math

import numpy as np

from fedquad.objective import Metric, Objective, Sums
from fedquad.prices import heads

MOST_LOSS = 100.0  # a perplexity beyond, or of a loss that is no number, is said as that of this loss


def score(sums: Sums) -> dict[str, float]:
    tokens, examples = max(int(sums["count"]), 1), max(int(sums["examples"]), 1)
    loss = float(sums["loss"]) / tokens
    return {
        "perplexity": math.exp(loss if loss < MOST_LOSS else MOST_LOSS),
        "exact_match": int(sums["exact"]) / examples,
        "token_accuracy": int(sums["right"]) / tokens,
    }


OBJECTIVE = Objective(
    name="causal_lm",
    metrics=(
        Metric(name="perplexity", direction="down", is_share=False),
        Metric(name="exact_match"),
        Metric(name="token_accuracy"),
    ),
    score=score,
    nothing=lambda labels: {name: np.zeros((), np.int64) for name in ("right", "exact", "examples")},
    head=heads.of_language,
    task_type="CAUSAL_LM",
    outputs=lambda names: 0,
)
