"""The corpus as batches for masked language modelling: what is hidden, and what is left to guess it from."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from fedquad import rng
from fedquad.learn.mini.language import corpus
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.recipe import Recipe
from fedquad.learn.mini.vocabulary import SPECIAL, words

_, _PAD, _, _, _MASK = range(len(SPECIAL))


class Batch(NamedTuple):
    """Tokens with some hidden, where they are not padding, what was hidden (-100 elsewhere), and which had a mark."""

    tokens: Tensor
    attention: Tensor
    targets: Tensor
    marked: Tensor


class Reader:
    """Turns the endless corpus into batches of hidden and visible words."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, stage: int) -> None:
        self._recipe = recipe
        self._index = tokenizer.get_vocab()
        self._dice = Dice(rng.stream(recipe.seed, "pretrain", stage, "corpus"))
        self._generator = rng.stream(recipe.seed, "pretrain", stage, "masks")

    def batches(self) -> Iterator[Batch]:
        """Yield batches for ever."""
        size = self._recipe.documents
        while True:
            # Documents of one length side by side: padding would be a third of the work.
            pool = sorted((self._tokens() for _ in range(16 * size)), key=lambda row: len(row[0]))
            for start in self._generator.permutation(16) * size:
                yield self._hide(pool[start : start + size])

    def _tokens(self) -> tuple[list[int], list[int]]:
        """Return a document's tokens, and the places of the marked ones."""
        first, second = (words(text) for text in corpus.document(self._dice))
        apart = ["</s>", "</s>"] if self._dice.chance(self._recipe.two_segments) else []
        tokens: list[int] = []
        marked: list[int] = []
        for word in ["<s>", *first, *apart, *second, "</s>"]:
            if word == corpus.MARK:
                marked.append(len(tokens))
            else:
                tokens.append(self._index[word])
        return tokens, marked

    def _hide(self, rows: list[tuple[list[int], list[int]]]) -> Batch:
        width = max(len(tokens) for tokens, _ in rows)
        tokens = torch.tensor([row + [_PAD] * (width - len(row)) for row, _ in rows])
        marked = torch.zeros(tokens.shape, dtype=torch.bool)
        for index, (_, places) in enumerate(rows):
            marked[index, places] = True
        # Either the marked word has to be guessed, from whole sentences, or other words from the rest and that one.
        guessing = torch.from_numpy(self._generator.random((len(rows), 1))) < self._recipe.marked_rows
        chance = torch.where(guessing, self._recipe.mask_beside_mark, self._recipe.mask_words).expand(tokens.shape)
        chance = torch.where(marked, guessing.to(chance.dtype), chance).masked_fill(tokens < len(SPECIAL), 0.0)
        draw = torch.from_numpy(self._generator.random(tokens.shape))
        hidden = draw < chance
        # One in ten hidden words stays visible, so that visible words are read with the same care (BERT's habit).
        shown = hidden & ~marked & (draw > 0.9 * chance)
        targets = tokens.masked_fill(~hidden, -100)
        return Batch(tokens.masked_fill(hidden & ~shown, _MASK), tokens != _PAD, targets, marked)
