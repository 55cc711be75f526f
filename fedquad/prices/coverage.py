"""What INT8 spares of a layer's activations, by coverage, with C = 1 + 4/1024 bytes a code and e bytes an element.

    paper   e - C of each float that GELU, LayerNorm, Softmax and matrix products keep
    full    the same of whatever floats LoRA keeps, but all of an input that is a LayerNorm's output (it is computed
            again); 7/8 of each mask; all of SDPA's padding bias, which the layers then share; of DeBERTa all of the
            gathered scores, of which the shape alone is read, and of the positions' copies for each example

What needs no gradient stays as it is: in the lowest trained layer keys and values without LoRA, and the dropped copies
of its input. So it may save less than the others, which Eq. 11 holds in m_f.

Tests hold this to what the hooks keep, within 1 %. Where it is not exact it is on the safe side: a decoder's lowest
layer, and a lowest layer whose query has no LoRA, which is priced as if INT8 saved nothing there.
"""

from dataclasses import dataclass, replace
from math import ceil, floor

from fedquad.prices.flops import DECODERS, Target, query_width
from fedquad.prices.kept import Kept
from fedquad.spec import Coverage
from fedquad.types import ModelShape

CODE_BYTES = 1 + 4 / 1024  # INT8 and its block's scale
LEAST_ELEMENTS = 4096  # smaller tensors are left alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What INT8 saves in one layer at the campaign's rank, in bytes."""

    layer: int  # m_q
    per_rank: int  # of it, by one unit of rank
    first: int  # by how much less the first of neighbouring quantized layers saves
    lowest: int  # what the lowest trained layer spares when it is quantized; negative: what it costs more
    coded: int  # elements that become codes


def saving(
    shape: ModelShape,
    kept: Kept,
    targets: tuple[Target, ...],
    coverage: Coverage,
    tokens: int,
    rank: int,
    element: int,
    has_lora_dropout: bool,
) -> Saving:
    """Count what a quantized layer saves, and in what the first and the lowest of them differ."""
    if coverage == "paper":
        found = _as_in_paper(shape, kept, targets, tokens, element)
    else:
        found = _in_full(shape, kept, targets, tokens, rank, element, has_lora_dropout)
    has_query = any(target.role == "query" for target in targets)
    return found if has_query else replace(found, lowest=-found.layer)


def _as_in_paper(shape: ModelShape, kept: Kept, targets: tuple[Target, ...], tokens: int, element: int) -> Saving:
    gain = element - CODE_BYTES
    adapted = {target.role for target in targets if target.role in ("query", "key")}
    # Positions' copies need a gradient where LoRA adapts what projects them.
    coded = kept.floats + kept.trained_floats - kept.gathered - (2 - len(adapted)) * kept.repeated
    if shape.architecture in DECODERS:  # SiLU, products and RMSNorm are not among the paper's operators
        coded = kept.attention
    return Saving(
        layer=floor(gain * coded + (4 - CODE_BYTES) * kept.wide),
        per_rank=0,
        first=0,
        lowest=floor(
            CODE_BYTES * kept.lowest_floats
            + kept.lowest_exact
            + 4 * kept.lowest_norms
            + kept.lowest_statistics
            - gain * _open_in_lowest(shape, kept, targets, tokens)
        ),
        coded=coded + kept.wide,
    )


def _in_full(
    shape: ModelShape,
    kept: Kept,
    targets: tuple[Target, ...],
    tokens: int,
    rank: int,
    element: int,
    has_lora_dropout: bool,
) -> Saving:
    gain, is_decoder = element - CODE_BYTES, shape.architecture in DECODERS
    reads = {target.reads: target.inputs for target in targets}
    has_norms = not (has_lora_dropout or is_decoder)  # LoRA reads a LayerNorm's output as it is
    again = tokens * sum(reads.get(one, 0) for one in ("x", "mlp")) if has_norms else 0
    per_rank = floor(gain * tokens * len(targets)) if tokens * rank >= LEAST_ELEMENTS else 0
    coded = kept.floats - kept.gathered - 2 * kept.repeated + kept.trained_floats + kept.inputs - again
    again_silu = tokens * shape.intermediate if is_decoder else 0  # computed again from its input
    coded -= kept.position_inputs + again_silu
    spared = kept.gathered + again + again_silu + 2 * (kept.repeated - kept.positions)
    first = kept.bias + (ceil(CODE_BYTES * tokens * reads["x"]) if has_norms and "x" in reads else 0)
    copies, on_x = (kept.repeated, kept.positions) if kept.lowest_floats else (0, 0), 0
    if has_lora_dropout:
        on_x = tokens * sum(target.inputs for target in targets if target.reads == "x")
    elif is_decoder:
        on_x = tokens * reads.get("x", 0)
    return Saving(
        layer=floor(
            gain * coded
            + element * spared
            + (4 - CODE_BYTES) * kept.wide
            + kept.upcast
            + (kept.masks + kept.lora_masks) * 7 / 8
            + kept.bias
        )
        + rank * per_rank,
        per_rank=per_rank,
        first=first,
        lowest=floor(
            CODE_BYTES * (kept.lowest_floats - copies[0])
            + element * copies[1]
            + kept.lowest_exact / 8
            + CODE_BYTES * kept.lowest_norms
            + kept.lowest_statistics
            - gain * (_open_in_lowest(shape, kept, targets, tokens) + on_x)
            - first
        ),
        coded=coded + kept.wide,
    )


def _open_in_lowest(shape: ModelShape, kept: Kept, targets: tuple[Target, ...], tokens: int) -> int:
    """Elements of keys and values without LoRA, which need no gradient in the lowest trained layer."""
    roles = {target.role for target in targets}
    return tokens * query_width(shape) * len({"key", "value"} - roles) + (0 if "key" in roles else kept.trained_floats)
