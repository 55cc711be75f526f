"""Gradients under compression against an uncompressed twin; the loss must not move by a bit."""

import pytest
import torch
from tiny_transformers import a_batch, a_model, backward, relative_error

from fedquad.learn.activations.compress import Compression, compress

# A rounding is uniform within half a step of amax / 127, and a Gaussian block of 1024 has amax = 3.2 sigma: 0.7 % of a
# tensor's norm. A LoRA gradient meets two or three such tensors, and these widths average little (0.4 to 1 % seen;
# published shapes are in benchmarks/). Causal eager attention keeps probabilities whose blocks hold a 1 (the first
# token sees only itself) beside 1/40: a step of 1/127 is a fifth of those (3 % seen).
TOLERANCE = 0.02
CAUSAL_TOLERANCE = 0.05
CASES = [
    (kind, attention, dropout)
    for kind in ("bert", "roberta", "deberta", "llama")
    for attention in (("eager",) if kind == "deberta" else ("eager", "sdpa"))
    for dropout in (0.0, 0.1)
]


def tolerance(kind: str) -> float:
    return CAUSAL_TOLERANCE if kind == "llama" else TOLERANCE


@pytest.mark.parametrize(("kind", "attention", "dropout"), CASES)
def test_the_loss_is_bit_identical_and_gradients_agree(kind, attention, dropout):
    model, batch = a_model(kind, attention, dropout), a_batch()
    loss, exact = backward(model, batch)
    with compress(model, layers=[0, 1]) as handle:
        compressed_loss, gradient = backward(model, batch)
    assert torch.equal(loss, compressed_loss)
    assert 0 < relative_error(gradient, exact) < tolerance(kind)
    assert torch.cosine_similarity(gradient, exact, dim=0) > 1 - tolerance(kind) ** 2
    # On a CPU dropout keeps its masks as floats, which pass through.
    assert all(saved.kept_bytes < 0.55 * saved.uncompressed_bytes for saved in handle.saved_bytes().values())
    assert torch.equal(backward(model, batch)[1], exact)


@pytest.mark.parametrize(("kind", "attention", "dropout"), CASES)
def test_the_papers_coverage_compresses_less_and_errs_alike(kind, attention, dropout):
    model, batch = a_model(kind, attention, dropout), a_batch()
    loss, exact = backward(model, batch)
    with compress(model, layers=[0, 1]) as full:
        backward(model, batch)
    with compress(model, layers=[0, 1], coverage="paper") as paper:
        compressed_loss, gradient = backward(model, batch)
    assert torch.equal(loss, compressed_loss)
    assert relative_error(gradient, exact) < tolerance(kind)
    for layer, saved in paper.saved_bytes().items():
        assert full.saved_bytes()[layer].kept_bytes < saved.kept_bytes < saved.uncompressed_bytes
        assert full.saved_bytes()[layer].uncompressed_bytes == saved.uncompressed_bytes


@pytest.mark.parametrize("kind", ["roberta", "deberta"])
def test_packing_at_the_layers_end_gives_the_same_bits_as_packing_at_once(kind):
    model, batch = a_model(kind, dropout=0.1), a_batch()
    with Compression(model, [0, 1], deferred=False):
        at_once = backward(model, batch)[1]
    with Compression(model, [0, 1], deferred=True):
        deferred = backward(model, batch)[1]
    assert torch.equal(at_once, deferred)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("seq", [37, 50])
def test_lengths_that_are_no_multiple_of_the_block_work(attention, seq):
    model, batch = a_model(attention=attention), a_batch(rows=3, seq=seq)
    loss, exact = backward(model, batch)
    with compress(model, layers=[0, 1]):
        compressed_loss, gradient = backward(model, batch)
    assert torch.equal(loss, compressed_loss)
    assert relative_error(gradient, exact) < TOLERANCE


def test_bfloat16_models_keep_their_dtype_and_their_loss():
    model, batch = a_model(attention="sdpa").to(torch.bfloat16), a_batch()
    loss, exact = backward(model, batch)
    with compress(model, layers=[0, 1]):
        compressed_loss, gradient = backward(model, batch)
    assert torch.equal(loss, compressed_loss)
    assert relative_error(gradient, exact) < TOLERANCE + 2 * 2**-8  # two bfloat16 roundings more


def test_only_the_chosen_layers_are_compressed():
    model, batch = a_model(), a_batch()
    with compress(model, layers=[1]) as handle:
        backward(model, batch)
    assert set(handle.saved_bytes()) == {1}


@pytest.mark.parametrize("lowest", [0, 1])
def test_the_first_trained_layer_keeps_its_input_compressed_although_it_needs_no_gradient(lowest):
    model, batch = a_model(), a_batch()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.requires_grad_(f"layer.{lowest}" in name)
    _, exact = backward(model, batch)
    with compress(model, layers=[0, 1]) as handle:
        _, gradient = backward(model, batch)
    assert relative_error(gradient, exact) < TOLERANCE
    assert handle.saved_bytes()[lowest].kept_bytes < 0.45 * handle.saved_bytes()[lowest].uncompressed_bytes


def test_training_with_and_without_compression_ends_within_the_seeds_spread():
    def train(seed: int, is_compressed: bool) -> float:
        model = a_model("bert", hidden_size=32, intermediate_size=128, num_attention_heads=2)
        draw = torch.Generator().manual_seed(seed)
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=3e-2)
        losses = []
        with compress(model, layers=[0, 1] if is_compressed else []):
            for _ in range(200):
                ids = torch.randint(3, 100, (16, 16), generator=draw)
                loss = model(input_ids=ids, labels=(ids[:, 0] > 50).long()).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return sum(losses[-50:]) / 50

    plain, compressed = ([train(seed, is_compressed) for seed in range(3)] for is_compressed in (False, True))
    assert max(plain) < 0.65  # below log 2: something was learned
    assert abs(sum(plain) - sum(compressed)) / 3 <= max(plain) - min(plain)
