"""The network before it has read anything, and how it is made deeper without forgetting what it has read."""

import copy
from typing import Any

import torch
from torch import nn
from transformers import RobertaConfig, RobertaForMaskedLM

from fedquad.learn.mini.recipe import Recipe
from fedquad.learn.mini.vocabulary import SPECIAL
from fedquad.learn.seeding import seeded

_BOS, _PAD, _EOS, _, _ = range(len(SPECIAL))


def build_model(recipe: Recipe, vocabulary: int) -> RobertaForMaskedLM:
    """Return the untrained network."""
    config = RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.stages[0].layers,
        num_attention_heads=recipe.heads,
        intermediate_size=4 * recipe.hidden,
        max_position_embeddings=66,
        type_vocab_size=1,
        initializer_range=recipe.spread,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=_BOS,
        pad_token_id=_PAD,
        eos_token_id=_EOS,
    )
    with seeded(recipe.seed, "pretrain", "weights"):
        model = RobertaForMaskedLM(config)
        _prepare(model, recipe)
    return model


@torch.no_grad()
def _prepare(model: RobertaForMaskedLM, recipe: Recipe) -> None:
    """Start where comparing is easy: positions that know their neighbours, attention that looks for the same word.

    Equal query and key maps are the mimetic initialisation of Trockman and Kolter (2023). From plain noise the first
    thousands of steps pass before any head has found that words come again (LOG.md).
    """
    embeddings = model.roberta.embeddings
    positions, width = embeddings.position_embeddings.weight.shape
    angles = torch.arange(positions)[:, None] / 100.0 ** (torch.arange(0, width, 2) / width)
    embeddings.position_embeddings.weight.copy_(torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1))
    embeddings.position_embeddings.weight.mul_(recipe.spread * 2**0.5)
    size = recipe.hidden // recipe.heads
    for layer in model.roberta.encoder.layer:
        attention = layer.attention.self
        for rows in attention.query.weight.split(size):
            nn.init.orthogonal_(rows, gain=recipe.likeness)
        attention.key.weight.copy_(attention.query.weight)


@torch.no_grad()
def deepen(model: RobertaForMaskedLM, layers: int, above: int = 0) -> None:
    """Add layers that at first give back what they get: `above` on top, the others below the trained ones, as evenly as may be."""
    trained: list[Any] = list(model.roberta.encoder.layer)
    below: nn.LayerNorm = model.roberta.embeddings.LayerNorm
    deeper: list[Any] = []
    for index, layer in enumerate(trained):
        each, left = divmod(layers - above, len(trained))
        deeper += [_silent(layer, below) for _ in range(each - 1 + (index < left))] + [layer]
        below = layer.output.LayerNorm
    deeper += [_silent(trained[-1], below) for _ in range(above)]
    model.roberta.encoder.layer = nn.ModuleList(deeper)
    model.config.num_hidden_layers = layers


def _silent(layer: Any, below: nn.LayerNorm) -> Any:
    """Return a copy that adds nothing, and whose norms undo each other's scaling of what comes from `below`."""
    new = copy.deepcopy(layer)
    scale = (below.weight.square().mean() + below.bias.var(correction=0)).sqrt()
    for part in (new.attention.output, new.output):
        part.dense.weight.zero_()
        part.dense.bias.zero_()
        part.LayerNorm.weight.fill_(scale)
        part.LayerNorm.bias.fill_(below.bias.mean())
    return new
