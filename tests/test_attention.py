"""SDPA in bf16 on a CPU goes through float32 where that is faster: the same function, in bf16's own precision."""

from typing import Any

import pytest
import torch
from tiny import a_trainee, an_adapter, an_assignment, examples
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from fedquad.learn import attention
from fedquad.learn.loop import train
from fedquad.spec import TrainingSpec


class Module(torch.nn.Module):
    is_causal = False


def attended(how: Any, dtype: torch.dtype, mask: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(3, 2, 20, 16, generator=generator).to(dtype).requires_grad_() for _ in range(3)]
    y, _ = how(Module(), *inputs, mask, dropout=0.0)
    y.backward(torch.ones_like(y))
    return y.detach(), *(one.grad for one in inputs)


@pytest.mark.parametrize("kind", ["none", "boolean", "bias"])
def test_through_float32_it_is_the_same_function(kind: str) -> None:
    kept = torch.ones(3, 1, 20, 20, dtype=torch.bool)
    kept[1, :, :, 13:] = False
    bias = torch.zeros(3, 1, 20, 20, dtype=torch.bfloat16).masked_fill(~kept, -torch.inf)
    mask = {"none": None, "boolean": kept, "bias": bias}[kind]
    in_float = attended(sdpa_attention_forward, torch.float32, mask.float() if kind == "bias" else mask)
    ours = attended(attention.attend, torch.bfloat16, mask)
    assert {one.dtype for one in ours} == {torch.bfloat16}
    for found, exact in zip(ours, in_float):
        assert torch.allclose(found.float(), exact, atol=0.05, rtol=0.05)


def test_only_what_is_slow_in_bf16_goes_through_float32() -> None:
    def query(dtype: torch.dtype = torch.bfloat16, tokens: int = 128, is_trained: bool = True) -> torch.Tensor:
        return torch.zeros(1, 1, tokens, 64, dtype=dtype, requires_grad=is_trained)

    assert attention.is_faster_in_float32(query())
    for other in (query(torch.float32), query(tokens=129), query(is_trained=False), query().to("meta")):
        assert not attention.is_faster_in_float32(other)


def test_a_model_that_trains_in_bf16_asks_it(tmp_path, monkeypatch) -> None:
    assert AttentionInterface()["sdpa"] is attention.attend
    asked = []
    monkeypatch.setattr(attention, "is_faster_in_float32", lambda query: asked.append(query.dtype) or False)
    trainee = a_trainee(tmp_path, precision="bf16")
    training = TrainingSpec(steps=1, batch=4)
    found = train(
        trainee, an_assignment(), an_adapter(trainee.layout), examples(), training=training, key=(0,), round=1, based_on="x"
    )  # fmt: skip
    assert not found.report.failure
    assert set(asked) == {torch.bfloat16}
