"""Pre-train the `mini` backbone from raw text: masked words of the small language, and nothing else.

    python -m fedquad.learn.backbones.pretrain [FOLDER]

The text is `fedquad.learn.language.corpus`; no task, pair or label of the `mini-...` data sets is read. Words that say
how one sentence follows from another ("certain", "perhaps") are hidden far more often than the others: guessing them
is what teaches a model this small to compare two sentences (LOG.md has the figures without).
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

from fedquad import rng
from fedquad.learn.backbones.vocabulary import SPECIAL, build_tokenizer, words
from fedquad.learn.language import corpus
from fedquad.learn.language.dice import Dice

_BOS, _PAD, _EOS, _UNK, _MASK = range(len(SPECIAL))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides the backbone's weights."""

    seed: int = 0
    layers: int = 12
    hidden: int = 64
    heads: int = 4
    steps: int = 3000
    documents: int = 192
    learning_rate: float = 1e-3
    warmup: int = 300
    weight_decay: float = 0.01
    mask_words: float = 0.15
    mask_cues: float = 0.85
    two_segments: float = 0.5
    threads: int = 2


def vocabulary_texts(recipe: Recipe) -> list[str]:
    """Return enough text to meet every word of the language."""
    dice = Dice(rng.stream(recipe.seed, "pretrain", "vocabulary"))
    return [text for _ in range(20_000) for text in corpus.document(dice)]


def build_model(recipe: Recipe, vocabulary: int) -> RobertaForMaskedLM:
    """Return the untrained network."""
    # The one place that seeds torch here: the initial weights.
    torch.manual_seed(int(rng.stream(recipe.seed, "pretrain", "weights").integers(2**31)))
    config = RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=4 * recipe.hidden,
        max_position_embeddings=66,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=_BOS,
        pad_token_id=_PAD,
        eos_token_id=_EOS,
    )
    return RobertaForMaskedLM(config)


class Reader:
    """Turns the endless corpus into batches of hidden and visible words."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        self._recipe = recipe
        self._index = tokenizer.get_vocab()
        self._dice = Dice(rng.stream(recipe.seed, "pretrain", "corpus"))
        self._generator = rng.stream(recipe.seed, "pretrain", "masks")
        self._cues = torch.zeros(len(self._index), dtype=torch.bool)
        self._cues[[self._index[word] for word in corpus.CUES]] = True

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (tokens with some hidden, attention, the tokens that were hidden or -100)."""
        size = self._recipe.documents
        while True:
            # Documents of one length side by side: padding would be a third of the work.
            pool = sorted((self._tokens() for _ in range(16 * size)), key=len)
            for start in self._generator.permutation(16) * size:
                yield self._hide(pool[start : start + size])

    def _tokens(self) -> list[int]:
        first, second = ([self._index[word] for word in words(text)] for text in corpus.document(self._dice))
        if self._dice.chance(self._recipe.two_segments):
            return [_BOS, *first, _EOS, _EOS, *second, _EOS]
        return [_BOS, *first, *second, _EOS]

    def _hide(self, rows: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
        width = max(map(len, rows))
        tokens = torch.tensor([row + [_PAD] * (width - len(row)) for row in rows])
        chance = torch.where(self._cues[tokens], self._recipe.mask_cues, self._recipe.mask_words)
        chance[tokens < len(SPECIAL)] = 0.0
        draw = torch.from_numpy(self._generator.random(tokens.shape))
        hidden = draw < chance
        targets = tokens.masked_fill(~hidden, -100)
        # One in ten hidden words stays visible, so that visible words are read with the same care (BERT's habit).
        shown = hidden & (draw > 0.9 * chance)
        return tokens.masked_fill(hidden & ~shown, _MASK), tokens != _PAD, targets


def train(recipe: Recipe, model: RobertaForMaskedLM, reader: Reader) -> Iterator[dict[str, float]]:
    """Train in place; yield the mean loss and the share of cue words guessed right, every hundred steps."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    kept = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / recipe.warmup, max(0.0, 1 - step / recipe.steps))
    )
    model.train()
    losses: list[float] = []
    right = total = 0
    for step, (tokens, attention, targets) in zip(range(1, recipe.steps + 1), reader.batches()):
        where = targets != -100
        hidden = model.roberta(tokens, attention_mask=attention).last_hidden_state[where]
        scores = model.lm_head(hidden)
        loss = nn.functional.cross_entropy(scores, targets[where])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        is_cue = reader._cues[targets[where]]
        right += int((scores.argmax(-1) == targets[where])[is_cue].sum())
        total += int(is_cue.sum())
        if step % 100 == 0 or step == recipe.steps:
            yield {"step": step, "loss": sum(losses) / len(losses), "cues": right / max(total, 1)}
            losses, right, total = [], 0, 0


def save(model: RobertaForMaskedLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write what `from_pretrained` reads, with the weights in float16."""
    model.half().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def main(folder: Path, recipe: Recipe) -> None:
    """Train by the recipe and write the backbone, its recipe and its log."""
    torch.set_num_threads(recipe.threads)
    tokenizer = build_tokenizer(vocabulary_texts(recipe))
    model = build_model(recipe, len(tokenizer))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    start = time.perf_counter()
    with (folder / "training.jsonl").open("w") as log:
        for line in train(recipe, model, Reader(recipe, tokenizer)):
            line["minutes"] = round((time.perf_counter() - start) / 60, 2)
            print(json.dumps(line), file=log, flush=True)
    save(model, tokenizer, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "mini", Recipe())
