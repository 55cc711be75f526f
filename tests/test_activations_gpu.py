"""On an NVIDIA GPU: the Triton kernels against plain torch, and our count of bytes against the allocator's."""

import pytest
import torch
from fedquad_kernels.bits import pack_bits, unpack_bits
from fedquad_kernels.gelu import gelu_backward, gelu_code
from fedquad_kernels.int8_block import block_dequantize, block_quantize
from fedquad_kernels.int8_slab import slab_dequantize, slab_quantize
from tiny_transformers import a_batch, a_model, backward, relative_error

from fedquad.learn.activations.compress import compress

pytestmark = pytest.mark.gpu
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def on_gpu(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.cuda() for name, tensor in batch.items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (33, 1), (100, 70), (4096, 1024)])
def test_codes_on_a_gpu_are_those_of_a_cpu(shape, dtype):
    x = (torch.randn(shape) * torch.logspace(-3, 3, shape[0])[:, None]).to(dtype)
    codes, scales = block_quantize(x.cuda())
    expected = block_quantize(x)
    assert torch.equal(codes.cpu(), expected[0])
    assert torch.equal(scales.cpu(), expected[1])
    assert torch.equal(block_dequantize(codes, scales, dtype).cpu(), block_dequantize(*expected, dtype))
    (back,) = slab_dequantize(slab_quantize([x.cuda(), x.cuda()]), [1])
    assert torch.equal(back.cpu(), block_dequantize(*expected, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["erf", "tanh"])
def test_gelu_codes_on_a_gpu_are_those_of_a_cpu(kind, dtype):
    x, grad = torch.randn(3, 50_001).to(dtype) * 3, torch.randn(3, 50_001)
    code = gelu_code(x.cuda(), kind)
    assert torch.equal(code.cpu(), gelu_code(x, kind))
    assert torch.equal(gelu_backward(grad.cuda(), code).cpu(), gelu_backward(grad, gelu_code(x, kind)))


@pytest.mark.parametrize("length", [1, 1023, 128 * 1000])
def test_bits_on_a_gpu_are_those_of_a_cpu(length):
    mask = torch.rand(length) < 0.5
    bits = pack_bits(mask.cuda())
    assert torch.equal(bits.cpu(), pack_bits(mask))
    assert torch.equal(unpack_bits(bits, mask.shape).cpu(), mask)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_agree_and_the_loss_does_not_move(attention, dtype):
    model, batch = a_model("roberta", attention, 0.1).to("cuda", dtype), on_gpu(a_batch(rows=8, seq=64))
    loss, exact = backward(model, batch)
    with compress(model, layers=[0, 1]):
        compressed_loss, gradient = backward(model, batch)
    assert torch.equal(loss, compressed_loss)
    assert relative_error(gradient, exact) < (0.02 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_counted_bytes_are_the_allocators_within_3_percent(attention):
    sizes = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048, "num_hidden_layers": 8}
    model = a_model("roberta", attention, 0.1, max_position_embeddings=200, **sizes).cuda()
    batch, held, counted = on_gpu(a_batch(rows=32, seq=128)), {}, {}
    for layers in (4, 8):
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.requires_grad_(int(name.partition(".layer.")[2].partition(".")[0]) >= 8 - layers)
        with compress(model, range(8 - layers, 8)) as handle:
            for _ in range(2):
                before = torch.cuda.memory_allocated()
                loss = model(**batch).loss
                held[layers] = torch.cuda.memory_allocated() - before
                del loss
        counted[layers] = sum(saved.kept_bytes for saved in handle.saved_bytes().values())
    assert counted[8] - counted[4] == pytest.approx(held[8] - held[4], rel=0.03)
