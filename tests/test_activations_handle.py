"""Opening and closing compression, what it reports, and what it counts."""

import pytest
import torch
from tiny_transformers import a_batch, a_model, backward
from torch import nn

from fedquad.learn.activations.accounting import counted
from fedquad.learn.activations.compress import compress
from fedquad.learn.layers import find_layers


def state_of(model: nn.Module) -> list[dict[str, object]]:
    return [dict(module.__dict__) for module in model.modules()]


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta", "llama"])
def test_closing_leaves_the_model_as_it_was_found(kind):
    model = a_model(kind)
    before = state_of(model)
    handle = compress(model, layers=[0, 1])
    assert state_of(model) != before
    handle.close()
    handle.close()
    assert state_of(model) == before


def test_an_error_inside_the_block_closes_it_too():
    model = a_model()
    before = state_of(model)
    with pytest.raises(IndexError), compress(model, layers=[0, 1]):
        model(input_ids=torch.full((2, 40), 1000))  # beyond the vocabulary
    assert state_of(model) == before


def test_an_error_inside_a_layer_leaves_the_next_step_whole():
    model, batch = a_model(), a_batch()
    _, exact = backward(model, batch)
    broken = find_layers(model)[1].output.dense
    with compress(model, layers=[0, 1]) as handle:
        broken.forward = lambda x: x / "2"
        with pytest.raises(TypeError):
            backward(model, batch)
        del broken.forward
        backward(model, batch)
        assert handle.recorder is None
    assert torch.equal(backward(model, batch)[1], exact)


def test_a_graph_recorded_inside_may_run_backward_outside():
    model, batch = a_model(), a_batch()
    with compress(model, layers=[0, 1]):
        inside = backward(model, batch)[1]
        torch.manual_seed(3)
        loss = model(**batch).loss
    model.zero_grad()
    loss.backward()
    grads = [p.grad.flatten() for name, p in model.named_parameters() if "lora_" in name]
    assert torch.equal(torch.cat(grads).double(), inside)


def test_layers_that_do_not_exist_and_unknown_coverage_are_refused():
    with pytest.raises(ValueError, match="0 to 1"):
        compress(a_model(), layers=[2])
    with pytest.raises(ValueError, match="0 to 1"):
        compress(a_model(), layers=[-1])
    with pytest.raises(ValueError, match="'everything' is unknown"):
        compress(a_model(), layers=[0], coverage="everything")


def test_a_layer_is_not_compressed_twice():
    model = a_model()
    with compress(model, layers=[0]):
        with pytest.raises(ValueError, match="layer 0 is compressed already"):
            compress(model, layers=[0, 1])
        with compress(model, layers=[1]):
            backward(model, a_batch())


def test_what_would_have_been_kept_is_what_plain_autograd_keeps():
    model, batch = a_model(num_hidden_layers=1), a_batch()
    with compress(model, layers=[0]) as handle:
        backward(model, batch)
    layer = find_layers(model)[0]
    forward = layer.forward

    def watched(*args, **kwargs):
        with counted() as ledger:
            out = forward(*args, **kwargs)
        sizes.append(ledger.bytes)
        return out

    sizes: list[int] = []
    layer.forward = watched
    backward(model, batch)
    assert sizes == [handle.saved_bytes()[0].uncompressed_bytes]


def test_the_report_is_of_the_last_forward_pass():
    model = a_model()
    with compress(model, layers=[0, 1]) as handle:
        backward(model, a_batch(rows=8))
        eight = handle.saved_bytes()
        backward(model, a_batch(rows=4))
        assert handle.saved_bytes()[1].kept_bytes < 0.6 * eight[1].kept_bytes


@pytest.mark.parametrize("way", ["in place", "wrapped"])
def test_a_compiled_layer_is_refused_with_the_reason(way):
    model = a_model()
    layers = find_layers(model)
    if way == "in place":
        layers[1].compile()
    else:
        layers[1] = torch.compile(layers[1])
    with pytest.raises(ValueError, match="partitioner"):
        compress(model, layers=[1])


def test_a_compiled_model_around_the_layers_is_refused():
    with pytest.raises(ValueError, match="partitioner"):
        compress(torch.compile(a_model()), layers=[0])


def test_the_plain_trainer_trains_the_same_losses_up_to_the_codes(tmp_path):
    from transformers import Trainer, TrainingArguments

    def losses(layers):
        model = a_model(dropout=0.0)
        batch = a_batch(rows=16)
        rows = [{name: tensor[row] for name, tensor in batch.items()} for row in range(16)]
        settings = {"max_steps": 3, "per_device_train_batch_size": 4, "logging_steps": 1, "learning_rate": 1e-2}
        quiet = {"report_to": [], "save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "seed": 0}
        trainer = Trainer(model, TrainingArguments(str(tmp_path), **settings, **quiet), train_dataset=rows)
        with compress(model, layers) as handle:
            trainer.train()
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], handle.saved_bytes()

    plain, _ = losses([])
    compressed, saved = losses([0, 1])
    assert compressed[0] == plain[0]
    assert compressed == pytest.approx(plain, rel=1e-2)
    assert set(saved) == {0, 1}
