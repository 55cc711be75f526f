"""Pre-train the `mini` backbone from raw text: hidden words of the small language, and nothing else.

    python -m fedquad.learn.mini.pretrain [FOLDER]

The text is `fedquad.learn.mini.language.corpus`; no task, pair or label of the `mini-...` data sets is read. Words that
follow from the rest of a document ("certain", "maybe", the answer to a question) are hidden far more often than others:
guessing them is what teaches a network this small to compare two sentences.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, RobertaForMaskedLM

from fedquad import rng
from fedquad.learn.mini.language import corpus
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.reader import Batch, Reader
from fedquad.learn.mini.recipe import Recipe
from fedquad.learn.mini.stages import Guessed, train_stage, write
from fedquad.learn.mini.start import build_model, deepen
from fedquad.learn.mini.vocabulary import SPECIAL, build_tokenizer


def vocabulary_texts(recipe: Recipe) -> list[str]:
    """Return enough text to meet every word of the language."""
    dice = Dice(rng.stream(recipe.seed, "pretrain", "vocabulary"))
    return [text.replace(corpus.MARK, "") for _ in range(20_000) for text in corpus.document(dice)]


def train(recipe: Recipe, model: RobertaForMaskedLM, tokenizer: PreTrainedTokenizerFast) -> Iterator[dict[str, float]]:
    """Train in place, stage by stage; yield a line of the log every hundred steps."""
    for index, stage in enumerate(recipe.stages):
        if stage.layers != model.config.num_hidden_layers:
            deepen(model, stage.layers, stage.above)
        batches = Reader(recipe, tokenizer, index).batches()
        for line in train_stage(model, stage, recipe.weight_decay, batches, partial(_guess, model, stage.keep)):
            yield {"stage": index, "layers": stage.layers, **line}


def _guess(model: RobertaForMaskedLM, keep: float, batch: Batch) -> Guessed:
    """The hidden words from the visible ones and, as far as they are to be kept, those too."""
    states = model.roberta(batch.tokens, attention_mask=batch.attention).last_hidden_state
    # Scores for the hidden words alone: those of all words would cost a third of a layer.
    hidden = batch.targets != -100
    targets, marked = batch.targets[hidden], batch.marked[hidden]
    scores = model.lm_head(states[hidden])
    loss = total = nn.functional.cross_entropy(scores, targets)
    if keep:
        visible = ~hidden & (batch.tokens >= len(SPECIAL))
        total = loss + keep * nn.functional.cross_entropy(model.lm_head(states[visible]), batch.tokens[visible])
    return Guessed(total, loss, (scores.argmax(-1) == targets)[marked].sum(), marked.sum())


def main(folder: Path, recipe: Recipe) -> None:
    """Train by the recipe and write the backbone, its recipe and its log."""
    torch.set_num_threads(recipe.threads)
    tokenizer = build_tokenizer(vocabulary_texts(recipe))
    model = build_model(recipe, len(tokenizer))
    write(folder, recipe, model, tokenizer, train(recipe, model, tokenizer))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "mini", Recipe())
