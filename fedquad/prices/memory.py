"""Bytes of one training step, counted from the model's shape: weights, and what autograd keeps for the backward pass.

Per token of one trained layer, with e bytes an element, h hidden, f intermediate, A heads, s sequence, r rank:

    eager   e(2h + f) LayerNorm and GELU inputs + e 3h q, k, v + e 2As softmax and its dropped copy + (2h + As) masks
            + LoRA: e h the layer's input (with dropout: a dropped copy and a mask for each adapted module) + e r each
            + 16 LayerNorm statistics
    sdpa    in place of softmax, copy and mask: e h attention's output + 4A logsumexp + e s the padding mask as a bias
    DeBERTa e 4Ak gathered position scores + e 4hk/s position keys and queries, repeated for each example, + s a mask

These are CUDA's tensors (a dropout mask is one byte); tests count them. RoBERTa-base b32 s128 with LoRA dropout:
50,768 bytes a token, 198.3 MiB a layer (the paper: 199). A frozen layer above a trained one keeps the same without
LoRA's inputs. The lowest trained layer keeps no q in eager attention: K, whose input needs no gradient, gets none.

INT8 with a float scale per 32 x 32 block keeps (1 + 4/1024) bytes of each float it reaches.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any

from fedquad.errors import SpecError
from fedquad.prices.flops import DECODERS, Target, key_value_width, position_targets, targets_of
from fedquad.prices.shapes import shape_named
from fedquad.spec import ModelSpec
from fedquad.types import ModelShape

ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}
CODE_BYTES = 1 + 4 / 1024  # INT8 and its block's scale
PAPER_SAVING = 0.58  # m_q / m_o
PAPER_LORA_SHARE = 0.13  # phi, fitted from Figure 2(a)
PAPER_LAYER_BYTES = 199 * 2**20  # m_o of RoBERTa-base at batch 32, sequence 128
WIRE_BYTES = 4  # per adapter element sent: float32
# Per trained parameter, besides itself: what was sent, gradient, Adam's two moments; bf16 also has a float32 master
# and its gradient.
TRAINING_BYTES = {"fp32": 16, "tf32": 16, "bf16": 22}


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
        # Three MLP tensors; keys and values are repeated for every query head; RMSNorm has one statistic, not two.
        floats += tokens * (2 * shape.intermediate + 2 * (h - key_value_width(shape)))
        exact -= 8 * tokens
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
    """Bytes that pooler and classifier keep of one token; DeBERTa's pooler holds on to the whole last output."""
    rows, masks = (2, 1) if shape.architecture in ("bert", "deberta-v2") else (3, 2)
    # A decoder's score reads every token, after a last norm.
    outputs = 2 if shape.architecture in DECODERS else int(shape.architecture == "deberta-v2")
    whole = outputs * batch * sequence * shape.hidden * element
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBytes:
    """One layer's bytes in a step at the campaign's rank."""

    weights: int  # frozen
    lora_per_rank: int  # LoRA's weights
    trained: int  # m_o: what a trained layer adds, gradients and optimizer state included
    trained_per_rank: int  # of it, by one unit of rank
    inputs: int  # of it, LoRA's inputs, which only A needs
    frozen: int  # what a frozen layer above a trained one adds
    saved: int  # m_q
    lowest: int  # what the lowest trained layer spares
    lowest_quantized: int  # and when it is quantized
    wire_per_rank: int  # on the network
    wire_b_per_rank: int  # of it, B
    traffic: int  # bytes moved to quantize and to dequantize


def attention_of(shape: ModelShape, model: ModelSpec) -> str:
    """DeBERTa has no SDPA."""
    return "eager" if shape.architecture == "deberta-v2" else model.attention


def fixed_bytes(shape: ModelShape, model: ModelSpec, batch: int, sequence: int, labels: int) -> int:
    """m_e: embeddings, head with its optimizer and activations, workspace."""
    element, head = ELEMENT_BYTES[model.precision], head_weights(shape, labels)
    frozen = embedding_weights(shape) + pooler_weights(shape)
    return (
        element * (frozen + head)
        + TRAINING_BYTES[model.precision] * head
        + head_kept(shape, batch, sequence, labels, element)
        + workspace(shape, batch * sequence, sequence, attention_of(shape, model), element)
    )


def layer_bytes(shape: ModelShape, model: ModelSpec, batch: int, sequence: int) -> LayerBytes:
    """Count one layer's bytes. INT8 reaches what it does in the paper: neither LoRA's inputs nor masks."""
    element, targets = ELEMENT_BYTES[model.precision], targets_of(shape, model.targets)
    here = kept(shape, batch, sequence, attention_of(shape, model), element, targets, model.dropout)
    parameters = sum(target.inputs + target.outputs for target in targets)
    per_rank = TRAINING_BYTES[model.precision] * parameters + element * here.per_rank
    frozen = element * here.floats + here.exact + here.lora_masks
    return LayerBytes(
        weights=element * layer_weights(shape),
        lora_per_rank=element * parameters,
        trained=frozen + element * (here.trained_floats + here.inputs) + model.rank * per_rank,
        trained_per_rank=per_rank,
        inputs=element * here.inputs,
        frozen=frozen,
        saved=floor((element - CODE_BYTES) * (here.floats + here.trained_floats)),
        lowest=element * here.lowest_floats + here.lowest_exact,
        lowest_quantized=floor(CODE_BYTES * here.lowest_floats) + here.lowest_exact,
        wire_per_rank=WIRE_BYTES * parameters,
        wire_b_per_rank=WIRE_BYTES * sum(target.outputs for target in targets),
        # Quantizing reads an element and writes a code; dequantizing reads the code and writes the element.
        traffic=(2 * element + 2) * (here.floats + here.trained_floats),
    )


def as_in_paper(size: LayerBytes) -> LayerBytes:
    """Scale a layer's bytes: RoBERTa-base, b32 s128, adds the paper's 199 MiB, of which INT8 saves 58 %."""
    reference = layer_bytes(shape_named("roberta-base", 12), ModelSpec(), 32, 128)
    trained = ceil(PAPER_LAYER_BYTES * size.trained / reference.trained)
    frozen, saved = ceil((1 - PAPER_LORA_SHARE) * trained), floor(PAPER_SAVING * trained)
    return replace(size, trained=trained, frozen=frozen, saved=saved, lowest=0, lowest_quantized=0)


def as_measured(size: LayerBytes, measured: Mapping[str, float], layers: int, rank: int) -> tuple[LayerBytes, int]:
    """Put a profile's m_o, m_q and m_f in place; m_f by what was measured above the fit, so that Eq. 11 covers it."""
    trained = replace(
        size,
        trained=ceil(measured["m_o"]),
        frozen=ceil(measured["frozen"]),
        saved=floor(measured["m_q"]),
        inputs=max(0, min(size.inputs, ceil(measured["m_o"]) - ceil(measured["frozen"]))),
        lowest=0,
        lowest_quantized=0,
    )
    loaded = layers * (size.weights + rank * size.lora_per_rank)
    return trained, max(0, ceil(measured["m_f"] + measured["margin"]) - loaded)


def measured_constants(
    profile: Mapping[str, Any] | None, path: str, shape: ModelShape, model: ModelSpec, batch: int, sequence: int
) -> Mapping[str, float]:
    """The constants of the profile in `path`, which was made for this very model and batch."""
    if profile is None:
        raise SpecError(f"cost.profile {path!r} was not read, but the constants are to be the measured ones")
    wanted = {
        "model": shape.name,
        "layers": shape.layers,
        "batch": batch,
        "sequence": sequence,
        "rank": model.rank,
        "precision": model.precision,
        "attention": model.attention,
    }
    for key, value in wanted.items():
        if profile.get(key) != value:
            raise SpecError(
                f"cost.profile {path}: {key} is {profile.get(key)!r}, but the campaign is priced for {value!r}; "
                f"run `fedquad profile --model {shape.name} --batch {batch} --seq {sequence}`"
            )
    constants = profile.get("constants", {})
    needed = ("c_d", "c_a", "m_f", "m_o", "m_q", "frozen", "margin")
    for key in needed:
        found = constants.get(key)
        if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found < float("inf"):
            raise SpecError(
                f"cost.profile {path}: constants.{key} is {found!r}, but it is a number that is not negative"
            )
    if not constants["c_d"] or not constants["m_o"]:
        raise SpecError(f"cost.profile {path}: constants.c_d and constants.m_o are positive; measure for longer")
    return constants  # type: ignore[no-any-return]
