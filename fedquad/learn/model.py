"""Load any Hugging Face transformer with its head and LoRA on every layer, once; `configure` then puts it into assignments.

dW = alpha / r0 * B A on each target module, r0 the campaign's rank, for adapters of every rank: truncating and padding
one does not change the function. A device trains at its rank r with the scale alpha / sqrt(r0 r) and B sqrt(r / r0) times
as great, which is the same function; AdamW's steps, which do not know how great a weight is, then move it equally far at
every rank. Base weights are frozen; what is trained is float32 in and out, whatever the model computes in.

    trainee = load(ModelSpec(name="mini"), labels=3, greatest_rank=8)
    trainee.layout.targets   # {"attention.self.query": (64, 64), "attention.self.value": (64, 64)}
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedquad.errors import DeviceError
from fedquad.learn import attention  # noqa: F401  # takes the place of transformers' sdpa
from fedquad.learn.layers import find_layers
from fedquad.learn.practice import Practice, practice_of
from fedquad.learn.seeding import apart
from fedquad.learn.source import locate
from fedquad.prices.memory import attention_of
from fedquad.prices.shapes import from_config
from fedquad.spec import ModelSpec
from fedquad.types import ModelLayout

ADAPTER = "default"  # the name under which peft keeps our one adapter
QUERY_AND_VALUE = (("query", "value"), ("query_proj", "value_proj"), ("q_proj", "v_proj"), ("q_lin", "v_lin"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trainee:
    """A loaded model with LoRA on every layer; `configure` decides which of them are there and which learn."""

    model: nn.Module
    layers: tuple[nn.Module, ...]  # all of them, also while fewer are present
    layout: ModelLayout
    spec: ModelSpec
    greatest_rank: int
    practice: Practice  # how it is trained and scored

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return compute_dtype(self.spec)

    @property
    def head(self) -> dict[str, nn.Parameter]:
        return {name: self.model.get_parameter(name) for name in self.layout.head}

    def unit(self, rank: int) -> float:
        """By how much B is greater while a device trains it at this rank: its scale is alpha / sqrt(rank) there."""
        return math.sqrt(rank / self.spec.rank)

    def lora(self, layer: int) -> dict[str, Any]:
        """The peft modules of one layer, by target."""
        return {target: self.layers[layer].get_submodule(target) for target in self.layout.targets}


def compute_dtype(spec: ModelSpec) -> torch.dtype:
    """bf16 means bf16 weights, not autocast, which saves a cast copy of every frozen weight with the activations."""
    return torch.bfloat16 if spec.precision == "bf16" else torch.float32


def load(spec: ModelSpec, labels: int, greatest_rank: int, objective: str = "classification") -> Trainee:
    """Load the model the spec names, with the objective's head for `labels` and LoRA up to `greatest_rank`."""
    practice = practice_of(objective)
    model, missing = _read(locate(spec.name), spec, practice, labels)
    try:
        layers = find_layers(model)
    except ValueError as error:
        raise DeviceError(f"model {spec.name!r}: {error}") from None
    path = next(name for name, module in model.named_modules() if module is layers)
    head = _head(model, missing, path, spec.name) if practice.has_head else _no_head(missing, spec.name)
    targets = _targets(layers[0], spec)
    layout = ModelLayout(
        shape=from_config(spec.name, model.config.to_dict()),
        digest=_digest(model, head),
        layer_path=path,
        targets=targets,
        head={name: tuple(model.get_parameter(name).shape) for name in head},
        head_modules=_modules_of(model, head),
        head_std=float(getattr(model.config, "initializer_range", 0.02)),
        labels=labels,
        objective=objective,
    )
    _add_lora(model, [f"{path}.{layer}.{t}" for layer in range(len(layers)) for t in targets], spec, greatest_rank)
    model.to(device="cuda" if torch.cuda.is_available() else "cpu", dtype=compute_dtype(spec)).requires_grad_(
        False
    ).eval()
    return Trainee(
        model=model,
        layers=tuple(find_layers(model)),
        layout=layout,
        spec=spec,
        greatest_rank=greatest_rank,
        practice=practice,
    )


def _read(folder: Path, spec: ModelSpec, practice: Practice, labels: int) -> tuple[Any, set[str]]:
    """Return the model and the names of parameters that its checkpoint does not hold."""
    import transformers

    from fedquad.learn.tokens import pad_id

    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, **practice.settings(labels))
        config.use_cache = False
        config.pad_token_id = pad_id(config, folder)
        with apart(), quiet():  # new heads draw from torch's generator; the adapter overwrites what they drew
            model, info = getattr(transformers, practice.auto).from_pretrained(
                folder,
                config=config,
                attn_implementation=attention_of(config.model_type, spec),
                dtype="auto",
                use_safetensors=any(folder.glob("*.safetensors")),
                weights_only=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # a checkpoint fine-tuned for another number of classes
                output_loading_info=True,
            )
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise DeviceError(
            f"model {spec.name!r} in {folder} cannot be loaded: {' '.join(str(error).split())}"
        ) from error
    mismatched = {entry[0] for entry in info["mismatched_keys"]}
    return model, set(info["missing_keys"]) | mismatched


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting a new head as a fault: which weights may be missing is checked here."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def _head(model: Any, missing: set[str], layer_path: str, name: str) -> tuple[str, ...]:
    """Name the parameters every device trains: those outside the base model, and new ones, which hold noise otherwise.

    RoBERTa: classifier.dense, classifier.out_proj. BERT: classifier (its pooler is pretrained, or new and then
    trained). DeBERTa: pooler.dense, which its checkpoints never hold, and classifier. Llama, Qwen2: score.
    """
    base = f"{model.base_model_prefix}."
    names = [key for key, _ in model.named_parameters()]
    lost = sorted(key for key in missing if key in names and key.startswith(base) and "pooler" not in key)
    if lost:
        raise DeviceError(
            f"model {name!r} lacks {len(lost)} of the weights of {type(model).__name__}, first {lost[0]!r} (its layers "
            f"should be at {layer_path}); name a checkpoint of this architecture"
        )
    return tuple(key for key in names if not key.startswith(base) or key in missing)


def _no_head(missing: set[str], name: str) -> tuple[str, ...]:
    """Nothing above the layers is trained, so that all of it must be in the checkpoint."""
    if missing:
        raise DeviceError(
            f"model {name!r} lacks {len(missing)} weights that are not trained here, first {min(missing)!r}; name a checkpoint "
            "that was pre-trained with its head"
        )
    return ()


def _modules_of(model: nn.Module, head: tuple[str, ...]) -> tuple[str, ...]:
    """The outermost modules that hold head parameters and nothing else, in the order of the model."""
    found: list[str] = []
    for name, module in model.named_modules():
        inside = [f"{name}.{key}" for key, _ in module.named_parameters()]
        if name and inside and set(inside) <= set(head) and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    return tuple(found)


def _targets(layer: nn.Module, spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """Find the modules of a layer that get LoRA, with their (in, out)."""
    linear = {name: module for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
    wanted = (spec.targets,) if spec.targets else QUERY_AND_VALUE
    for endings in wanted:
        found = {
            ending: [name for name in linear if name == ending or name.endswith(f".{ending}")] for ending in endings
        }
        if all(found.values()):
            names = [name for name in linear if any(name in match for match in found.values())]
            return {name: (linear[name].in_features, linear[name].out_features) for name in names}
    asked = f"model.targets {list(spec.targets)!r}" if spec.targets else "query and value"
    raise DeviceError(
        f"model {spec.name!r}: its layers have no {asked}; set model.targets to some of: {', '.join(linear) or 'none'}"
    )


def _digest(model: nn.Module, head: tuple[str, ...]) -> str:
    """SHA-256 of the backbone as its checkpoint holds it, before any cast."""
    sha = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if name not in head:
            array = parameter.detach().contiguous().view(torch.uint8) if parameter.ndim else parameter.detach()
            sha.update(f"{name}|{parameter.dtype}|{tuple(parameter.shape)}|".encode())
            sha.update(array.numpy().data)
    return sha.hexdigest()


def _add_lora(model: nn.Module, modules: list[str], spec: ModelSpec, greatest_rank: int) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=greatest_rank,
        lora_alpha=spec.alpha / spec.rank * greatest_rank,
        lora_dropout=spec.dropout,
        target_modules=modules,
    )
    with apart():
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
