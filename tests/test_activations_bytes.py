"""What a layer keeps, counted on the meta device with CUDA's operators: published shapes, no memory, no GPU."""

import pytest
import torch
from tiny_transformers import a_model

from fedquad.learn.activations.accounting import SavedBytes
from fedquad.learn.activations.compress import compress
from fedquad.learn.activations.meta import CudaOperators

BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 514}
LARGE = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "max_position_embeddings": 514}
DEBERTA = {**LARGE, "position_buckets": 256}
BATCH, SEQ = 32, 128
TOKENS = BATCH * SEQ


def second_layer(model: torch.nn.Module, coverage: str = "full") -> SavedBytes:
    """Return the bytes of the second of two trained layers: the first one's input needs no gradient."""
    with torch.device("meta"):
        batch = {"input_ids": torch.zeros(BATCH, SEQ, dtype=torch.long), "attention_mask": torch.ones(BATCH, SEQ)}
    with CudaOperators(), compress(model, layers=[0, 1], coverage=coverage) as handle:
        model(**batch)
    return handle.saved_bytes()[1]


def on_meta(kind: str, attention: str, dtype: torch.dtype, sizes: dict[str, int], **lora: float) -> torch.nn.Module:
    with torch.device("meta"):
        return a_model(kind, attention, 0.1, lora={"r": 8, **lora}, **sizes).to(dtype)


@pytest.mark.parametrize(
    ("kind", "attention", "dtype", "sizes", "today", "target"),
    [
        ("roberta", "eager", torch.float32, LARGE, 61_520, 15_000),
        ("roberta", "sdpa", torch.float32, LARGE, 47_760, 12_300),
        ("roberta", "sdpa", torch.bfloat16, LARGE, 24_944, 10_800),
        ("deberta", "eager", torch.float32, DEBERTA, 164_628, 24_700),
    ],
)
def test_a_layers_bytes_per_token_reach_their_target(kind, attention, dtype, sizes, today, target):
    saved = second_layer(on_meta(kind, attention, dtype, sizes))
    assert saved.uncompressed_bytes / TOKENS == pytest.approx(today, abs=1)
    assert saved.kept_bytes / TOKENS <= target


def test_the_papers_setting_is_accounted_for_and_its_saving_reproduced():
    model = on_meta("roberta", "eager", torch.float32, BASE, lora_dropout=0.1)
    saved = second_layer(model, coverage="paper")
    assert saved.uncompressed_bytes / 2**20 == pytest.approx(199, rel=0.01)
    assert 0.58 <= 1 - saved.kept_bytes / saved.uncompressed_bytes <= 0.60


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_roberta_layer_keeps_what_can_be_derived(attention, dtype):
    saved = second_layer(on_meta("roberta", attention, dtype, LARGE))
    H, h, s, r, el = 1024, 16, SEQ, 8, dtype.itemsize
    is_eager = attention == "eager"
    scores = h * s if is_eager else 0  # softmax and its dropped copy; a mask
    floats = (10 if is_eager else 11) * H  # GELU 4, LayerNorm 2, q, k, v, LoRA's input, and SDPA's output
    exact = 16 + (0 if is_eager else 4 * h)  # LayerNorm's statistics, log-sum-exp
    bias = 0 if is_eager else s * el  # every layer's own without us, one for all layers with us
    assert saved.uncompressed_bytes / TOKENS == pytest.approx(
        (floats + 2 * r + 2 * scores) * el + 2 * H + scores + exact + bias, abs=1
    )
    coded = floats - H + 2 * r + 2 * scores  # LoRA's input is computed again from the LayerNorm below
    scales = 4 / 1024 * (coded - 4 * H)  # GELU's codes have none
    assert saved.kept_bytes / TOKENS == pytest.approx(coded + scales + (2 * H + scores) / 8 + exact, abs=1)
