"""A Qwen2 as others publish it, but tiny and random: byte pairs, ChatML as its template; and chats that it can learn."""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
END, START, TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
ASKED = ("parcel", "letter", "ticket", "refund", "order", "card")
PLACES = ("in the office", "at the depot", "on the way")


def chats(size: int, seed: int) -> list[dict[str, str]]:
    """Questions whose answer is told before them, sometimes beside another."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(size):
        thing, place = ASKED[draw.integers(len(ASKED))], PLACES[draw.integers(len(PLACES))]
        rows.append({"question": f"the {thing} is {place}. where is it?", "answer": f"{place}."})
    return rows


def as_messages(row: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    said = ({"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]})
    return {"messages": list(said)}


def write_chats(folder: Path, sizes: dict[str, int]) -> None:
    folder.mkdir(parents=True)
    for seed, (split, size) in enumerate(sizes.items()):
        lines = (json.dumps(as_messages(row)) + "\n" for row in chats(size, seed))
        (folder / f"{split}.jsonl").write_text("".join(lines))


def write_qwen(folder: Path, layers: int = 4, hidden: int = 32) -> Path:
    """Write the model and its tokenizer; its weights are loud enough for a frozen head to say something."""
    tokenizer = write_tokenizer(folder)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids(END),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path) -> Qwen2Tokenizer:
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END, START, TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pairs.train_from_iterator((f"{row['question']} {row['answer']} user assistant" for row in chats(500, 0)), trainer)
    made = json.loads(pairs.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=made["vocab"],
        merges=[tuple(pair) for pair in made["merges"]],
        eos_token=TURN,
        pad_token=END,
        unk_token=END,
        extra_special_tokens=[START],
        chat_template=TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer
