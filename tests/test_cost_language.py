"""Decoders of published shapes under their language head: FLOPs and kept bytes as torch counts them on the meta device."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fedquad.learn.activations.accounting import counted
from fedquad.learn.activations.compress import compress
from fedquad.learn.activations.meta import CudaOperators
from fedquad.learn.language_head import head_losses
from fedquad.prices import flops, heads, memory
from fedquad.prices.cost import CostModel, cost_model, peak_bytes, step_flops
from fedquad.prices.shapes import from_config
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment, ModelShape

LAYERS, RANK, BATCH, SEQUENCE = 3, 8, 4, 256
TRAINED = ((0, 1, 2), (1, 2), (2,), (1,))
SIZES: dict[str, dict[str, Any]] = {  # from their config.json
    "llama": {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256, "tie_word_embeddings": True},
    "qwen2": {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True},
    "qwen3": {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936, "tie_word_embeddings": True},
}  # fmt: skip


def build(kind: str, attention: str, dtype: torch.dtype) -> tuple[Any, ModelShape]:
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, num_hidden_layers=LAYERS, **SIZES[kind])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        names = [name for name, _ in model.named_modules() if name.endswith(("q_proj", "v_proj"))]
        inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=names), model)
    return model.to(dtype).requires_grad_(False).train(), from_config(kind, config.to_dict())


def train(model: Any, layers: tuple[int, ...]) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name and any(f".layers.{layer}." in name for layer in layers))


def forward(model: Any) -> torch.Tensor:
    ids = torch.zeros(BATCH, SEQUENCE, dtype=torch.long, device="meta")
    x_BTH = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    head = model.get_output_embeddings()
    return head_losses(x_BTH.flatten(0, 1), head.weight, head.bias, ids.flatten()).mean()


def priced(shape: ModelShape, spec: ModelSpec) -> CostModel:
    cost = CostSpec(batch=BATCH, sequence=SEQUENCE)
    return cost_model(shape, spec, TrainingSpec(), cost, 0, head_cost=heads.of_language)


def assign(trained: tuple[int, ...]) -> Assignment:
    present = tuple(range(LAYERS))
    return Assignment(device=0, present=present, trained=trained, ranks=(RANK,) * LAYERS, steps=1, learning_rate=1.0)


def kept_bytes(cost: CostModel, shape: ModelShape, spec: ModelSpec, trained: tuple[int, ...]) -> int:
    """Of the estimate's peak, what is activations."""
    element, targets = memory.ELEMENT_BYTES[spec.precision], flops.targets_of(shape)
    layer = memory.kept(shape, BATCH, SEQUENCE, cost.attention, element, targets, spec.dropout, is_masked=False)
    optimizer = RANK * (cost.bytes.trained_per_rank - element * layer.per_rank)
    head = heads.of_language(shape, BATCH, SEQUENCE, 0, element).kept
    return peak_bytes(assign(trained), cost) - peak_bytes(assign(()), cost) - optimizer * len(trained) + head


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", SIZES)
def test_a_decoder_is_priced_within_1_percent_of_what_torch_counts(kind: str, precision: Any, attention: Any) -> None:
    model, shape = build(kind, attention, {"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    spec = ModelSpec(attention=attention, precision=precision, dropout=0.0, rank=RANK)
    cost = priced(shape, spec)
    for trained in TRAINED:
        train(model, trained)
        with CudaOperators(is_padded=False), FlopCounterMode(display=False) as counter:
            with counted() as ledger:
                loss = forward(model)
            loss.backward()
        assert step_flops(assign(trained), cost) == pytest.approx(counter.get_total_flops(), rel=0.01), trained
        assert kept_bytes(cost, shape, spec, trained) == pytest.approx(ledger.bytes, rel=0.01), trained


@pytest.mark.parametrize("kind", SIZES)
def test_int8_saves_at_least_55_percent_of_a_decoders_layer_in_bf16_and_as_much_as_is_priced(kind: str) -> None:
    model, shape = build(kind, "sdpa", torch.bfloat16)
    spec = ModelSpec(precision="bf16", dropout=0.0, rank=RANK)
    cost = priced(shape, spec)
    for trained, quantized in (((0, 1, 2), (1,)), ((0, 1, 2), (0, 1, 2)), ((1, 2), (1,))):
        train(model, trained)
        with CudaOperators(is_padded=False), compress(model, quantized) as handle:
            forward(model)
        found = handle.saved_bytes()
        saved = sum(one.uncompressed_bytes - one.kept_bytes for one in found.values())
        if 0 not in quantized and 1 in trained[1:]:
            assert saved >= 0.55 * found[1].uncompressed_bytes, found
        plan = assign(trained)
        spared = peak_bytes(plan, cost) - peak_bytes(replace(plan, quantized=quantized), cost)
        assert spared == pytest.approx(saved, rel=0.01), (trained, quantized)
