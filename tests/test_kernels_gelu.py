"""GELU's derivative in a byte."""

import pytest
import torch
from fedquad_kernels.gelu import STEP, gelu_backward, gelu_code
from torch.nn import functional as F

FIT_ERROR = 2.8e-4  # of the polynomial, over the whole line
APPROXIMATE = {"erf": "none", "tanh": "tanh"}


@pytest.mark.parametrize("kind", APPROXIMATE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_derivative_is_off_by_half_a_step_and_the_fit_at_most(kind, dtype):
    x = torch.cat([torch.linspace(-9, 9, 40001), torch.tensor([-1e4, 1e4])]).to(dtype)
    exact = x.double().requires_grad_()
    F.gelu(exact, approximate=APPROXIMATE[kind]).sum().backward()
    coded = gelu_backward(torch.ones(x.shape), gelu_code(x, kind))
    assert (coded - exact.grad).abs().max() <= STEP / 2 + FIT_ERROR


def test_far_from_zero_the_derivative_is_0_or_1():
    ones = torch.ones(2)
    assert gelu_backward(ones, gelu_code(torch.tensor([-8.0, 8.0]), "erf")).tolist() == pytest.approx([0, 1], abs=1e-7)


def test_a_transposed_input_and_gradient_are_read_in_their_order():
    x, grad = torch.randn(5, 7), torch.randn(5, 7)
    straight = gelu_backward(grad, gelu_code(x, "erf"))
    assert torch.equal(gelu_backward(grad.t(), gelu_code(x.t(), "erf")), straight.t())


def test_the_gradient_keeps_its_dtype():
    code = gelu_code(torch.randn(9), "tanh")
    assert gelu_backward(torch.ones(9, dtype=torch.bfloat16), code).dtype == torch.bfloat16
