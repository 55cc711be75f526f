"""AdamW over masters, gradient norms and clipping, against plain torch."""

import pytest
import torch
from torch import nn

from fedquad.learn.optimizer import Optimizer, clip, squares


def parameters(*sizes: int) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, generator=draw)) for size in sizes]


def with_gradients(found: list[nn.Parameter], *indices: int) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(1)
    for index in indices:
        found[index].grad = torch.randn(found[index].shape, generator=draw)
    return found


@pytest.mark.parametrize("indices", [(0, 1, 2), (1,), (0, 2), ()])
def test_squares_are_those_of_each_gradient_and_zero_where_there_is_none(indices: tuple[int, ...]) -> None:
    found = with_gradients(parameters(5, 3, 7), *indices)
    wanted = [0.0 if one.grad is None else float(one.grad.square().sum()) for one in found]
    assert squares(found).tolist() == pytest.approx(wanted, rel=1e-6)


def test_clipping_scales_all_gradients_alike() -> None:
    found = with_gradients(parameters(5, 3), 0, 1)
    before = [one.grad.clone() for one in found if one.grad is not None]
    norm = squares(found).sum().sqrt()
    clip(found, norm, float(norm) / 4)
    for one, old in zip(found, before):
        torch.testing.assert_close(one.grad, old / 4, rtol=1e-5, atol=0)
    clip(found, squares(found).sum().sqrt(), 1e9)
    for one, old in zip(found, before):
        torch.testing.assert_close(one.grad, old / 4, rtol=1e-5, atol=0)


def test_a_step_is_adamws_with_decay() -> None:
    ours, theirs = (with_gradients(parameters(6, 4), 0, 1) for _ in range(2))
    Optimizer(ours, [one.detach().clone() for one in ours], 0.01, 0.1).step()
    torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1).step()
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other)
        assert one.grad is None
