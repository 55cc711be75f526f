"""What lies above the layers, by kind of task: operations of a step, elements that every device trains, bytes that it keeps."""

from dataclasses import dataclass
from typing import Protocol

from fedquad.prices.flops import DECODERS, head_width
from fedquad.types import ModelShape

CHUNK_ELEMENTS = 2**24  # of a language head's logits at a time: 64 MiB in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A head's share of a step."""

    forward: int  # FLOPs
    gradient: int  # FLOPs of its own parameters' gradients
    backward: int  # FLOPs of the gradient it passes on to the layers
    weights: int  # elements that every device trains
    kept: int  # bytes that autograd keeps
    frozen: int = 0  # elements of its weights that nobody trains
    workspace: int = 0  # bytes of its largest temporaries
    is_masked: bool = True  # whether attention is told of padding, by a bias in every layer


class HeadCost(Protocol):
    """Counts a head's share of a step."""

    def __call__(self, shape: ModelShape, batch: int, sequence: int, labels: int, element: int, /) -> Head: ...


def of_sequence(shape: ModelShape, batch: int, sequence: int, labels: int, element: int) -> Head:
    """Pooler and classifier, on one token an example."""
    forward, gradient, backward = head_flops(shape, batch, labels)
    return Head(
        forward=forward,
        gradient=gradient,
        backward=backward,
        weights=head_weights(shape, labels),
        kept=head_kept(shape, batch, sequence, labels, element),
    )


def of_tokens(shape: ModelShape, batch: int, sequence: int, labels: int, element: int) -> Head:
    """A classifier on every token, behind a dropout."""
    tokens = batch * sequence
    product = 2 * tokens * shape.hidden * labels
    # The layers' output or its last norm, as dropout leaves it, with a mask; log-probabilities in float32.
    norm = tokens * shape.hidden * element if shape.architecture in DECODERS else 0
    return Head(
        forward=product,
        gradient=product,
        backward=product,
        weights=labels * (shape.hidden + 1),
        kept=tokens * (shape.hidden * (element + 1) + labels * 4 + 8) + norm,
    )


def of_language(shape: ModelShape, batch: int, sequence: int, labels: int, element: int) -> Head:
    """A frozen language head on every token, its loss in chunks: what is kept is the gradient of what it reads.

    Answers are shorter than their examples, so that this is the most it costs: the head runs on their tokens alone.
    """
    tokens, product = batch * sequence, 2 * batch * sequence * shape.hidden * shape.vocabulary
    return Head(
        forward=product,
        gradient=0,
        backward=product,
        weights=0,
        # That gradient; the last norm's input and statistic in float32; the angles that every layer turns by.
        kept=tokens * (shape.hidden * (element + 4) + 4) + 2 * sequence * head_width(shape) * element,
        frozen=shape.vocabulary * shape.hidden if shape.has_own_head else 0,
        workspace=2 * 4 * min(tokens * shape.vocabulary, CHUNK_ELEMENTS),
        is_masked=False,
    )


def head_flops(shape: ModelShape, batch: int, labels: int) -> tuple[int, int, int]:
    """Forward of pooler and classifier, on one token per example; their own gradients; the gradient they pass on."""
    out = 2 * batch * shape.hidden * labels
    if shape.architecture in DECODERS:
        return out, out, out
    dense = 2 * batch * shape.hidden**2
    if shape.architecture == "bert":  # its pooler is frozen
        return dense + out, out, dense + out
    return dense + out, dense + 2 * out, dense


def head_weights(shape: ModelShape, labels: int) -> int:
    """Elements that every device trains: the classifier, and the pooler where it is new."""
    dense = 0 if shape.architecture in ("bert", *DECODERS) else shape.hidden * (shape.hidden + 1)
    return dense + labels * (shape.hidden + 1)


def head_kept(shape: ModelShape, batch: int, sequence: int, labels: int, element: int) -> int:
    """Bytes that pooler and classifier keep of one token; DeBERTa's pooler holds on to the whole last output."""
    rows, masks = (2, 1) if shape.architecture in ("bert", "deberta-v2") else (3, 2)
    # A decoder's score reads every token, after a last norm.
    outputs = 2 if shape.architecture in DECODERS else int(shape.architecture == "deberta-v2")
    whole = outputs * batch * sequence * shape.hidden * element
    return whole + batch * (shape.hidden * (rows * element + masks) + labels * element + 8) + element
