"""Why an update does not answer its assignment: wrong round, base, layers, ranks, shapes, dtypes, or numbers that are none.

Whatever a device sends has passed here before it is added to anything.
"""

from collections.abc import Iterator

import numpy as np

from fedquad.types import Adapter, Assignment, Update


def refusal(update: Update, assignment: Assignment, round: int, sent: str, like: Adapter) -> str:
    """The first reason to refuse an update, or the empty string. `like` has the global adapter's shapes."""
    return next(_reasons(update, assignment, round, sent, like), "")


def _reasons(update: Update, assignment: Assignment, round: int, sent: str, like: Adapter) -> Iterator[str]:
    if update.device != assignment.device:
        yield f"device {assignment.device} was asked, device {update.device} answered"
    if update.round != round:
        yield f"it answers round {update.round}, this is round {round}"
    if update.based_on != sent:
        yield f"it is based on adapter {update.based_on[:12]!r}, but {sent[:12]!r} was sent"
    layers, trained = set(update.delta.layers), set(assignment.trained)
    if layers != trained:
        extra, missing = sorted(layers - trained), sorted(trained - layers)
        yield f"its layers do not match its configuration: extra {extra}, missing {missing}; its worker may run another version"
        return
    for layer in sorted(layers):
        yield from _layer_reasons(update, assignment, layer, like)
    yield from _head_reasons(update, like)


def _layer_reasons(update: Update, assignment: Assignment, layer: int, like: Adapter) -> Iterator[str]:
    pairs, whole = update.delta.layers[layer], like.layers[layer]
    if set(pairs) != set(whole):
        yield f"layer {layer} has LoRA on {sorted(pairs)}, not on {sorted(whole)}"
        return
    greatest = assignment.rank_of(layer)
    least = assignment.least_ranks[assignment.present.index(layer)] if assignment.least_ranks else greatest
    for target, pair in pairs.items():
        reference = whole[target]
        rank = pair.a.shape[0] if pair.a.ndim == 2 else -1
        if not least <= rank <= greatest:
            yield f"layer {layer}, {target}: rank {rank}, but its configuration says {least} to {greatest}"
            return
        for name, found, wanted in (
            ("A", pair.a, (rank, reference.a.shape[1])),
            ("B", pair.b, (reference.b.shape[0], rank)),
        ):
            yield from _tensor_reasons(f"layer {layer}, {target}, {name}", found, wanted)


def _head_reasons(update: Update, like: Adapter) -> Iterator[str]:
    if set(update.delta.head) != set(like.head):
        yield f"its head has {sorted(update.delta.head)}, not {sorted(like.head)}"
        return
    for name, found in update.delta.head.items():
        yield from _tensor_reasons(f"head {name}", found, like.head[name].shape)


def _tensor_reasons(name: str, found: np.ndarray, shape: tuple[int, ...]) -> Iterator[str]:
    if found.shape != shape:
        yield f"{name} has shape {found.shape}, not {shape}"
    elif found.dtype != np.float32:
        yield f"{name} has dtype {found.dtype}, not float32"
    elif not np.isfinite(found).all():
        yield f"{name} holds NaN or Inf"
