"""The cost model against what torch counts on the meta device: FLOPs, and bytes that autograd keeps.

Two operations differ from CUDA's on the meta device and are replaced by the ones CUDA runs: dropout (a one-byte mask,
not a float one) and fused attention (which the CPU and meta devices take apart).
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from fedquad.learn.activations.compress import compress
from fedquad.learn.activations.meta import CudaOperators
from fedquad.prices import flops, heads, memory
from fedquad.prices.cost import CostModel, cost_model, peak_bytes, step_flops
from fedquad.prices.shapes import SHAPES
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment, ModelShape

LABELS, LAYERS, RANK = 3, 4, 8
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
CASES = [
    ("bert-large", "eager", "fp32", 0.1, ()),
    ("bert-base", "sdpa", "fp32", 0.1, ()),
    ("bert-large", "eager", "bf16", 0.1, ()),
    ("bert-large", "sdpa", "bf16", 0.1, ()),
    ("roberta-large", "eager", "fp32", 0.1, ()),
    ("roberta-base", "eager", "fp32", 0.0, ()),
    ("roberta-large", "sdpa", "fp32", 0.1, ()),
    ("roberta-large", "eager", "bf16", 0.1, ()),
    ("roberta-large", "sdpa", "bf16", 0.0, ()),
    ("roberta-base", "eager", "fp32", 0.1, ("query", "key", "value")),
    ("deberta-v3-large", "eager", "fp32", 0.1, ()),
    ("deberta-v3-large", "eager", "bf16", 0.1, ()),
    ("deberta-v3-base", "eager", "fp32", 0.0, ()),
]
TRAINED = [(3,), (2, 3), (1,), (0, 2), (0, 1, 2, 3)]


class AsOnCuda(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.dropout:
            return dropout(*args, **kwargs)
        if func is nn.functional.scaled_dot_product_attention:
            query, key, value = args
            bias = torch.zeros_like(kwargs["attn_mask"], dtype=query.dtype)
            bias = bias.expand(*query.shape[:3], key.shape[2])
            rate, scale = kwargs.get("dropout_p", 0.0), kwargs.get("scale")
            fused = torch.ops.aten._scaled_dot_product_efficient_attention
            return fused(query, key, value, bias, True, rate, False, scale=scale)[0]
        return func(*args, **kwargs)


def dropout(tensor: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    return torch.native_dropout(tensor, p, True)[0] if training and p > 0 else tensor


def build(shape: ModelShape, spec: ModelSpec) -> nn.Module:
    """The Hugging Face model of that shape with LoRA, on the meta device."""
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import AutoModelForSequenceClassification, BertConfig, DebertaV2Config, RobertaConfig

    common: dict[str, Any] = {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "vocab_size": shape.vocabulary,
        "num_labels": LABELS,
    }
    if shape.architecture == "bert":
        config = BertConfig(**common)
    elif shape.architecture == "roberta":
        config = RobertaConfig(max_position_embeddings=shape.positions, **common)
    else:
        config = DebertaV2Config(
            relative_attention=True,
            position_buckets=shape.position_buckets,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            type_vocab_size=0,
            pooler_hidden_size=shape.hidden,
            **common,
        )
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation=spec.attention)
        ends = tuple(f".{one}" for one in spec.targets or ("query", "value", "query_proj", "value_proj"))
        names = [name for name, _ in model.named_modules() if ".layer." in name and name.endswith(ends)]
        lora = LoraConfig(r=RANK, lora_alpha=RANK, lora_dropout=spec.dropout, target_modules=names)
        inject_adapter_in_model(lora, model)
    return model.to(PRECISIONS[spec.precision]).requires_grad_(False).train()


def train(model: nn.Module, layers: tuple[int, ...]) -> None:
    frozen = (".layer.", "embeddings", "encoder", "bert.pooler")
    for name, parameter in model.named_parameters():
        in_layers = "lora_" in name and any(f".layer.{layer}." in name for layer in layers)
        is_head = not any(part in name for part in frozen)
        parameter.requires_grad_(in_layers or is_head)


def count(model: Any, batch: int, sequence: int) -> tuple[int, int]:
    """FLOPs of one step, and bytes of the distinct storages autograd keeps, parameters aside."""
    own = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    ids = torch.zeros(batch, sequence, dtype=torch.long, device="meta")
    mask = torch.ones_like(ids)
    if model.config.model_type != "deberta-v2":
        # What transformers makes of the padding mask before the layers: additive in eager, bool in SDPA.
        dtype = torch.bool if model.config._attn_implementation == "sdpa" else next(model.parameters()).dtype
        mask = torch.zeros(batch, 1, sequence, sequence, dtype=dtype, device="meta")
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with AsOnCuda(), FlopCounterMode(display=False) as counter, hooks:
        logits = model(input_ids=ids, attention_mask=mask).logits
        nn.functional.cross_entropy(logits, torch.zeros(batch, dtype=torch.long, device="meta")).backward()
    return counter.get_total_flops(), sum(
        tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own
    )


def assign(trained: tuple[int, ...]) -> Assignment:
    present = tuple(range(LAYERS))
    return Assignment(device=0, present=present, trained=trained, ranks=(RANK,) * LAYERS, steps=1, learning_rate=1.0)


def kept_bytes(cost: CostModel, shape: ModelShape, spec: ModelSpec, trained: tuple[int, ...]) -> int:
    """Of the estimate's peak, what is activations: without weights, optimizer state and workspace."""
    element = memory.ELEMENT_BYTES[spec.precision]
    targets = flops.targets_of(shape, spec.targets)
    layer = memory.kept(shape, cost.batch, cost.sequence, cost.attention, element, targets, spec.dropout)
    optimizer = RANK * (cost.bytes.trained_per_rank - element * layer.per_rank)
    head = heads.head_kept(shape, cost.batch, cost.sequence, LABELS, element)
    return peak_bytes(assign(trained), cost) - peak_bytes(assign(()), cost) - optimizer * len(trained) + head


@pytest.mark.parametrize("coverage", ["full", "paper"])
@pytest.mark.parametrize(("name", "attention", "precision", "dropout", "targets"), CASES)
def test_what_int8_is_priced_to_save_is_what_the_hooks_save_within_1_percent(
    name: str, attention: Any, precision: Any, dropout: float, targets: tuple[str, ...], coverage: Any
) -> None:
    shape = replace(SHAPES[name], layers=LAYERS)
    spec = ModelSpec(
        attention=attention, precision=precision, dropout=dropout, targets=targets, rank=RANK, coverage=coverage
    )
    batch, sequence = (32, 128) if name.endswith("large") else (4, 96)
    cost = cost_model(shape, spec, TrainingSpec(), CostSpec(batch=batch, sequence=sequence), LABELS)
    model = build(shape, spec)
    ids = torch.zeros(batch, sequence, dtype=torch.long, device="meta")
    for trained, quantized in (((0, 1, 2, 3), (1,)), ((0, 1, 2, 3), (0, 1, 2, 3)), ((1, 2, 3), (1, 2)), ((2, 3), (2,))):
        train(model, trained)
        with CudaOperators(), compress(model, quantized, coverage) as handle:
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
        saved = sum(one.uncompressed_bytes - one.kept_bytes for one in handle.saved_bytes().values())
        plan = assign(trained)
        priced = peak_bytes(plan, cost) - peak_bytes(replace(plan, quantized=quantized), cost)
        assert priced == pytest.approx(saved, rel=0.01), (trained, quantized)


@pytest.mark.parametrize(("name", "attention", "precision", "dropout", "targets"), CASES)
def test_flops_and_activation_bytes_are_what_torch_counts(
    name: str, attention: Any, precision: Any, dropout: float, targets: tuple[str, ...]
) -> None:
    shape = replace(SHAPES[name], layers=LAYERS)
    spec = ModelSpec(attention=attention, precision=precision, dropout=dropout, targets=targets, rank=RANK)
    batch, sequence = (32, 128) if name.endswith("large") else (4, 96)
    cost = cost_model(shape, spec, TrainingSpec(), CostSpec(batch=batch, sequence=sequence), LABELS)
    model = build(shape, spec)
    for trained in TRAINED:
        train(model, trained)
        counted_flops, counted_bytes = count(model, batch, sequence)
        assert step_flops(assign(trained), cost) == pytest.approx(counted_flops, rel=1e-6)
        assert kept_bytes(cost, shape, spec, trained) == counted_bytes
    train(model, ())
    assert step_flops(assign(()), cost) == pytest.approx(count(model, batch, sequence)[0], rel=1e-6)
