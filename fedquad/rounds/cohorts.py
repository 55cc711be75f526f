"""Which devices train together in one stack, by the plan alone.

    compose(assignments, most=4)        # ((9, 0, 3), (7, 1, 2)): devices 9, 0 and 3 together, deepest first
    most(layout, model, training)       # how many a stack may hold of this model and batch; 0: no stacks

A sum in a matrix product can depend on how many rows the product has, so the bits of a device's update depend on who is beside
it. Therefore this looks at nothing but assignments and shapes: not at processes, times, or who will drop out.
"""

from collections.abc import Hashable, Sequence
from itertools import pairwise

from fedquad.spec import ModelSpec, TrainingSpec
from fedquad.types import Assignment, ModelLayout

STACKED = ("bert", "roberta", "llama", "qwen2")  # whose attention can be told apart from the layer around it
USUAL = 8
MOST_NUMBERS = 1 << 18  # that one layer of a stack hands to the next: beyond, company spares nothing (LOG.md)


def most(layout: ModelLayout, model: ModelSpec, training: TrainingSpec) -> int:
    """The most devices a stack may hold, as long as their rows are few. Where there is room for one alone, that is a stack if
    stacks were asked for, and none by rule."""
    each = training.batch * model.max_length * layout.shape.hidden
    is_known = layout.shape.architecture in STACKED and all(
        _is_linear(name, shape) for name, shape in layout.head.items()
    )
    if not is_known or training.cohort == 1:
        return 0
    fitting = min(training.cohort or USUAL, MOST_NUMBERS // each)
    return max(fitting, 1) if training.cohort else fitting if fitting > 1 else 0


def _is_linear(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter of the head can be a linear layer's; a norm's weight is a vector."""
    return len(shape) == (2 if name.endswith(".weight") else 1)


def compose(assignments: Sequence[Assignment], most: int) -> tuple[tuple[int, ...], ...]:
    """Cohorts of at most so many devices, as even as can be and even in number; whoever is in none trains as ever, as do all where `most` is 0.

    Devices of any depth and rank train together, if what else they are told is the same.
    """
    alike: dict[Hashable, list[Assignment]] = {}
    for assignment in assignments if most else ():
        if is_plain(assignment):
            alike.setdefault(_kind(assignment), []).append(assignment)
    return tuple(part for group in alike.values() for part in _parts(sorted(group, key=_place), most))


def is_plain(assignment: Assignment) -> bool:
    """Whether a device trains, without INT8 activations and a kept prefix."""
    return not (assignment.quantized or assignment.prefix or assignment.local.probe_batches)


def _kind(assignment: Assignment) -> Hashable:
    a = assignment
    is_top = a.trained == a.present[len(a.present) - len(a.trained) :]
    return a.present, a.steps, a.learning_rate, None if is_top else a.trained


def _place(assignment: Assignment) -> tuple[int, int]:
    return -len(assignment.trained), assignment.device


def _parts(group: Sequence[Assignment], most: int) -> list[tuple[int, ...]]:
    count = -(-len(group) // most)
    if 1 < count < len(group):
        count += count % 2  # an odd one out would leave half the processes idle at a round's end
    ends = [len(group) * at // count for at in range(count + 1)]
    return [tuple(a.device for a in group[begin:end]) for begin, end in pairwise(ends)]
