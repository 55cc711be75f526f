"""How an objective is carried out on a device: a `Practice`, found by module name in `fedquad/learn/objectives/`.

practice = practice_of("classification")
practice.loss(model, batch)             # the mean a device trains on
practice.count(model, batch, labels=3)  # what evaluation adds up: fedquad/objectives/classification.py makes scores of it
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fedquad import discover
from fedquad.learn.batches import Batch
from fedquad.learn.encoding import Arrays, Reader
from fedquad.learn.tables import Table, TextTask

# Of models of BERT's kind, whose classifier reads one token.
READS_FIRST, CHUNK = "AutoModelForSequenceClassification", "feed_forward_chunk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """The half of an objective that needs torch and transformers."""

    auto: str  # the class of transformers that loads its models
    settings: Callable[[int], Mapping[str, Any]]  # of the model's configuration, from the number of labels
    has_head: bool = True  # whether what lies above the layers is trained; else it is frozen with them
    encode: Callable[[Table, TextTask, Reader], Arrays]  # rows as arrays, `labels` among them
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    count: Callable[[nn.Module, Batch, int], Mapping[str, npt.NDArray[Any]]]  # the last: how many labels there are


def practice_of(objective: str) -> Practice:
    """The practice of an objective that there is."""
    name = discover.objective(objective).name
    found: Practice = importlib.import_module(f"fedquad.learn.objectives.{name}").PRACTICE
    return found


def outputs(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The model's logits in float32, whatever it computes in."""
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    logits: torch.Tensor = model(**inputs).logits.float()
    return logits


def sums(each: torch.Tensor) -> dict[str, npt.NDArray[Any]]:
    """Losses added up in float64, and how many they are."""
    return {"loss": np.float64(each.double().sum().item()), "count": np.int64(each.numel())}  # type: ignore[dict-item]


def of_first(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's feed-forward half for each example's first token alone."""
    return lambda x_BTH: forward(x_BTH[:, :1])
