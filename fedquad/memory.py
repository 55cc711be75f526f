"""Bytes of one training step, counted from the model's shape: weights, and what autograd keeps for the backward pass.

Per token of one trained layer, with e bytes an element, h hidden, f intermediate, A heads, s sequence, r rank:

    eager  e(2h + f) LayerNorm and GELU inputs + e*3h q, k, v + e*2As softmax and its dropped copy + (2h + As) masks
           + LoRA: e*h the layer's input (with LoRA dropout a dropped copy and a mask for each adapted module) + e*r each
           + 16 LayerNorm statistics
    sdpa   e*h attention's output + 4A logsumexp in place of softmax, copy and its mask

RoBERTa-base b32 s128 with LoRA dropout: 50,768 bytes a token, 198.3 MiB a layer (the paper: 199). A frozen layer
above a trained one keeps the same without LoRA's inputs. The lowest trained layer keeps no q: K, from an input
without gradient, needs none.

INT8 with a float scale per 32 x 32 block keeps (1 + 4/1024) bytes of each float it reaches.
"""

from dataclasses import dataclass

from fedquad.flops import DECODERS, Target, key_value_width
from fedquad.types import ModelShape

ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}
CODE_BYTES = 1 + 4 / 1024  # INT8 and its block's scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What one layer keeps per token, by kind."""

    floats: int  # elements of activations that INT8 reaches
    exact: int  # bytes it does not: masks, statistics
    inputs: int  # elements of LoRA's inputs, kept only where LoRA trains
    masks: int  # bytes of LoRA dropout's masks
    lowest_floats: int  # what the lowest trained layer spares
    lowest_masks: int
    narrow: int  # elements of A x per unit of rank, kept only where B trains


def kept_per_token(
    shape: ModelShape, sequence: int, attention: str, targets: tuple[Target, ...], lora_dropout: float
) -> Kept:
    """Count what autograd keeps of one token in one layer."""
    h, f, heads = shape.hidden, shape.intermediate, shape.heads
    kv = key_value_width(shape)
    has_dropout = shape.dropout > 0
    floats, exact = 2 * h + f + h + 2 * kv, 16 + (2 * h if has_dropout else 0)
    if attention == "eager":
        floats += heads * sequence * (2 if has_dropout else 1)
        exact += heads * sequence if has_dropout else 0
    else:
        floats += h
        exact += 4 * heads
    if shape.architecture == "deberta-v2":
        span = 2 * shape.position_buckets
        floats += h + 2 * heads * span + -(-2 * h * span // sequence)
    if shape.architecture in DECODERS:
        floats += 2 * f + h
    widths = [target.inputs for target in targets]
    shared = {target.reads: target.inputs for target in targets}
    query = any(target.role == "query" for target in targets)
    reads_x = sum(target.inputs for target in targets if target.reads == "x")
    return Kept(
        floats=floats,
        exact=exact,
        inputs=sum(widths) if lora_dropout > 0 else sum(shared.values()),
        masks=sum(widths) if lora_dropout > 0 else 0,
        lowest_floats=h if query and not any(target.role == "key" for target in targets) else 0,
        lowest_masks=reads_x if lora_dropout > 0 else 0,
        narrow=len(targets),
    )


def layer_weights(shape: ModelShape) -> int:
    """Elements of one frozen layer's weights."""
    h, f, kv = shape.hidden, shape.intermediate, key_value_width(shape)
    if shape.architecture in DECODERS:
        return 2 * h * h + 2 * h * kv + 3 * h * f + 2 * h
    return 4 * h * h + 2 * h * f + 4 * h + f + h + 4 * h


def embedding_weights(shape: ModelShape) -> int:
    """Elements of the embeddings; DeBERTa keeps relative positions instead of absolute ones."""
    positions = 2 * shape.position_buckets or shape.positions
    return (shape.vocabulary + positions + 2) * shape.hidden


def head_weights(shape: ModelShape, labels: int) -> int:
    """Elements that every device trains: the classifier, and the pooler where it is new."""
    dense = 0 if shape.architecture in ("bert", *DECODERS) else shape.hidden * (shape.hidden + 1)
    return dense + labels * (shape.hidden + 1)


def pooler_weights(shape: ModelShape) -> int:
    """Elements of a pretrained pooler, frozen."""
    return shape.hidden * (shape.hidden + 1) if shape.architecture == "bert" else 0


def workspace(shape: ModelShape, tokens: int, sequence: int, attention: str, element: int) -> int:
    """Bytes of the two largest temporaries of a step: gradient and operand of the widest activation."""
    widest = max(shape.intermediate, shape.heads * sequence if attention == "eager" else shape.hidden)
    return 2 * tokens * widest * element
