"""Pre-train the `mini-decoder` backbone from raw text: the next word of the small language, and nothing else.

    python -m fedquad.learn.mini.decoder.pretrain [FOLDER]

The text is `fedquad.learn.mini.decoder.corpus`; no question of it is answered in a sentence, as those of `mini-chat` are, and
no turn follows one about a story. Words that follow from those before them count ten times as much as others.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from fedquad import rng
from fedquad.learn.mini.decoder import corpus
from fedquad.learn.mini.decoder.reader import Batch, Reader
from fedquad.learn.mini.decoder.recipe import Recipe, Stage
from fedquad.learn.mini.decoder.start import build_model, deepen
from fedquad.learn.mini.decoder.vocabulary import build_tokenizer
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.pretrain import save
from fedquad.learn.source import BACKBONES

_EVERY = 100  # steps a line of the log


def vocabulary_texts(recipe: Recipe) -> list[str]:
    """Return enough text to meet every word of the language."""
    dice = Dice(rng.stream(recipe.seed, "pretrain decoder", "vocabulary"))
    return [text.replace(corpus.MARK, "") for _ in range(20_000) for text in corpus.document(dice)]


def train(recipe: Recipe, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Iterator[dict[str, float]]:
    """Train in place, stage by stage; yield a line of the log every hundred steps."""
    for index, stage in enumerate(recipe.stages):
        if stage.layers != model.config.num_hidden_layers:
            deepen(model, stage.layers)
        for line in _train_stage(recipe, stage, model, Reader(recipe, tokenizer, index).batches()):
            yield {"stage": index, "layers": stage.layers, **line}


def _train_stage(
    recipe: Recipe, stage: Stage, model: LlamaForCausalLM, batches: Iterator[Batch]
) -> Iterator[dict[str, float]]:
    """Yield the mean loss and the share of marked words guessed right."""
    optimizer = _optimizer(recipe, stage, model)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / stage.warmup, 1 - step / stage.steps)
    )
    model.train()
    loss = right = total = 0.0
    for step, batch in zip(range(1, stage.steps + 1), batches):
        step_loss, step_right, step_total = _step(model, optimizer, batch)
        schedule.step()
        loss, right, total = loss + step_loss, right + step_right, total + step_total
        if step % _EVERY == 0 or step == stage.steps:
            yield {"step": step, "loss": loss / (step % _EVERY or _EVERY), "marked": right / max(total, 1)}
            loss = right = total = 0.0


def _optimizer(recipe: Recipe, stage: Stage, model: LlamaForCausalLM) -> torch.optim.Optimizer:
    decayed = [p for p in model.parameters() if p.dim() > 1]
    kept = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.98), fused=True)


def _step(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, batch: Batch) -> tuple[float, int, int]:
    """Return the weighted loss, and how many of how many marked words were guessed."""
    # Padding lies on the right, where nobody looks.
    states = model.model(batch.tokens[:, :-1], use_cache=False).last_hidden_state
    scores, targets = model.lm_head(states).flatten(0, 1), batch.tokens[:, 1:].flatten()
    each = nn.functional.cross_entropy(scores, targets, reduction="none")
    weights, marked = batch.weights.flatten(), batch.marked.flatten()
    loss = (each * weights).sum() / weights.sum()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item(), int((scores.argmax(-1) == targets)[marked].sum()), int(marked.sum())


def main(folder: Path, recipe: Recipe) -> None:
    """Train by the recipe and write the backbone, its recipe and its log."""
    torch.set_num_threads(recipe.threads)
    tokenizer = build_tokenizer(vocabulary_texts(recipe))
    model = build_model(recipe, len(tokenizer))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with (folder / "training.jsonl").open("w") as log:
        for line in train(recipe, model, tokenizer):
            line["minutes"] = round((time.perf_counter() - start) / 60, 2)
            print(json.dumps(line), file=log, flush=True)
    digest = save(model, tokenizer, folder)
    (folder / "recipe.json").write_text(json.dumps({"sha256": digest, **asdict(recipe)}, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else BACKBONES / "mini-decoder", Recipe())
