"""What every rival does to a client: AdamW steps on its rows with LoRA on query and value. Knows nothing of FedQuad.

A task is a JSON file: the backbone's folder, an .npz of tokenised rows, clients, depths in turn, batch, steps, rounds, precision.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Task:
    model: str
    rows: str
    clients: int
    depths: tuple[int, ...]
    batch: int
    steps: int
    rounds: int

    @classmethod
    def read(cls, path: str) -> "Task":
        found = json.loads(Path(path).read_text())
        return cls(**{**found, "depths": tuple(found["depths"])})


class Trainer:
    """One peft model, which every client of this process trains in turn."""

    def __init__(self, task: Task) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForSequenceClassification

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.task = task
        base = AutoModelForSequenceClassification.from_pretrained(
            task.model, num_labels=3, attn_implementation="sdpa", dtype=torch.float32
        )
        lora = LoraConfig(r=8, lora_alpha=8, lora_dropout=0.1, target_modules=["query", "value"], task_type="SEQ_CLS")
        self.model: Any = get_peft_model(base, lora)
        self.layers = base.config.num_hidden_layers
        self.learning = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        rows = np.load(task.rows)
        self.ids, self.mask, self.labels = (torch.from_numpy(rows[name]) for name in ("ids", "mask", "labels"))

    def state(self) -> State:
        return {name: p.detach().clone() for name, p in self.learning.items()}

    def train(self, state: State, client: int) -> float:
        """Take the client's steps from `state`; the last one's loss. What came of it is `state()`."""
        self.load(state)
        self.model.train()
        trained = self.freeze_below(client)
        optimizer = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0.0)
        first = client * self.task.steps * self.task.batch
        for rows in (first + torch.randperm(self.task.steps * self.task.batch)).split(self.task.batch):
            optimizer.zero_grad()
            loss = self.loss(self.ids[rows], self.mask[rows], self.labels[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def load(self, state: State) -> None:
        for name, p in self.learning.items():
            p.copy_(state[name])

    def loss(self, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(self.model(input_ids=ids, attention_mask=mask).logits, labels)

    def freeze_below(self, client: int) -> list[torch.nn.Parameter]:
        lowest = self.layers - self.task.depths[client % len(self.task.depths)]
        for name, p in self.learning.items():
            number = name.partition("layer.")[2].partition(".")[0]
            p.requires_grad_(not number or int(number) >= lowest)
        return [p for p in self.learning.values() if p.requires_grad]


def mean(states: Sequence[State]) -> State:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def say(what: str, **more: Any) -> None:
    """A line that the runner reads, with the time."""
    os.write(1, (json.dumps({"peer": what, "time": time.time(), **more}) + "\n").encode())
