"""Bytes of one training step, counted from the model's shape: weights, and what autograd keeps for the backward pass.

Per token of one trained layer, with e bytes an element, h hidden, f intermediate, A heads, s sequence, r rank:

    eager   e(2h + f) LayerNorm and GELU inputs + e 3h q, k, v + e 2As softmax and its dropped copy + (2h + As) masks
            + LoRA: e h the layer's input (with dropout: a dropped copy and a mask for each adapted module) + e r each
            + 16 LayerNorm statistics
    sdpa    in place of softmax, copy and mask: e h attention's output + 4A logsumexp + e s the padding mask as a bias
    DeBERTa e 4Ak the gathered position scores + e 4hk/s position keys and queries, repeated for every example, + s a mask

These are CUDA's tensors (a dropout mask is one byte); tests count them. RoBERTa-base b32 s128 with LoRA dropout:
50,768 bytes a token, 198.3 MiB a layer (the paper: 199). A frozen layer above a trained one keeps the same without
LoRA's inputs. The lowest trained layer keeps no q in eager attention: K, whose input needs no gradient, gets none.

INT8 with a float scale per 32 x 32 block keeps (1 + 4/1024) bytes of each float it reaches.
"""

from dataclasses import dataclass

from fedquad.flops import DECODERS, Target, key_value_width, position_targets
from fedquad.types import ModelShape

ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}
CODE_BYTES = 1 + 4 / 1024  # INT8 and its block's scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What autograd keeps of one layer in a step."""

    floats: int  # elements, whether LoRA trains or not
    exact: int  # bytes that stay as they are: masks, statistics, indices
    lora_masks: int  # bytes
    trained_floats: int  # elements kept only where LoRA trains, LoRA's inputs aside
    inputs: int  # elements of LoRA's inputs
    per_rank: int  # elements of A x per unit of rank
    lowest_floats: int  # elements that the lowest trained layer spares
    lowest_exact: int  # bytes that it spares: LoRA masks, a scale


def kept(
    shape: ModelShape,
    batch: int,
    sequence: int,
    attention: str,
    element: int,
    targets: tuple[Target, ...],
    lora_dropout: float,
) -> Kept:
    """Count what one layer keeps at this batch and sequence."""
    tokens, h = batch * sequence, shape.hidden
    has_dropout, has_lora_dropout = shape.dropout > 0, lora_dropout > 0
    scores = tokens * shape.heads * sequence
    floats = tokens * (2 * h + shape.intermediate + h + 2 * key_value_width(shape))
    exact = tokens * (16 + 2 * h * has_dropout)
    if attention == "eager":
        floats += scores * (1 + has_dropout)
        exact += scores * has_dropout
    else:
        floats += tokens * h
        exact += tokens * (4 * shape.heads + sequence * element) + 16  # logsumexp; bias; dropout's seed and offset
    if shape.architecture in DECODERS:
        floats += tokens * (2 * shape.intermediate + h)
    wide = [target.inputs for target in targets]
    one_each = {target.reads: target.inputs for target in targets}
    roles = {target.role for target in targets}
    spares_q = attention == "eager" and "query" in roles and "key" not in roles
    on_x = sum(target.inputs for target in targets if target.reads == "x")
    counted = Kept(
        floats=floats,
        exact=exact,
        lora_masks=tokens * sum(wide) if has_lora_dropout else 0,
        trained_floats=0,
        inputs=tokens * sum(wide if has_lora_dropout else one_each.values()),
        per_rank=tokens * len(targets),
        lowest_floats=tokens * h if spares_q else 0,
        lowest_exact=tokens * on_x if has_lora_dropout else 0,
    )
    return _with_positions(counted, shape, batch, sequence, element, targets, has_lora_dropout)


def _with_positions(
    counted: Kept,
    shape: ModelShape,
    batch: int,
    sequence: int,
    element: int,
    targets: tuple[Target, ...],
    has_lora_dropout: bool,
) -> Kept:
    """Add DeBERTa's disentangled attention."""
    if shape.architecture != "deberta-v2":
        return counted
    tokens, h, span = batch * sequence, shape.hidden, 2 * shape.position_buckets
    positions = len(position_targets(targets))
    roles = {target.role for target in targets}
    repeated = batch * h * span
    return Kept(
        floats=counted.floats + 2 * tokens * shape.heads * span + 2 * repeated,
        exact=counted.exact + tokens * sequence + 16 * sequence**2 + 3 * element,  # a mask, two indices, three scales
        lora_masks=counted.lora_masks,
        trained_floats=tokens * h if "query" in roles else 0,  # keys, for the positions' queries
        inputs=counted.inputs + (positions if has_lora_dropout else min(positions, 1)) * span * h,
        per_rank=counted.per_rank + positions * span,
        lowest_floats=counted.lowest_floats + (repeated if counted.lowest_floats else 0),
        lowest_exact=counted.lowest_exact + (element if counted.lowest_floats else 0),
    )


def head_kept(shape: ModelShape, batch: int, sequence: int, labels: int, element: int) -> int:
    """Bytes that pooler and classifier keep of the first token; DeBERTa's pooler holds on to the whole last output."""
    rows, masks = (2, 1) if shape.architecture in ("bert", "deberta-v2") else (3, 2)
    whole = batch * sequence * shape.hidden * element if shape.architecture == "deberta-v2" else 0
    return whole + batch * (shape.hidden * (rows * element + masks) + labels * element + 8) + element


def layer_weights(shape: ModelShape) -> int:
    """Elements of one frozen layer's weights."""
    h, f, kv = shape.hidden, shape.intermediate, key_value_width(shape)
    if shape.architecture in DECODERS:
        return 2 * h * h + 2 * h * kv + 3 * h * f + 2 * h
    return 4 * h * h + 2 * h * f + 4 * h + f + h + 4 * h


def embedding_weights(shape: ModelShape) -> int:
    """Elements of the embeddings; DeBERTa keeps relative positions instead of absolute ones."""
    positions = 2 * shape.position_buckets or shape.positions
    if shape.architecture in DECODERS:
        positions = 0
    return (shape.vocabulary + positions + 4) * shape.hidden


def head_weights(shape: ModelShape, labels: int) -> int:
    """Elements that every device trains: the classifier, and the pooler where it is new."""
    dense = 0 if shape.architecture in ("bert", *DECODERS) else shape.hidden * (shape.hidden + 1)
    return dense + labels * (shape.hidden + 1)


def pooler_weights(shape: ModelShape) -> int:
    """Elements of a pretrained pooler, frozen."""
    return shape.hidden * (shape.hidden + 1) if shape.architecture == "bert" else 0


def workspace(shape: ModelShape, tokens: int, sequence: int, attention: str, element: int) -> int:
    """Bytes of a step's two largest temporaries: the widest activation's gradient, before and after an operation."""
    widest = max(shape.intermediate, shape.heads * sequence if attention == "eager" else shape.hidden)
    if shape.architecture == "deberta-v2":
        widest = max(widest, shape.heads * 2 * shape.position_buckets)
    return 2 * tokens * widest * element
