"""Floating-point operations of one training step, counted from the model's shape; one multiply-add is two.

    T = batch * sequence tokens, h hidden, f intermediate, s sequence, B batch

    F     = 2T(4h^2 + 2hf) + 4Bs^2h       forward of one layer: linears, then QK^T and PV
    lora  = sum over adapted modules of 2Tr(in + out)             LoRA forward at rank r
    b     = 2T(4h^2 + 2hf) + 8Bs^2h + lora      gradient that passes through a layer: frozen weights have no dW,
                                               both operands of the attention products have a gradient
    g     = lora                               dA and dB of one trained layer;   c_d = b + g
    delta = 6Th^2 + 2Bs^2h + lora_x            the lowest trained layer: its input needs no gradient, so q, k, v pass
                                               none on, K gets none, and LoRA none below A

SDPA's fused kernels compute the scores again in the backward pass (10Bs^2h for 8) and never spare dK. DeBERTa's
disentangled attention adds, with 2k relative positions, F += 8kh^2 (positions through key and query) and 8Bskh
(content to position, position to content), b += 8Bskh, and c_d += 4Bskh for the positions' queries, which LoRA adapts
too. Gated models (Llama, Qwen2) have three MLP matrices, and keys and values of `key_value_heads` heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fedquad.errors import SpecError
from fedquad.types import ModelShape

DECODERS = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFlops:
    """One layer's share of a step, in FLOPs at the campaign's rank."""

    forward: int  # without LoRA
    backward: int  # without LoRA; the gradient passes through
    gradient: int  # without LoRA, only where LoRA trains
    lora_forward: int
    lora_backward: int  # what LoRA adds to the gradient that passes through
    lora_gradient: int  # dA and dB
    lowest: int  # what the lowest trained layer spares, without LoRA
    lora_lowest: int  # and of LoRA


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A linear that LoRA adapts: its sizes and which tensor it reads (x: the layer's input)."""

    inputs: int
    outputs: int
    reads: str
    role: str


def head_width(shape: ModelShape) -> int:
    return shape.head_width or shape.hidden // shape.heads


def query_width(shape: ModelShape) -> int:
    return head_width(shape) * shape.heads


def key_value_width(shape: ModelShape) -> int:
    return head_width(shape) * (shape.key_value_heads or shape.heads)


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
    h, f, kv, q = shape.hidden, shape.intermediate, key_value_width(shape), query_width(shape)

    def target(inputs: int, outputs: int, reads: str, role: str = "") -> Target:
        return Target(inputs=inputs, outputs=outputs, reads=reads, role=role)

    if shape.architecture in DECODERS:
        return {
            "self_attn.q_proj": target(h, q, "x", "query"),
            "self_attn.k_proj": target(h, kv, "x", "key"),
            "self_attn.v_proj": target(h, kv, "x", "value"),
            "self_attn.o_proj": target(q, h, "context"),
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


def position_targets(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """The targets that DeBERTa also applies to its relative positions: one query and one key projection serve both."""
    return tuple(target for target in targets if target.role in ("query", "key"))


def layer_flops(
    shape: ModelShape, batch: int, sequence: int, rank: int, targets: tuple[Target, ...], attention: str = "eager"
) -> LayerFlops:
    """Count one layer's operations at this batch and sequence."""
    tokens, h, kv, q = batch * sequence, shape.hidden, key_value_width(shape), query_width(shape)
    mlp = (3 if shape.architecture in DECODERS else 2) * h * shape.intermediate
    linear = 2 * tokens * (2 * h * q + 2 * h * kv + mlp)
    product = 2 * batch * sequence**2 * q
    adapters = sum(2 * tokens * rank * (target.inputs + target.outputs) for target in targets)
    counted = LayerFlops(
        forward=linear + 2 * product,
        # Fused kernels keep no scores: they compute them once more.
        backward=linear + (4 if attention == "eager" else 5) * product,
        gradient=0,
        lora_forward=adapters,
        lora_backward=adapters,
        lora_gradient=adapters,
        lowest=_lowest(shape, batch, sequence, targets, attention),
        lora_lowest=sum(2 * tokens * rank * target.inputs for target in targets if target.reads == "x"),
    )
    return _with_positions(counted, shape, batch, sequence, rank, targets)


def _with_positions(
    counted: LayerFlops, shape: ModelShape, batch: int, sequence: int, rank: int, targets: tuple[Target, ...]
) -> LayerFlops:
    """Add DeBERTa's disentangled attention: content to position and position to content."""
    if shape.architecture != "deberta-v2":
        return counted
    h, span, adapted = shape.hidden, 2 * shape.position_buckets, position_targets(targets)
    product = 2 * batch * sequence * span * h
    outputs = sum(2 * span * rank * target.outputs for target in adapted)
    inputs = sum(2 * span * rank * target.inputs for target in adapted)
    return replace(
        counted,
        forward=counted.forward + 4 * span * h * h + 2 * product,
        backward=counted.backward + 2 * product,
        # Positions get a gradient only where LoRA trains on what projects them; they pass none on.
        gradient=product * len(adapted),
        lora_forward=counted.lora_forward + inputs + outputs,
        lora_gradient=counted.lora_gradient + inputs + 2 * outputs,
        lowest=counted.lowest + product * (2 - len({target.role for target in adapted})),
    )


def _lowest(shape: ModelShape, batch: int, sequence: int, targets: tuple[Target, ...], attention: str) -> int:
    """What need not be computed in the lowest trained layer, below and beside its first adapted linear."""
    tokens, h, kv, q = batch * sequence, shape.hidden, key_value_width(shape), query_width(shape)
    roles = {target.role for target in targets}
    projections = 2 * tokens * (h * q + 2 * h * kv)
    product = 2 * batch * sequence**2 * q
    if any(target.reads == "x" for target in targets):
        if attention != "eager":  # a fused kernel computes dQ, dK and dV in any case
            return projections
        unneeded = 2 - len({"query", "key"} & roles) + ({"query", "key"}.isdisjoint(roles))  # dQ, dK; neither: dP too
        return projections + product * (unneeded + ("value" not in roles))
    below = projections + (4 if attention == "eager" else 5) * product
    if any(target.reads == "context" for target in targets):
        return below
    # Only the MLP is adapted: the attention block has no backward at all.
    below += 2 * tokens * h * q
    return below + (0 if any(target.reads == "mlp" for target in targets) else _mlp_inputs(shape, tokens))


def _mlp_inputs(shape: ModelShape, tokens: int) -> int:
    return (2 if shape.architecture in DECODERS else 1) * 2 * tokens * shape.hidden * shape.intermediate
