"""What autograd keeps of one layer for the backward pass, counted from the model's shape.

Per token of one trained layer, with e bytes an element, h hidden, f intermediate, A heads, s sequence, r rank:

    eager   e(2h + f) LayerNorm and GELU inputs + e 3h q, k, v + e 2As softmax and its dropped copy + (2h + As) masks
            + LoRA: e h the layer's input (with dropout: a dropped copy and a mask for each adapted module) + e r each
            + 16 LayerNorm statistics
    sdpa    in place of softmax, copy and mask: e h attention's output + 4A logsumexp + e s the padding mask as a bias
    DeBERTa e 4Ak gathered position scores + e 4hk/s position keys and queries, repeated for each example, + s a mask

These are CUDA's tensors (a dropout mask is one byte); tests count them. RoBERTa-base b32 s128 with LoRA dropout:
50,768 bytes a token, 198.3 MiB a layer (the paper: 199). A frozen layer above a trained one keeps the same without
LoRA's inputs. The lowest trained layer keeps no q in eager attention: K, whose input needs no gradient, gets none.
"""

from dataclasses import dataclass, replace

from fedquad.prices.flops import DECODERS, Target, head_width, key_value_width, position_targets, query_width
from fedquad.types import ModelShape


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
    lowest_norms: int = 0  # elements, in float32, of a decoder's norms that it spares
    lowest_statistics: int = 0  # and bytes of theirs
    # What coverage tells apart.
    attention: int  # of floats: q, k, v and what is between them and attention's output
    masks: int  # of exact: dropout's, and DeBERTa's own
    bias: int  # of exact: SDPA's padding mask as a bias
    wide: int = 0  # scores kept in float32 besides, counted in exact too
    upcast: int = 0  # of exact: what norms keep in float32 beyond their input
    gathered: int = 0  # of floats: DeBERTa's position scores
    repeated: int = 0  # of floats, twice: positions copied for each example
    positions: int = 0  # elements of what is copied
    position_inputs: int = 0  # of inputs


def kept(
    shape: ModelShape,
    batch: int,
    sequence: int,
    attention: str,
    element: int,
    targets: tuple[Target, ...],
    lora_dropout: float,
    is_masked: bool = True,
) -> Kept:
    """Count what one layer keeps at this batch and sequence."""
    tokens, h, q = batch * sequence, shape.hidden, query_width(shape)
    has_dropout, has_lora_dropout = shape.dropout > 0, lora_dropout > 0
    scores = tokens * shape.heads * sequence
    masks, bias, wide, upcast, norms, statistics = 2 * tokens * h * has_dropout, 0, 0, 0, 0, 0
    if attention == "eager":
        between = scores * (1 + has_dropout)
        masks += scores * has_dropout
    else:
        between, bias = tokens * q, tokens * sequence * element * is_masked
    in_attention = 3 * tokens * q + between  # keys and values are repeated for every query head
    floats = tokens * (2 * h + shape.intermediate) + in_attention
    exact = masks + bias + 16 * tokens
    if attention != "eager":
        exact += 4 * tokens * shape.heads + 16  # logsumexp; dropout's seed and offset
    if shape.architecture in DECODERS:
        # Three MLP tensors; RMSNorm has one statistic, not two, and computes in float32, as eager's softmax does.
        floats += 2 * tokens * shape.intermediate
        wide = scores if element < 4 and attention == "eager" else 0
        upcast = 2 * tokens * h * (4 - element)
        exact += 4 * wide + upcast - 8 * tokens
        norms, statistics = tokens * h, 4 * tokens
        if shape.architecture == "qwen3":  # queries and keys are normed too, head by head
            kv = key_value_width(shape)
            floats, upcast = floats + tokens * (q + kv), upcast + tokens * (q + kv) * (4 - element)
            exact += tokens * (q + kv) * (4 - element) + 4 * tokens * (q + kv) // head_width(shape)
            is_spared = "key" not in {target.role for target in targets}
            norms, statistics = (
                norms + tokens * kv * is_spared,
                statistics + 4 * tokens * kv // head_width(shape) * is_spared,
            )
    widths = [target.inputs for target in targets]
    one_each = {target.reads: target.inputs for target in targets}
    roles = {target.role for target in targets}
    spares_q = attention == "eager" and "query" in roles and "key" not in roles
    on_x = sum(target.inputs for target in targets if target.reads == "x")
    counted = Kept(
        floats=floats,
        exact=exact,
        lora_masks=tokens * sum(widths) if has_lora_dropout else 0,
        trained_floats=0,
        inputs=tokens * sum(widths if has_lora_dropout else one_each.values()),
        per_rank=tokens * len(targets),
        lowest_floats=tokens * q if spares_q else 0,
        lowest_exact=tokens * on_x if has_lora_dropout else 0,
        lowest_norms=norms if on_x else 0,
        lowest_statistics=statistics if on_x else 0,
        attention=in_attention,
        masks=masks,
        bias=bias,
        wide=wide,
        upcast=upcast,
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
    adapted = len(position_targets(targets))
    roles = {target.role for target in targets}
    repeated, gathered = batch * h * span, 2 * tokens * shape.heads * span
    inputs = (adapted if has_lora_dropout else min(adapted, 1)) * span * h
    return replace(
        counted,
        floats=counted.floats + gathered + 2 * repeated,
        exact=counted.exact + tokens * sequence + 16 * sequence**2 + 3 * element,  # a mask, two indices, three scales
        trained_floats=tokens * h if "query" in roles else 0,  # keys, for the positions' queries
        inputs=counted.inputs + inputs,
        per_rank=counted.per_rank + adapted * span,
        lowest_floats=counted.lowest_floats + (repeated if counted.lowest_floats else 0),
        lowest_exact=counted.lowest_exact + (element if counted.lowest_floats else 0),
        masks=counted.masks + tokens * sequence,
        gathered=gathered,
        repeated=repeated,
        positions=h * span,
        position_inputs=inputs,
    )
