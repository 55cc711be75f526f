"""Masks in one bit an element."""

import pytest
import torch
from fedquad_kernels.bits import pack_bits, pack_bits_many, unpack_bits
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_unpacking_a_packed_mask_returns_it(elements):
    mask = torch.tensor(elements)
    bits = pack_bits(mask)
    assert bits.numel() == -(-len(elements) // 8)
    assert torch.equal(unpack_bits(bits, mask.shape), mask)


def test_element_k_is_bit_k_of_its_byte():
    mask = torch.zeros(11, dtype=torch.bool)
    mask[[0, 3, 9]] = True
    assert pack_bits(mask).tolist() == [0b1001, 0b10]


def test_masks_that_start_off_a_word_are_packed_all_the_same():
    mask = torch.rand(70) < 0.5
    packed = pack_bits_many([mask[3:67], mask[:64].view(8, 8)])
    assert torch.equal(unpack_bits(packed[0], (64,)), mask[3:67])
    assert torch.equal(unpack_bits(packed[1], (8, 8)), mask[:64].view(8, 8))


def test_what_is_no_contiguous_mask_is_refused():
    with pytest.raises(ValueError, match="contiguous boolean"):
        pack_bits(torch.ones(8))
    with pytest.raises(ValueError, match="contiguous boolean"):
        pack_bits(torch.ones(8, 8, dtype=torch.bool).t())
    with pytest.raises(ValueError, match="needs 2 bytes"):
        unpack_bits(torch.zeros(1, dtype=torch.uint8), (9,))
