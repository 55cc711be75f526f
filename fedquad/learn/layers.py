"""Where a model keeps its transformer layers, found from the model itself and not from a table of model names.

The layers are the one `ModuleList` of equal blocks that is as long as the configuration says (`num_hidden_layers`,
which transformers also answers for `n_layer` and its like). BERT, RoBERTa, DeBERTa-v2/v3, Llama and Qwen2 all keep
theirs so, and PEFT wraps a model without moving them.
"""

from torch import nn


def find_layers(model: nn.Module) -> nn.ModuleList:
    """Return the model's transformer layers, input side first; the list itself: changing it changes the model."""
    length = _hidden_layers(model)
    lists = {name: child for name, child in model.named_modules() if isinstance(child, nn.ModuleList) and len(child)}
    found = {name: blocks for name, blocks in lists.items() if len(blocks) == length and _is_homogeneous(blocks)}
    # A block may hold a list of its own (experts, convolutions): the outer one is the model's.
    outer = {name: blocks for name, blocks in found.items() if not any(_is_inside(name, other) for other in found)}
    if len(outer) != 1:
        seen = ", ".join(f"{name} ({len(blocks)})" for name, blocks in (outer or lists).items()) or "none"
        raise ValueError(
            f"cannot tell the transformer layers of {type(model).__name__}: expected one list of {length} equal blocks "
            f"(config.num_hidden_layers), found {seen}; give a model that keeps its layers in a single nn.ModuleList"
        )
    return next(iter(outer.values()))


def _hidden_layers(model: nn.Module) -> int:
    for module in model.modules():
        length = getattr(getattr(module, "config", None), "num_hidden_layers", None)
        if isinstance(length, int):
            return length
    raise ValueError(
        f"cannot tell the transformer layers of {type(model).__name__}: none of its modules has a config with "
        f"num_hidden_layers; give a Hugging Face transformer"
    )


def _is_homogeneous(blocks: nn.ModuleList) -> bool:
    return len({type(block) for block in blocks}) == 1


def _is_inside(name: str, other: str) -> bool:
    return name.startswith(f"{other}.")
