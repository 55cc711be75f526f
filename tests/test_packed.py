"""Where a stack's tokens lie without their padding."""

import pytest
import torch

from fedquad.learn.packed import Packing

LENGTHS = [[4, 2, 7], [1, 7, 3], [5, 5, 0]]  # of two devices with three examples and one with two
ALL = slice(0, 3)


@pytest.fixture
def is_token() -> torch.Tensor:
    return torch.arange(7) < torch.tensor(LENGTHS)[:, :, None]


def spread(packing: Packing, slots: torch.Tensor, part: slice = ALL) -> torch.Tensor:
    """Each example by itself."""
    return slots.flatten(0, 1).index_select(0, packing.of(part)[1]).view(-1, packing.width, slots.shape[-1])


def test_tokens_go_to_their_examples_and_back(is_token: torch.Tensor) -> None:
    packing = Packing(is_token, torch.float32)
    x = torch.arange(9 * 7 * 4.0).view(9, 7, 4)
    slots = packing.pack(x)
    assert slots.shape == (3, 14, 4)  # the most tokens, and one place of padding
    there = spread(packing, slots)
    assert there.shape == (9, 16, 4)
    real = is_token.flatten(0, 1)
    assert torch.equal(there[:, :7][real], x[real])
    back = there.flatten(0, 1).index_select(0, packing.of(ALL)[0]).view(3, 14, 4)
    assert packing.tokens == [sum(lengths) for lengths in LENGTHS]
    for device, tokens in enumerate(packing.tokens):
        assert torch.equal(back[device, :tokens], slots[device, :tokens])
    of_two = slice(1, 3)
    assert torch.equal(slots[of_two].flatten(0, 1)[packing.first(of_two)][:5], x[3:8, 0])
    assert packing.mask(slice(1, 2)).eq(0).sum((1, 2, 3)).tolist() == LENGTHS[1]


def test_a_part_of_the_devices_is_as_if_there_were_no_others(is_token: torch.Tensor) -> None:
    whole, part = Packing(is_token, torch.float32), Packing(is_token[1:2], torch.float32)
    x = torch.randn(1, whole.slots, 3)
    kept = is_token[1:2].flatten(0, 1)
    ours, theirs = spread(whole, x, slice(1, 2)), spread(part, x[:, : part.slots], slice(0, 1))
    assert torch.equal(ours[:, :7][kept], theirs[:, :7][kept])


def test_padding_reads_a_slot_that_holds_no_token(is_token: torch.Tensor) -> None:
    """So that what comes back from a place of padding, by the same way, is no token's gradient."""
    packing = Packing(is_token, torch.float32)
    slots = packing.of(ALL)[1].view(3, 3, packing.width)
    padding = torch.ones_like(slots, dtype=torch.bool)
    padding[:, :, :7] = ~is_token
    each = slots - torch.arange(3)[:, None, None] * packing.slots
    for device, tokens in enumerate(packing.tokens):
        assert (each[device][padding[device]] >= tokens).all()
