"""What both embedded backbones are pre-trained by: a stage of AdamW over endless batches, and the files that are left of it."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

Batch = TypeVar("Batch")
_EVERY = 100  # steps a line of the log


class Stage(Protocol):
    """Steps of AdamW at one depth: the rate rises over `warmup` steps, then falls linearly to nothing."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...


class Guessed(NamedTuple):
    """One batch: what is minimised, the loss that the log tells, and how many of how many marked words were guessed."""

    minimised: Tensor
    loss: Tensor
    right: Tensor
    marked: Tensor


def train_stage(
    model: PreTrainedModel,
    stage: Stage,
    weight_decay: float,
    batches: Iterable[Batch],
    guess: Callable[[Batch], Guessed],
) -> Iterator[dict[str, float]]:
    """Train in place; yield the mean loss and the share of marked words guessed right."""
    optimizer = _optimizer(model, stage.learning_rate, weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / stage.warmup, 1 - step / stage.steps)
    )
    model.train()
    loss = right = total = 0.0
    for step, batch in zip(range(1, stage.steps + 1), batches):
        guessed = guess(batch)
        optimizer.zero_grad()
        guessed.minimised.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loss, right, total = loss + guessed.loss.item(), right + int(guessed.right), total + int(guessed.marked)
        if step % _EVERY == 0 or step == stage.steps:
            yield {"step": step, "loss": loss / (step % _EVERY or _EVERY), "marked": right / max(total, 1)}
            loss = right = total = 0.0


def _optimizer(model: PreTrainedModel, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    decayed = [p for p in model.parameters() if p.dim() > 1]
    kept = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def write(
    folder: Path,
    recipe: Any,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    lines: Iterable[dict[str, float]],
) -> None:
    """Let the training run, its log written as it comes; then what `from_pretrained` reads, in float16, and the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with (folder / "training.jsonl").open("w") as log:
        for line in lines:
            line["minutes"] = round((time.perf_counter() - start) / 60, 2)
            print(json.dumps(line), file=log, flush=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "recipe.json").write_text(json.dumps({"sha256": digest, **asdict(recipe)}, indent=2) + "\n")
