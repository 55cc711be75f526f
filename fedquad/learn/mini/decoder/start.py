"""The decoder before it has read anything, and how it is made deeper without forgetting what it has read."""

import copy
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from fedquad.learn.mini.decoder.recipe import Recipe
from fedquad.learn.mini.decoder.vocabulary import SPECIAL
from fedquad.learn.seeding import seeded

_BOS, _PAD, _EOS, _, _ = range(len(SPECIAL))


def build_model(recipe: Recipe, vocabulary: int, layers: int = 0) -> LlamaForCausalLM:
    """Return the untrained network, as deep as the recipe's first stage unless told otherwise."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=layers or recipe.stages[0].layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
        initializer_range=recipe.spread,
        tie_word_embeddings=True,
        bos_token_id=_BOS,
        pad_token_id=_PAD,
        eos_token_id=_EOS,
    )
    with seeded(recipe.seed, "pretrain decoder", "weights"):
        model = LlamaForCausalLM(config)
        _prepare(model, recipe)
    return model


@torch.no_grad()
def _prepare(model: LlamaForCausalLM, recipe: Recipe) -> None:
    """Start where comparing is easy, as the encoder does (mini/start.py): attention that looks for the same word."""
    size = recipe.hidden // recipe.heads
    shared = recipe.heads // recipe.key_value_heads
    for layer in model.model.layers:
        attention: Any = layer.self_attn
        for rows in attention.k_proj.weight.split(size):
            nn.init.orthogonal_(rows, gain=recipe.likeness)
        same = attention.k_proj.weight.unflatten(0, (-1, size)).repeat_interleave(shared, dim=0).flatten(0, 1)
        attention.q_proj.weight.mul_(0.5).add_(same)  # the heads of a group are told apart by what is left of the noise


@torch.no_grad()
def deepen(model: LlamaForCausalLM, layers: int) -> None:
    """Add layers that at first add nothing, below the trained ones and as evenly as may be."""
    trained: list[Any] = list(model.model.layers)
    deeper: list[Any] = []
    for index, layer in enumerate(trained):
        each, left = divmod(layers, len(trained))
        deeper += [_silent(layer) for _ in range(each - 1 + (index < left))] + [layer]
    for index, layer in enumerate(deeper):
        layer.self_attn.layer_idx = index
    model.model.layers = nn.ModuleList(deeper)
    model.config.num_hidden_layers = layers


def _silent(layer: Any) -> Any:
    """Return a copy that adds nothing to what passes it by."""
    new = copy.deepcopy(layer)
    new.self_attn.o_proj.weight.zero_()
    new.mlp.down_proj.weight.zero_()
    return new
