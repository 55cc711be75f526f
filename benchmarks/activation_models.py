"""What the activation benchmarks share: published shapes with random weights and LoRA, batches, and where they run."""

import logging
import warnings
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    DebertaV2Config,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
)

from fedquad.learn.source import BACKBONES

BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "num_hidden_layers": 12}
LARGE = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24}
COMMON = {"vocab_size": 1000, "max_position_embeddings": 514, "num_labels": 3}
DISENTANGLED = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 256,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "position_biased_input": False,
}
SHAPES: dict[str, Any] = {
    "roberta-base": (RobertaConfig, BASE),
    "roberta-large": (RobertaConfig, LARGE),
    "deberta-v3-large": (DebertaV2Config, LARGE | DISENTANGLED),
}
# Widths of Llama-3.2-1B, Qwen2-0.5B and Qwen3-0.6B.
DECODERS: dict[str, Any] = {
    "llama": (LlamaConfig, {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 16}),
    "qwen2": (Qwen2Config, {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2, "num_hidden_layers": 24}),
    "qwen3": (Qwen3Config, {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 28}),
}  # fmt: skip
EMBEDDED = {"mini": AutoModelForSequenceClassification, "mini-decoder": AutoModelForCausalLM}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def quiet() -> None:
    """Keep transformers' deprecation notes off the terminal."""
    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)


def build(
    shape: str, attention: str, precision: str, *, lora_dropout: float = 0.0, device: str = "cpu", **sizes: Any
) -> torch.nn.Module:
    """Return a model of this shape in training mode; embedded ones have their weights, the others random ones."""
    dtype = DTYPES[precision]
    with torch.device(device):
        if shape in EMBEDDED:
            settings = {"num_labels": 3} if shape == "mini" else {}
            model = EMBEDDED[shape].from_pretrained(
                BACKBONES / shape, attn_implementation=attention, dtype=torch.float32, **settings
            )
        else:
            kind, published = {**SHAPES, **DECODERS}[shape]
            config = kind(**{**COMMON, **published, **sizes})
            auto = AutoModelForCausalLM if is_decoder(shape) else AutoModelForSequenceClassification
            model = auto.from_config(config, attn_implementation=attention)
        targets = ["query_proj", "value_proj"] if shape.startswith("deberta") else ["query", "value"]
        if is_decoder(shape):
            targets = ["q_proj", "v_proj"]
        lora = LoraConfig(
            r=8,
            lora_alpha=8,
            lora_dropout=lora_dropout,
            target_modules=targets,
            init_lora_weights=False,
            task_type="CAUSAL_LM" if is_decoder(shape) else "SEQ_CLS",
        )
        return get_peft_model(model, lora).to(device=device, dtype=dtype).train()


def is_decoder(shape: str) -> bool:
    return shape in DECODERS or shape == "mini-decoder"


def batch_of(
    rows: int, seq: int, device: str = "cpu", vocabulary: int = 180, *, next_words: bool = False
) -> dict[str, torch.Tensor]:
    """Return tokens, padded by up to a quarter, and labels: a class a row, or the words themselves."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(5, vocabulary, (rows, seq), generator=draw)
    lengths = torch.randint(seq * 3 // 4, seq, (rows, 1), generator=draw)
    mask = (torch.arange(seq) < lengths).long()
    labels = ids.masked_fill(mask == 0, -100) if next_words else torch.arange(rows) % 3
    batch = {"input_ids": ids * mask + (1 - mask), "attention_mask": mask, "labels": labels}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def place(device: str) -> str:
    """Name the device for the rows; empty means this machine's processor."""
    return torch.cuda.get_device_name() if device == "cuda" else device if device == "meta" else ""
