"""Pre-train the `mini-decoder` backbone from raw text: the next word of the small language, and nothing else.

    python -m fedquad.learn.mini.decoder.pretrain [FOLDER]

The text is `fedquad.learn.mini.decoder.corpus`; no question of it is answered in a sentence, as those of `mini-chat` are, and
no turn follows one about a story. Words that follow from those before them count ten times as much as others.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from fedquad import rng
from fedquad.learn.mini.decoder import corpus
from fedquad.learn.mini.decoder.reader import Batch, Reader
from fedquad.learn.mini.decoder.recipe import Recipe
from fedquad.learn.mini.decoder.start import build_model, deepen
from fedquad.learn.mini.decoder.vocabulary import build_tokenizer
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.stages import Guessed, train_stage, write
from fedquad.learn.source import BACKBONES


def vocabulary_texts(recipe: Recipe) -> list[str]:
    """Return enough text to meet every word of the language."""
    dice = Dice(rng.stream(recipe.seed, "pretrain decoder", "vocabulary"))
    return [text.replace(corpus.MARK, "") for _ in range(20_000) for text in corpus.document(dice)]


def train(recipe: Recipe, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Iterator[dict[str, float]]:
    """Train in place, stage by stage; yield a line of the log every hundred steps."""
    for index, stage in enumerate(recipe.stages):
        if stage.layers != model.config.num_hidden_layers:
            deepen(model, stage.layers)
        batches = Reader(recipe, tokenizer, index).batches()
        for line in train_stage(model, stage, recipe.weight_decay, batches, partial(_guess, model)):
            yield {"stage": index, "layers": stage.layers, **line}


def _guess(model: LlamaForCausalLM, batch: Batch) -> Guessed:
    """Each word from those before it, weighed by whether it follows from them."""
    # Padding lies on the right, where nobody looks.
    states = model.model(batch.tokens[:, :-1], use_cache=False).last_hidden_state
    scores, targets = model.lm_head(states).flatten(0, 1), batch.tokens[:, 1:].flatten()
    each = nn.functional.cross_entropy(scores, targets, reduction="none")
    weights, marked = batch.weights.flatten(), batch.marked.flatten()
    loss = (each * weights).sum() / weights.sum()
    return Guessed(loss, loss, (scores.argmax(-1) == targets)[marked].sum(), marked.sum())


def main(folder: Path, recipe: Recipe) -> None:
    """Train by the recipe and write the backbone, its recipe and its log."""
    torch.set_num_threads(recipe.threads)
    tokenizer = build_tokenizer(vocabulary_texts(recipe))
    model = build_model(recipe, len(tokenizer))
    write(folder, recipe, model, tokenizer, train(recipe, model, tokenizer))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else BACKBONES / "mini-decoder", Recipe())
