"""An adapter as a folder that PEFT loads, written and read without torch: the server does both.

    PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base, num_labels=3), folder)

Ranks that differ go to rank_pattern, with alpha_pattern keeping the scale at the campaign's alpha/r, the unit that adapters are
merged in (rounds/adapters.py); a layer the adapter lacks gets no LoRA; the head is saved whole (modules_to_save). Values are
float32 and come back bit for bit, which use_rslora, whose B is in each rank's own unit, would not give.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fedquad import discover
from fedquad.errors import StoreError
from fedquad.rounds.adapters import paired
from fedquad.spec import ModelSpec
from fedquad.types import Adapter, Array32, ModelLayout

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
FACTOR = re.compile(r"(?P<path>.+?)\.(?P<layer>\d+)\.(?P<target>.+)\.lora_(?P<factor>[AB])\.weight")


def write(folder: Path, adapter: Adapter, layout: ModelLayout, spec: ModelSpec, base_model: str) -> None:
    """Write the adapter; a folder of that name is replaced only once the new one is complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        _write(partial, folder, adapter, layout, spec, base_model)
    except (OSError, SafetensorError) as error:  # the latter is what a full disk is to safetensors
        raise StoreError(f"the adapter cannot be written to {folder}: {error}") from error


def _write(
    partial: Path, folder: Path, adapter: Adapter, layout: ModelLayout, spec: ModelSpec, base_model: str
) -> None:
    try:
        (partial / CONFIG).write_text(json.dumps(_config(adapter, layout, spec, base_model), indent=2, sort_keys=True))
        save_file(_tensors(adapter, layout), partial / WEIGHTS, metadata={"format": "pt"})
        partial.chmod(0o755)
        _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, folder: Path) -> None:
    """Rename over a folder, which a rename alone can only do when it is empty."""
    old = new.with_name(f"{new.name}.old")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _config(adapter: Adapter, layout: ModelLayout, spec: ModelSpec, base_model: str) -> dict[str, Any]:
    ranks = {
        f"{layout.layer_path}.{layer}.{target}": pair.rank
        for layer, pairs in adapter.layers.items()
        for target, pair in pairs.items()
    }
    # PEFT takes a pattern as a regular expression; an unescaped dot would also match, a digit more would not
    other = {name: rank for name, rank in ranks.items() if rank != spec.rank}
    return {
        "peft_type": "LORA",
        "task_type": discover.objective(layout.objective).task_type,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "lora_dropout": spec.dropout,
        "bias": "none",
        "target_modules": sorted(ranks),
        "rank_pattern": {re.escape(name): rank for name, rank in other.items()},
        "alpha_pattern": {re.escape(name): spec.alpha / spec.rank * rank for name, rank in other.items()},
        "modules_to_save": list(layout.head_modules),
    }


def _tensors(adapter: Adapter, layout: ModelLayout) -> dict[str, npt.NDArray[Any]]:
    tensors = {f"{PREFIX}{name}": np.ascontiguousarray(value) for name, value in adapter.head.items()}
    for layer, pairs in adapter.layers.items():
        for target, pair in pairs.items():
            module = f"{PREFIX}{layout.layer_path}.{layer}.{target}"
            tensors[f"{module}.lora_A.weight"] = np.ascontiguousarray(pair.a)
            tensors[f"{module}.lora_B.weight"] = np.ascontiguousarray(pair.b)
    return tensors


def read(folder: Path) -> Adapter:
    """Read an adapter back from what `write` wrote."""
    try:
        tensors: Mapping[str, Array32] = load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors' own error has no public name for a file that is cut off
        raise StoreError(f"{folder / WEIGHTS} is not an adapter: {error}") from error
    head: dict[str, Array32] = {}
    factors: dict[int, dict[str, dict[str, Array32]]] = {}
    for name, value in sorted(tensors.items()):
        value.flags.writeable = False
        path = name.removeprefix(PREFIX)
        if found := FACTOR.fullmatch(path):
            factors.setdefault(int(found["layer"]), {}).setdefault(found["target"], {})[found["factor"].lower()] = value
        else:
            head[path] = value
    try:
        return Adapter(layers=paired(factors), head=head)
    except ValueError as error:
        raise StoreError(f"{folder / WEIGHTS}: {error}") from None
