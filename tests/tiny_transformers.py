"""Random transformers of a few thousand weights, with LoRA, for the tests of activation compression."""

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, DebertaV2Config, LlamaConfig, RobertaConfig

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 80,
    "pad_token_id": 0,
    "num_labels": 3,
}
DISENTANGLED = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 16,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
}
KINDS = {
    "bert": (BertConfig, {}, ("query", "value")),
    "roberta": (RobertaConfig, {}, ("query", "value")),
    "deberta": (DebertaV2Config, DISENTANGLED, ("query_proj", "value_proj")),
    "llama": (LlamaConfig, {"num_key_value_heads": 2}, ("q_proj", "v_proj")),
}


def a_model(
    kind: str = "roberta", attention: str = "eager", dropout: float = 0.0, lora: object = None, **sizes: object
) -> nn.Module:
    """Return a model with LoRA on queries and values, the same one for the same arguments, in training mode."""
    config, extra, targets = KINDS[kind]
    names = ["attention_dropout"] if kind == "llama" else ["hidden_dropout_prob", "attention_probs_dropout_prob"]
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(
        config(**{**SIZES, **extra, **dict.fromkeys(names, dropout), **sizes}), attn_implementation=attention
    )
    rank = {"r": 4, "lora_alpha": 4, "init_lora_weights": False, **(lora or {})}
    return get_peft_model(model, LoraConfig(target_modules=list(targets), task_type="SEQ_CLS", **rank)).train()


def a_batch(rows: int = 4, seq: int = 40) -> dict[str, torch.Tensor]:
    """Return tokens, half of the rows padded, and labels."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 100, (rows, seq), generator=draw)
    mask = torch.ones_like(ids)
    mask[::2, seq // 2 :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.arange(rows) % 3}


def backward(model: nn.Module, batch: dict[str, torch.Tensor], seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss and all LoRA gradients in one vector."""
    model.zero_grad()
    torch.manual_seed(seed)
    loss = model(**batch).loss
    loss.backward()
    return loss.detach(), lora_gradients(model)


def lora_gradients(model: nn.Module) -> torch.Tensor:
    grads = [p.grad.flatten() for name, p in model.named_parameters() if "lora_" in name and p.grad is not None]
    return torch.cat(grads).double()


def relative_error(gradient: torch.Tensor, exact: torch.Tensor) -> float:
    return float((gradient - exact).norm() / exact.norm())
