"""What the activation benchmarks share: published shapes with random weights and LoRA, and rows of CSV."""

import argparse
import csv
import datetime
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, DebertaV2Config, RobertaConfig

from fedquad.learn.backbones import __path__ as BACKBONES
from fedquad.store.environment import environment, installed_version

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
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def quiet() -> None:
    """Keep transformers' deprecation notes off the terminal."""
    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)


def build(
    shape: str, attention: str, precision: str, *, lora_dropout: float = 0.0, device: str = "cpu", **sizes: Any
) -> torch.nn.Module:
    """Return a model of this shape in training mode; `mini` has its weights, the others random ones."""
    dtype = DTYPES[precision]
    with torch.device(device):
        if shape == "mini":
            folder = Path(next(iter(BACKBONES))) / "mini"
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, num_labels=3, attn_implementation=attention, dtype=torch.float32
            )
        else:
            kind, published = SHAPES[shape]
            config = kind(**{**COMMON, **published, **sizes})
            model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
        targets = ["query_proj", "value_proj"] if shape.startswith("deberta") else ["query", "value"]
        lora = LoraConfig(
            r=8,
            lora_alpha=8,
            lora_dropout=lora_dropout,
            target_modules=targets,
            init_lora_weights=False,
            task_type="SEQ_CLS",
        )
        return get_peft_model(model, lora).to(device=device, dtype=dtype).train()


def batch_of(rows: int, seq: int, device: str = "cpu", vocabulary: int = 180) -> dict[str, torch.Tensor]:
    """Return tokens, padded by up to a quarter, and labels."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(5, vocabulary, (rows, seq), generator=draw)
    lengths = torch.randint(seq * 3 // 4, seq, (rows, 1), generator=draw)
    mask = (torch.arange(seq) < lengths).long()
    batch = {"input_ids": ids * mask + (1 - mask), "attention_mask": mask, "labels": torch.arange(rows) % 3}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def facts(device: str) -> dict[str, Any]:
    """Return where and with what a row was measured."""
    known = environment(threads=torch.get_num_threads())
    name = torch.cuda.get_device_name() if device == "cuda" else "meta" if device == "meta" else known["machine"]
    versions = {package: known[package] for package in ("torch", "transformers", "peft")}
    today = datetime.date.today().isoformat()
    return {"device": name, **versions, "triton": installed_version("triton"), "commit": known["commit"], "date": today}


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all of them have."""
    quiet()
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the rows as JSON and write nothing")
    return parser


def finish(rows: list[dict[str, Any]], path: Path, as_json: bool) -> None:
    """Print the rows, or write them as CSV and print them as text."""
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    hidden = ("device", "torch", "transformers", "peft", "triton", "commit", "date")
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items() if name not in hidden))
