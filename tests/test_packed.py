"""Where a stack's tokens lie without their padding."""

import pytest
import torch

from fedquad.learn.packed import LEAST_SAVED, Packing

LENGTHS = [[4, 2, 7], [1, 7, 3], [5, 5, 0]]  # of two devices with three examples and one with two
ALL = slice(0, 3)


@pytest.fixture
def is_token() -> torch.Tensor:
    return torch.arange(7) < torch.tensor(LENGTHS)[:, :, None]


def test_tokens_go_to_their_examples_and_back(is_token: torch.Tensor) -> None:
    packing = Packing(is_token, torch.float32)
    x = torch.arange(9 * 7 * 4.0).view(9, 7, 4)
    slots = packing.pack(x)
    assert slots.shape == (3, 14, 4)  # the most tokens, and one place of padding
    heads = slots.view(3, 14, 2, 2).transpose(1, 2)
    there = packing.spread(heads, ALL)
    assert there.shape == (9, 2, 16, 2)
    real = is_token.flatten(0, 1)
    assert torch.equal(there.transpose(1, 2).flatten(2)[:, :7][real], x[real])
    back = packing.gathered(there.transpose(1, 2), ALL).flatten(2)
    for device, lengths in enumerate(LENGTHS):
        assert torch.equal(back[device, : sum(lengths)], slots[device, : sum(lengths)])
    assert torch.equal(packing.first(slots[1:], slice(1, 3))[:5, 0], x[3:8, 0])
    assert packing.mask(slice(1, 2)).eq(0).sum((1, 2, 3)).tolist() == LENGTHS[1]


def test_a_part_of_the_devices_is_as_if_there_were_no_others(is_token: torch.Tensor) -> None:
    whole, part = Packing(is_token, torch.float32), Packing(is_token[1:2], torch.float32)
    x = torch.randn(1, 2, whole.slots, 3)
    kept = is_token[1:2].flatten(0, 1)
    ours, theirs = whole.spread(x, slice(1, 2)), part.spread(x[:, :, : part.slots], slice(0, 1))
    assert torch.equal(ours.transpose(1, 2)[:, :7][kept], theirs.transpose(1, 2)[:, :7][kept])


def test_gradients_go_the_same_way(is_token: torch.Tensor) -> None:
    packing = Packing(is_token, torch.float32)
    x = torch.randn(3, 2, packing.slots, 2, requires_grad=True)
    weight = torch.randn(9, 2, 16, 2)
    there = packing.spread(x, ALL)
    weight *= of_tokens(is_token)
    (there * weight).sum().backward()
    assert x.grad is not None
    assert torch.equal(packing.spread(x.grad, ALL) * of_tokens(is_token), weight)


def of_tokens(is_token: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(is_token, (0, 9)).flatten(0, 1)[:, None, :, None].float()


def test_it_pays_where_enough_is_saved(is_token: torch.Tensor) -> None:
    packing = Packing(is_token, torch.float32)
    saved = 3 * (3 * 7 - 14)
    assert packing.saved == saved
    assert packing.pays(-(-LEAST_SAVED // saved))
    assert not packing.pays(LEAST_SAVED // saved)
    full = Packing(torch.ones(2, 3, 7, dtype=torch.bool), torch.float32)
    assert not full.pays(1 << 20)
