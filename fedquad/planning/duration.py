"""How long a campaign takes on a machine whose speed is known: its floating-point work over what the machine gets done in a second.

The work counts what is trained, at six tenths of the layers, and what is scored. It is the work of the model that is trained, whatever the fleet is
priced as. What a machine gets done is read off the last campaign that it ran, so that all that is not arithmetic is in it.
"""

from collections.abc import Mapping

from fedquad.prices.cost import CostModel
from fedquad.spec import CampaignSpec

# Training and test examples, so that a plan needs no data: GLUE's, and what the generated tasks make unless told.
EXAMPLES: Mapping[str, tuple[int, int]] = {
    "mnli": (392_702, 9_815), "qqp": (363_846, 40_430), "qnli": (104_743, 5_463), "sst2": (67_349, 1_821),
}  # fmt: skip
GENERATED = (20_000, 2_000)
DEPTH = 0.6  # of the layers, as methods train on the mean


def examples_of(data: str) -> tuple[int, int] | None:
    """Training and test examples of a data set; none of one that only its files tell."""
    return EXAMPLES.get(data) or (GENERATED if data.startswith("mini-") else None)


def round_flops(spec: CampaignSpec, cost: CostModel) -> float | None:
    """Floating-point operations of one arm's round; `cost` is that of the model trained, at the batch it is trained with."""
    known = examples_of(spec.data.name)
    train, test = spec.data.train or (known and known[0]), spec.data.test or (known and known[1])
    if not train or not test:
        return None
    asked = spec.fleet.size * spec.participation * spec.fleet.availability
    steps = asked * (spec.training.steps or max(1, train / spec.fleet.size / spec.training.batch))
    scored = (test + (spec.data.validation or test)) / spec.training.batch
    constants = cost.constants
    return steps * (constants.c_f + DEPTH * cost.layers * constants.c_d) + scored * constants.c_f


def seconds(spec: CampaignSpec, cost: CostModel, flops_per_second: float, done: int = 0) -> float | None:
    """Wall seconds of the rounds of all arms, less so many that are done."""
    one = round_flops(spec, cost)
    rounds = len(spec.arms) * len(spec.seeds) * spec.rounds - done
    return None if one is None else rounds * one / flops_per_second
