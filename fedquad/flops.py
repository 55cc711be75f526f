"""Floating-point operations of one training step, counted from the model's shape; one multiply-add is two.

    T = batch * sequence tokens, h hidden, f intermediate, s sequence, B batch

    F     = 2T(4h^2 + 2hf) + 4Bs^2h       forward of one layer: linears, then QK^T and PV
    lora  = sum over adapted modules of 2Tr(in + out)             LoRA forward at rank r
    b     = 2T(4h^2 + 2hf) + 8Bs^2h + lora      gradient that passes through a layer: frozen weights have no dW,
                                               both operands of the attention products have a gradient
    g     = lora                               dA and dB of one trained layer;   c_d = b + g
    delta = 6Th^2 + 2Bs^2h + lora_x            the lowest trained layer: its input needs no gradient, so q, k, v pass
                                               none on, K gets none, and LoRA none below A

DeBERTa's disentangled attention adds, with 2k relative positions, F += 8kh^2 (positions through key and query) and
8Bskh (content to position, position to content); both query and key are projected once more. Gated models (Llama,
Qwen2) have three MLP matrices, and keys and values of `key_value_heads` heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fedquad.errors import SpecError
from fedquad.types import ModelShape

QUERY = ("query", "query_proj", "q_proj")
KEY = ("key", "key_proj", "k_proj")
VALUE = ("value", "value_proj", "v_proj")
DECODERS = ("llama", "qwen2")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFlops:
    """One layer's share of a step, in FLOPs at the campaign's rank."""

    forward: int  # without LoRA
    backward: int  # without LoRA; the gradient passes through
    lora_forward: int
    lora_backward: int  # what LoRA adds to the gradient that passes through
    lora_gradient: int  # dA and dB
    lora_gradient_b: int  # dB alone
    lowest: int  # what the lowest trained layer spares, without LoRA
    lora_lowest: int  # and of LoRA


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A linear that LoRA adapts: its sizes and which tensor it reads (x: the layer's input)."""

    inputs: int
    outputs: int
    reads: str
    role: str


def key_value_width(shape: ModelShape) -> int:
    return shape.hidden // shape.heads * (shape.key_value_heads or shape.heads)


def targets_of(shape: ModelShape, names: tuple[str, ...] = ()) -> tuple[Target, ...]:
    """The linears of one layer that LoRA adapts; query and value when none are named."""
    known = _linears(shape)
    if not names:
        return tuple(target for target in known.values() if target.role in ("query", "value"))
    found = {}
    for name in names:
        matches = {path: target for path, target in known.items() if path == name or path.endswith(f".{name}")}
        if not matches:
            raise SpecError(
                f"model.targets holds {name!r}, which a {shape.architecture} layer has not; it has: {', '.join(known)}"
            )
        found.update(matches)
    return tuple(target for path, target in known.items() if path in found)


def _linears(shape: ModelShape) -> Mapping[str, Target]:
    h, f, kv = shape.hidden, shape.intermediate, key_value_width(shape)

    def target(inputs: int, outputs: int, reads: str, role: str = "") -> Target:
        return Target(inputs=inputs, outputs=outputs, reads=reads, role=role)

    if shape.architecture in DECODERS:
        return {
            "self_attn.q_proj": target(h, h, "x", "query"),
            "self_attn.k_proj": target(h, kv, "x", "key"),
            "self_attn.v_proj": target(h, kv, "x", "value"),
            "self_attn.o_proj": target(h, h, "context"),
            "mlp.gate_proj": target(h, f, "mlp"),
            "mlp.up_proj": target(h, f, "mlp"),
            "mlp.down_proj": target(f, h, "act"),
        }
    suffix = "_proj" if shape.architecture == "deberta-v2" else ""
    return {
        f"attention.self.query{suffix}": target(h, h, "x", "query"),
        f"attention.self.key{suffix}": target(h, h, "x", "key"),
        f"attention.self.value{suffix}": target(h, h, "x", "value"),
        "attention.output.dense": target(h, h, "context"),
        "intermediate.dense": target(h, f, "mlp"),
        "output.dense": target(f, h, "act"),
    }


def layer_flops(shape: ModelShape, batch: int, sequence: int, rank: int, targets: tuple[Target, ...]) -> LayerFlops:
    """Count one layer's operations at this batch and sequence."""
    tokens, h, kv = batch * sequence, shape.hidden, key_value_width(shape)
    mlp = (3 if shape.architecture in DECODERS else 2) * h * shape.intermediate
    linear = 2 * tokens * (2 * h * h + 2 * h * kv + mlp)
    attention = 4 * batch * sequence**2 * h
    forward, backward = linear + attention, linear + 2 * attention
    lowest = _lowest(shape, batch, sequence, targets)
    if shape.architecture == "deberta-v2":
        span = 2 * shape.position_buckets
        projections, products = 4 * span * h * h, 4 * batch * sequence * span * h
        forward += projections + products
        # Content to position passes a gradient to the query only; position to content to the keys and, LoRA being on
        # the query projection, to the positions too.
        backward += products + products // 2
    adapters = sum(2 * tokens * rank * (target.inputs + target.outputs) for target in targets)
    on_b = sum(2 * tokens * rank * target.outputs for target in targets)
    on_x = sum(2 * tokens * rank * target.inputs for target in targets if target.reads == "x")
    return LayerFlops(
        forward=forward,
        backward=backward,
        lora_forward=adapters,
        lora_backward=adapters,
        lora_gradient=adapters,
        lora_gradient_b=on_b,
        lowest=lowest,
        lora_lowest=on_x,
    )


def _lowest(shape: ModelShape, batch: int, sequence: int, targets: tuple[Target, ...]) -> int:
    """What need not be computed in the lowest trained layer, below and beside its first adapted linear."""
    tokens, h, kv = batch * sequence, shape.hidden, key_value_width(shape)
    roles = {target.role for target in targets}
    projections = 2 * tokens * (h * h + 2 * h * kv)
    one = 2 * batch * sequence**2 * h  # each of the four products in attention's backward
    if any(target.reads == "x" for target in targets):
        scores = {"query", "key"} & roles
        unneeded = ("query" not in roles) + ("key" not in roles) if scores else 3  # dQ, dK; with value alone also dP
        return projections + one * (unneeded + ("value" not in roles))
    below = projections + 4 * one
    if any(target.reads == "context" for target in targets):
        return below + 2 * tokens * h * h
    # Only the MLP is adapted: the attention block has no backward at all.
    below += 2 * tokens * h * h
    mlp_in = (2 if shape.architecture in DECODERS else 1) * 2 * tokens * h * shape.intermediate
    return below + mlp_in


def head_flops(shape: ModelShape, batch: int, labels: int) -> tuple[int, int]:
    """Forward and backward of pooler and classifier: on one token per example."""
    dense = 0 if shape.architecture in DECODERS else 2 * batch * shape.hidden**2
    out = 2 * batch * shape.hidden * labels
    # BERT's pooler is frozen (dX only); RoBERTa's and DeBERTa's are new and trained (dW too).
    return dense + out, (1 if shape.architecture == "bert" else 2) * dense + 2 * out
