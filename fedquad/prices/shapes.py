"""Shapes that a campaign can be priced as; adding one is adding a line.

From each model's published config.json; `mini` is the embedded backbone.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedquad.errors import SpecError, one_of
from fedquad.prices.flops import DECODERS
from fedquad.types import ModelShape

_BERT = ModelShape(
    name="bert-base",
    architecture="bert",
    layers=12,
    hidden=768,
    intermediate=3072,
    heads=12,
    vocabulary=30522,
    positions=512,
)
_ROBERTA = replace(_BERT, name="roberta-base", architecture="roberta", vocabulary=50265, positions=514)
_DEBERTA = replace(_BERT, name="deberta-v3-base", architecture="deberta-v2", vocabulary=128100, position_buckets=256)
_LARGE = {"layers": 24, "hidden": 1024, "intermediate": 4096, "heads": 16}

SHAPES: Mapping[str, ModelShape] = {
    shape.name: shape
    for shape in (
        _BERT,
        replace(_BERT, name="bert-large", **_LARGE),  # type: ignore[arg-type]
        _ROBERTA,
        replace(_ROBERTA, name="roberta-large", **_LARGE),  # type: ignore[arg-type]
        _DEBERTA,
        replace(_DEBERTA, name="deberta-v3-large", **_LARGE),  # type: ignore[arg-type]
    )
}


def from_config(name: str, config: Mapping[str, Any]) -> ModelShape:
    """The shape that a Hugging Face config.json describes."""
    try:
        return ModelShape(
            name=name,
            architecture=_architecture(config),
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            heads=config["num_attention_heads"],
            vocabulary=config["vocab_size"],
            positions=config["max_position_embeddings"],
            position_buckets=max(config.get("position_buckets", 0), 0) if config.get("relative_attention") else 0,
            key_value_heads=config.get("num_key_value_heads") or 0,
            head_width=config.get("head_dim") or 0,
            has_own_head=not config.get("tie_word_embeddings", True),
            dropout=config.get("hidden_dropout_prob", 0.0),
        )
    except KeyError as error:
        raise SpecError(
            f"model {name!r}: its config.json has no {error.args[0]}; price it as another (cost.priced_as)"
        ) from None


def _architecture(config: Mapping[str, Any]) -> str:
    """What it is built like: whoever gates its MLP by SiLU and norms by RMS is a Llama, whatever its name."""
    name: str = config["model_type"]
    is_alike = "rms_norm_eps" in config and config.get("hidden_act") == "silu"
    return "llama" if is_alike and name not in DECODERS else name


def shape_named(name: str, layers: int) -> ModelShape:
    """The shape that `cost.priced_as` names; it has as many layers as the model that is trained."""
    if name not in SHAPES:
        raise one_of("model shape (cost.priced_as)", name, list(SHAPES))
    shape = SHAPES[name]
    if shape.layers != layers:
        fitting = ", ".join(other.name for other in SHAPES.values() if other.layers == layers)
        instead = f"take {fitting}" if fitting else f"those with others are {', '.join(SHAPES)}"
        raise SpecError(
            f"cost.priced_as is {name!r} with {shape.layers} layers, but the trained model has {layers}: {instead}, or "
            f"leave it empty, which prices the model itself"
        )
    return shape
