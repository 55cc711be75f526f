"""Tiny random models with a word-level tokenizer, written to folders, and random examples for them."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    DebertaV2Config,
    DebertaV2Model,
    ElectraConfig,
    ElectraModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from fedquad import rng
from fedquad.learn.model import Trainee, load
from fedquad.learn.tokens import Encoded
from fedquad.rounds import adapters
from fedquad.spec import ModelSpec
from fedquad.types import Adapter, Assignment, Lora, ModelLayout

torch.set_num_threads(1)  # as in training processes; two threads on a busy machine are many times slower than one

KINDS = {
    "bert": (BertConfig, BertModel),
    "roberta": (RobertaConfig, RobertaModel),
    "camembert": (CamembertConfig, CamembertModel),
    "electra": (ElectraConfig, ElectraModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    "deberta-v2": (DebertaV2Config, DebertaV2Model),
    "llama": (LlamaConfig, LlamaModel),
    "qwen2": (Qwen2Config, Qwen2Model),
}
WORDS = [f"w{i}" for i in range(40)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
LABELS = 3


def write_tokenizer(folder: Path) -> None:
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def write_model(
    folder: Path, kind: str = "roberta", layers: int = 3, hidden: int = 16, causal: bool = False, **other: object
) -> Path:
    """Write a random backbone and its tokenizer; returns the folder."""
    sizes = {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 40,
        "pad_token_id": 1,
    }
    if kind == "deberta-v2":  # as in DeBERTa-v3: relative attention of both kinds, shared projections
        sizes |= {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
        sizes |= {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0}
    if kind == "qwen2":
        sizes["num_key_value_heads"] = 1
    config, backbone = KINDS[kind]
    if causal:
        backbone = LlamaForCausalLM
        sizes |= {
            "tie_word_embeddings": True,
            "initializer_range": 0.4,
        }  # a frozen head of small weights says nothing loud
    with torch.random.fork_rng():
        torch.manual_seed(7)
        backbone(config(**(sizes | other))).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def a_spec(folder: Path, **other: object) -> ModelSpec:
    return ModelSpec(**({"name": str(folder), "rank": 4, "alpha": 8.0, "max_length": 12} | other))


def a_trainee(
    folder: Path, kind: str = "roberta", layers: int = 3, has_dropout: bool = True, **other: object
) -> Trainee:
    """A loaded model; without dropout its gradients can be checked by hand."""
    none: dict[str, object] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    write_model(folder, kind, layers, **({} if has_dropout else none))
    return load(a_spec(folder, **(other if has_dropout else {"dropout": 0.0} | other)), LABELS, 4)


def an_adapter(layout: ModelLayout, rank: int = 4, seed: int = 0) -> Adapter:
    """An adapter as after some rounds: nothing in it is zero."""
    fresh = adapters.initial(layout, rank, seed)
    draw = rng.stream(seed, "test")

    def noise(shape: tuple[int, ...]) -> np.ndarray:
        return draw.normal(0, 0.3, shape).astype(np.float32)

    layers = {
        layer: {target: Lora(pair.a, adapters.freeze(noise(pair.b.shape))) for target, pair in pairs.items()}
        for layer, pairs in fresh.layers.items()
    }
    return Adapter(
        layers=layers, head={name: adapters.freeze(noise(value.shape)) for name, value in fresh.head.items()}
    )


def examples(size: int = 20, length: int = 12, seed: int = 0) -> Encoded:
    """Random examples of 5 tokens to `length`; the label is in the first word."""
    draw = rng.stream(seed, "examples")
    lengths = draw.integers(5, length + 1, size)
    mask = (np.arange(length) < lengths[:, None]).astype(np.uint8)
    labels = draw.integers(0, LABELS, size)
    ids = np.where(mask == 1, draw.integers(4, 4 + len(WORDS), (size, length)), 1).astype(np.int32)
    ids[:, 0], ids[:, 1] = 0, 4 + labels
    return Encoded(input_ids=ids, attention_mask=mask, labels=labels)


def an_assignment(layers: int = 3, **other: object) -> Assignment:
    """Everything present and trained, unless told otherwise."""
    everything = tuple(range(layers))
    given = {"device": 2, "present": everything, "trained": everything, "steps": 3, "learning_rate": 1e-2} | other
    given.setdefault("ranks", (4,) * len(given["present"]))
    return Assignment(**given)


def batch_of(trainee: Trainee, data: Encoded) -> dict[str, torch.Tensor]:
    ids, mask = torch.tensor(data.input_ids, dtype=torch.long), torch.tensor(data.attention_mask, dtype=torch.long)
    return {"input_ids": ids.to(trainee.device), "attention_mask": mask.to(trainee.device)}


__all__ = ["KINDS", "LABELS", "a_spec", "a_trainee", "an_adapter", "an_assignment", "batch_of", "examples"]
