"""One test for each way in which saved-tensor compression has gone silently wrong elsewhere."""

import gc

import pytest
import torch
from tiny_transformers import a_batch, a_model, backward, relative_error
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig

from fedquad.learn.activations.compress import Compression, compress
from fedquad.learn.layers import find_layers


class OneLayer(nn.Module):
    """A model whose only transformer layer is the function it is given."""

    def __init__(self, function, **modules):
        super().__init__()
        self.config = PreTrainedConfig(num_hidden_layers=1)
        self.layers = nn.ModuleList([Layer(function, modules)])

    def forward(self, x):
        return self.layers[0](x)


class Layer(nn.Module):
    def __init__(self, function, modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, hidden_states):
        return self.function(self, hidden_states)


def an_input(*shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (2, 32, 64)), generator=torch.Generator().manual_seed(0)).requires_grad_()


def gradients(function, x, is_compressed, deferred=None, **modules):
    """Return x's gradient through one layer, and the bytes the layer kept."""
    model = OneLayer(function, **modules)
    with Compression(model, [0] if is_compressed else [], deferred=deferred) as handle:
        out = model(x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    return gradient, handle.saved_bytes().get(0)


def assert_agrees(function, x, tolerance=0.02, **modules):
    exact, _ = gradients(function, x, False, **modules)
    for deferred in (False, True):
        compressed, saved = gradients(function, x, True, deferred, **modules)
        assert relative_error(compressed, exact) < tolerance
    return saved


@pytest.mark.parametrize("deferred", [False, True])
def test_a_tensor_changed_in_place_after_it_was_passed_through_is_refused(deferred):
    def function(layer, x):
        small = x[:, :1, :1].exp()  # autograd keeps the result, which is too small to compress
        out = x * small.sum()
        small.add_(1)
        return out

    model, x = OneLayer(function), an_input()
    with Compression(model, [0], deferred=deferred):
        out = model(x)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()


def test_a_tensor_changed_in_place_before_a_deferred_pack_is_refused():
    def function(layer, x):
        y = x.exp()
        out = y.sum() * x
        y.add_(1)
        return out

    model, x = OneLayer(function), an_input()
    with Compression(model, [0], deferred=True):
        out = model(x)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()


def test_a_tensor_changed_in_place_after_it_was_quantized_keeps_its_gradient():
    def function(layer, x):
        y = x.exp()
        y.mul_(1.0)  # plain autograd refuses; the codes are a copy
        return y

    model, x = OneLayer(function), an_input()
    with Compression(model, [0], deferred=False):
        out = model(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert relative_error(gradient, x.detach().exp()) < 0.05


def test_a_transposed_second_view_of_one_storage_comes_back_transposed():
    def function(layer, x):
        y = x * 1.0
        return y @ y.transpose(1, 2)  # keeps y twice, once as a transposed view

    saved = assert_agrees(function, an_input(2, 64, 64))
    assert saved.uncompressed_bytes == 2 * 64 * 64 * 4
    assert saved.kept_bytes < 0.27 * saved.uncompressed_bytes  # once, not twice


def test_views_of_one_storage_with_other_offsets_are_kept_apart():
    def function(layer, x):
        y = x * 1.0
        return y[0] * y[1]

    assert_agrees(function, an_input(2, 64, 128))


def test_slices_of_a_fused_projection_share_the_whole_of_it():
    def function(layer, x):
        query, key, value = layer.fused(x).chunk(3, dim=-1)
        return query * key * value

    saved = assert_agrees(function, an_input(), fused=nn.Linear(64, 192))
    assert saved.kept_bytes < 0.6 * saved.uncompressed_bytes  # query * key is new and kept too


def test_expanded_tensors_pass_through():
    def function(layer, x):
        wide = x[:, :, :1].expand(2, 32, 4096)
        return (wide * wide).sum(-1, keepdim=True) * x

    exact, _ = gradients(function, an_input(), False)
    assert relative_error(gradients(function, an_input(), True)[0], exact) < 0.02


def test_sdpas_mask_of_minus_infinity_leaves_gradients_finite():
    model, batch = a_model(attention="sdpa"), a_batch()
    _, exact = backward(model, batch)
    with compress(model, layers=[0, 1]):
        _, gradient = backward(model, batch)
    assert gradient.isfinite().all()
    assert relative_error(gradient, exact) < 0.02


def test_nothing_is_recorded_under_no_grad_and_outputs_do_not_change():
    model, batch = a_model().eval(), a_batch()
    with torch.no_grad(), compress(model, layers=[0, 1]) as handle:
        inside = model(**batch).logits
    assert handle.saved_bytes() == {}
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, inside)


def test_a_checkpoint_inside_a_layer_keeps_its_input_compressed_and_recomputes():
    def function(layer, x):
        return checkpoint(lambda y: layer.act(y * y), x, use_reentrant=False)

    saved = assert_agrees(function, an_input(), tolerance=0.05, act=nn.GELU())
    assert saved.uncompressed_bytes == an_input().nbytes


@pytest.mark.parametrize("is_reentrant", [False, True])
def test_a_checkpointed_model_is_left_to_its_checkpoints(is_reentrant):
    model, batch = a_model(), a_batch()
    model.enable_input_require_grads()
    loss, exact = backward(model, batch)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": is_reentrant})
    with compress(model, layers=[0, 1]) as handle:
        checkpointed_loss, gradient = backward(model, batch)
    assert torch.equal(loss, checkpointed_loss)
    assert torch.equal(gradient, exact)
    assert handle.saved_bytes() == {}


def test_a_layer_called_inside_a_checkpoint_agrees_too():
    model, x = OneLayer(lambda layer, x: layer.act(x * x), act=nn.GELU()), an_input()
    (exact,) = torch.autograd.grad(model(x).sum(), x)
    with compress(model, layers=[0]):
        (gradient,) = torch.autograd.grad(checkpoint(model, x, use_reentrant=False).sum(), x)
    assert relative_error(gradient, exact) < 0.02


def test_double_backward_works_through_the_hooks():
    x = an_input()

    def second(is_compressed):
        model = OneLayer(lambda layer, x: (x.sin() * x).exp())
        with compress(model, layers=[0] if is_compressed else []):
            out = model(x)
        (first,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    assert relative_error(second(True), second(False)) < 0.05


def test_double_backward_through_a_coded_gelu_is_refused():
    x, model = an_input(), OneLayer(lambda layer, x: layer.act(x), act=nn.GELU())
    with compress(model, layers=[0]):
        out = model(x)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(out.sum(), x, create_graph=True)


@pytest.mark.parametrize("deferred", [False, True])
def test_a_second_backward_through_one_graph_gives_the_same_gradient(deferred):
    model, batch = a_model(), a_batch()
    with Compression(model, [0, 1], deferred=deferred):
        loss = model(**batch).loss
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    first = torch.autograd.grad(loss, learned, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(loss, learned)))


def test_addresses_used_again_after_a_free_are_not_taken_for_the_old_tensor():
    def function(layer, x):
        total = 0
        for factor in range(1, 21):
            y = x.detach() * factor + x  # its storage is free again before the next one is made
            total = total + (y * y).sum() / factor
            del y
        return total * x

    exact, _ = gradients(function, an_input(), False)
    assert relative_error(gradients(function, an_input(), True)[0], exact) < 0.02


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("step", [backward, lambda model, batch: model(**batch).loss])
def test_no_tensor_outlives_its_graph(deferred, step):
    model, batch = a_model(), a_batch()
    with Compression(model, [0, 1], deferred=deferred):
        backward(model, batch)
        model.zero_grad()
        gc.collect()
        gc.disable()
        try:
            before = sum(isinstance(item, torch.Tensor) for item in gc.get_objects())
            for _ in range(3):
                step(model, batch)
            model.zero_grad()
            after = sum(isinstance(item, torch.Tensor) for item in gc.get_objects())
        finally:
            gc.enable()
    assert after <= before


def test_autocast_copies_of_trained_weights_are_not_quantized():
    lora = nn.Linear(64, 256, bias=False)  # 16384 weights: large enough to be taken for an activation

    def function(layer, x):
        with torch.autocast("cpu", torch.bfloat16):
            return layer.lora(x).float()

    model, x = OneLayer(function, lora=lora), torch.randn(1, 8, 64, requires_grad=True)  # the input is too small
    model(x).sum().backward()
    exact = x.grad.clone()
    with compress(model, layers=[0]):
        out = model(x)
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], exact)


def test_sdpa_under_autocast_takes_the_shared_bias():
    model, batch = a_model(attention="sdpa"), a_batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss, exact = backward(model, batch)
        with compress(model, layers=[0, 1]):
            compressed_loss, gradient = backward(model, batch)
    assert torch.equal(loss, compressed_loss)
    assert relative_error(gradient, exact) < 0.05


def test_a_nan_among_the_activations_reaches_the_gradient():
    def function(layer, x):
        return F.silu(x)

    x = an_input()
    with torch.no_grad():
        x[0, 0, 0] = float("nan")
    gradient, _ = gradients(function, x, True)
    assert gradient[0, 0, 0].isnan()
    assert gradient[1].isfinite().all()


def test_a_gelu_that_is_shared_with_an_uncompressed_layer_saves_its_input_there():
    model, batch = a_model(), a_batch()
    layers = find_layers(model)
    layers[1].intermediate.intermediate_act_fn = layers[0].intermediate.intermediate_act_fn
    _, exact = backward(model, batch)
    with compress(model, layers=[0]):
        _, gradient = backward(model, batch)
    half = len(exact) // 2
    assert torch.equal(gradient[half:], exact[half:])
    assert not torch.equal(gradient[:half], exact[:half])
