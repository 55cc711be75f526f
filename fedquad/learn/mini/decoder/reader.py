"""The corpus as batches of next words, and how much each counts: what follows counts, what is anybody's guess hardly."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from fedquad import rng
from fedquad.learn.mini.decoder import corpus
from fedquad.learn.mini.decoder.recipe import Recipe
from fedquad.learn.mini.decoder.vocabulary import SPECIAL
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.vocabulary import words

_, _PAD, _, _, _ = range(len(SPECIAL))


class Batch(NamedTuple):
    """Tokens, and for each but the first: its weight, and whether it had a mark."""

    tokens: Tensor
    weights: Tensor
    marked: Tensor


class Reader:
    """Turns the endless corpus into batches."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, stage: int) -> None:
        self._recipe, self._asked = recipe, recipe.stages[stage].asked
        self._index = tokenizer.get_vocab()
        self._dice = Dice(rng.stream(recipe.seed, "pretrain decoder", stage, "corpus"))
        self._generator = rng.stream(recipe.seed, "pretrain decoder", stage, "order")

    def batches(self) -> Iterator[Batch]:
        """Yield batches for ever."""
        size = self._recipe.documents
        while True:
            # Documents of one length side by side: padding would be a third of the work.
            pool = sorted((self._tokens() for _ in range(16 * size)), key=lambda row: len(row[0]))
            for start in self._generator.permutation(16) * size:
                yield self._weighed(pool[start : start + size])

    def _tokens(self) -> tuple[list[int], list[int]]:
        """Return a document's tokens, and the places of the marked ones."""
        first, second = (words(text) for text in corpus.document(self._dice, self._asked))
        apart = ["<turn>"] if self._dice.chance(self._recipe.turned) else []
        tokens: list[int] = []
        marked: list[int] = []
        for word in ["<s>", *first, *apart, *second, "</s>"]:
            if word == corpus.MARK:
                marked.append(len(tokens))
            else:
                tokens.append(self._index[word])
        return tokens, marked

    def _weighed(self, rows: list[tuple[list[int], list[int]]]) -> Batch:
        width = max(len(tokens) for tokens, _ in rows)
        tokens = torch.tensor([row + [_PAD] * (width - len(row)) for row, _ in rows])
        marked = torch.zeros(tokens.shape, dtype=torch.bool)
        for index, (_, places) in enumerate(rows):
            marked[index, places] = True
        weights = torch.where(marked, 1.0, self._recipe.guesses).masked_fill(tokens == _PAD, 0.0)
        return Batch(tokens, weights[:, 1:], marked[:, 1:])
