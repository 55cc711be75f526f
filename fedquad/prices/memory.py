"""Bytes of one training step: weights, what autograd keeps (kept.py), what INT8 spares of it (coverage.py), and temporaries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any

from fedquad.errors import SpecError
from fedquad.prices.coverage import saving
from fedquad.prices.flops import DECODERS, key_value_width, query_width, targets_of
from fedquad.prices.heads import Head
from fedquad.prices.kept import kept
from fedquad.prices.shapes import shape_named
from fedquad.spec import ModelSpec
from fedquad.types import ModelShape

ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}
PAPER_SAVING = 0.58  # m_q / m_o
PAPER_LORA_SHARE = 0.13  # phi, fitted from Figure 2(a)
PAPER_LAYER_BYTES = 199 * 2**20  # m_o of RoBERTa-base at batch 32, sequence 128
_ALIKE = {"saved_per_rank": 0, "first_quantized": 0, "lowest": 0, "lowest_quantized": 0}  # layers that do not differ
WIRE_BYTES = 4  # per adapter element sent: float32
# Per trained parameter, besides itself: what was sent, gradient, Adam's two moments; bf16 also has a float32 master
# and its gradient.
TRAINING_BYTES = {"fp32": 16, "tf32": 16, "bf16": 22}


def layer_weights(shape: ModelShape) -> int:
    """Elements of one frozen layer's weights."""
    h, f, kv = shape.hidden, shape.intermediate, key_value_width(shape)
    if shape.architecture in DECODERS:
        return 2 * h * query_width(shape) + 2 * h * kv + 3 * h * f + 2 * h
    return 4 * h * h + 2 * h * f + 4 * h + f + h + 4 * h


def embedding_weights(shape: ModelShape) -> int:
    """Elements of the embeddings; DeBERTa keeps relative positions instead of absolute ones."""
    positions = 2 * shape.position_buckets or shape.positions
    if shape.architecture in DECODERS:
        positions = 0
    return (shape.vocabulary + positions + 4) * shape.hidden


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
    saved_per_rank: int  # of it, by one unit of rank
    first_quantized: int  # by how much less the first of neighbouring quantized layers saves
    lowest: int  # what the lowest trained layer spares
    lowest_quantized: int  # and when it is quantized; negative: what it costs more
    wire_per_rank: int  # on the network
    traffic: int  # bytes moved to quantize and to dequantize


def attention_of(architecture: str, model: ModelSpec) -> str:
    """What it is attended with: DeBERTa has no SDPA."""
    return "eager" if architecture == "deberta-v2" else model.attention


def fixed_bytes(shape: ModelShape, model: ModelSpec, batch: int, sequence: int, head: Head) -> int:
    """m_e: embeddings, head with its optimizer and activations, workspace."""
    element = ELEMENT_BYTES[model.precision]
    frozen = embedding_weights(shape) + pooler_weights(shape)
    return (
        element * (frozen + head.frozen + head.weights)
        + TRAINING_BYTES[model.precision] * head.weights
        + head.kept
        + max(
            head.workspace,
            workspace(shape, batch * sequence, sequence, attention_of(shape.architecture, model), element),
        )
    )


def layer_bytes(shape: ModelShape, model: ModelSpec, batch: int, sequence: int, is_masked: bool = True) -> LayerBytes:
    """Count one layer's bytes."""
    element, targets, tokens = ELEMENT_BYTES[model.precision], targets_of(shape, model.targets), batch * sequence
    here = kept(
        shape, batch, sequence, attention_of(shape.architecture, model), element, targets, model.dropout, is_masked
    )
    int8 = saving(shape, here, targets, model.coverage, tokens, model.rank, element, model.dropout > 0)
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
        saved=int8.layer,
        saved_per_rank=int8.per_rank,
        first_quantized=int8.first,
        lowest=element * here.lowest_floats + here.lowest_exact + 4 * here.lowest_norms + here.lowest_statistics,
        lowest_quantized=int8.lowest,
        wire_per_rank=WIRE_BYTES * parameters,
        # Quantizing reads an element and writes a code; dequantizing reads the code and writes the element.
        traffic=(2 * element + 2) * int8.coded,
    )


def as_in_paper(size: LayerBytes) -> LayerBytes:
    """Scale a layer's bytes: RoBERTa-base, b32 s128, eager, adds the paper's 199 MiB, of which INT8 saves 58 %."""
    reference = layer_bytes(shape_named("roberta-base", 12), ModelSpec(attention="eager"), 32, 128)
    trained = ceil(PAPER_LAYER_BYTES * size.trained / reference.trained)
    frozen, saved = ceil((1 - PAPER_LORA_SHARE) * trained), floor(PAPER_SAVING * trained)
    return replace(size, trained=trained, frozen=frozen, saved=saved, **_ALIKE)


def as_measured(size: LayerBytes, measured: Mapping[str, float], layers: int, rank: int) -> tuple[LayerBytes, int]:
    """Put a profile's m_o, m_q and m_f in place; m_f by what was measured above the fit, so that Eq. 11 covers it."""
    trained = replace(
        size,
        trained=ceil(measured["m_o"]),
        frozen=ceil(measured["frozen"]),
        saved=floor(measured["m_q"]),
        inputs=max(0, min(size.inputs, ceil(measured["m_o"]) - ceil(measured["frozen"]))),
        **_ALIKE,
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
        "coverage": model.coverage,
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
