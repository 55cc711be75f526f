"""What a layer's saved activations take, bytes a token, with and without compression.

    python -m benchmarks.activation_bytes                  # activation_bytes.csv: meta device, CUDA's operators; seconds
    python -m benchmarks.activation_bytes --device cuda    # activation_bytes_cuda.csv: the allocator's word beside ours

Batch 32, dropout 0.1, LoRA r 8 on queries and values of every layer. `later` is a layer above the first trained one,
whose input needs no gradient; `mean` is over all of the model's layers. Decoders have Llama-3.2-1B's,
Qwen2-0.5B's and Qwen3-0.6B's widths and no padding mask, as in training (fedquad/learn/objectives/causal_lm.py).
"""

from typing import Any

import torch

from benchmarks.activation_models import DECODERS, batch_of, build, is_decoder, place, quiet
from benchmarks.rows import arguments, record
from fedquad.learn.activations.compress import compress
from fedquad.learn.activations.meta import CudaOperators

BATCH = 32
# shape, attention, precision, tokens, LoRA dropout, coverage, bytes a token to reach
CASES: list[tuple[str, str, str, int, float, str, int | None]] = [
    ("roberta-base", "eager", "fp32", 128, 0.1, "paper", None),
    ("roberta-base", "eager", "fp32", 128, 0.1, "full", None),
    ("roberta-large", "eager", "fp32", 256, 0.1, "paper", None),
    ("roberta-large", "eager", "fp32", 128, 0.0, "full", 15_000),
    ("roberta-large", "sdpa", "fp32", 128, 0.0, "full", 12_300),
    ("roberta-large", "sdpa", "bf16", 128, 0.0, "full", 10_800),
    ("roberta-large", "eager", "bf16", 128, 0.0, "full", None),
    ("roberta-large", "eager", "fp32", 256, 0.0, "full", None),
    ("roberta-large", "sdpa", "bf16", 256, 0.0, "full", None),
    ("deberta-v3-large", "eager", "fp32", 128, 0.0, "full", 24_700),
    ("deberta-v3-large", "eager", "bf16", 128, 0.0, "full", None),
    *((shape, "sdpa", precision, 256, 0.0, "full", None) for shape in DECODERS for precision in ("fp32", "bf16")),
]


def count(shape: str, attention: str, precision: str, seq: int, dropout: float, coverage: Any) -> dict[str, float]:
    """Return bytes of a later layer and of the mean layer, counted on the meta device."""
    model = build(shape, attention, precision, lora_dropout=dropout, device="meta")
    needed = {"input_ids"} if is_decoder(shape) else {"input_ids", "attention_mask"}  # padding lies where nobody looks
    batch = {name: tensor.to("meta") for name, tensor in batch_of(BATCH, seq).items() if name in needed}
    layers = model.config.num_hidden_layers
    with CudaOperators(is_padded=not is_decoder(shape)), compress(model, range(layers), coverage) as handle:
        model(**batch)
    saved = list(handle.saved_bytes().values())
    tokens = BATCH * seq
    return {
        "uncompressed_bytes_per_token": round(saved[-1].uncompressed_bytes / tokens, 1),
        "kept_bytes_per_token": round(saved[-1].kept_bytes / tokens, 1),
        "mean_kept_bytes_per_token": round(sum(one.kept_bytes for one in saved) / len(saved) / tokens, 1),
        "saving": round(1 - saved[-1].kept_bytes / saved[-1].uncompressed_bytes, 4),
        "uncompressed_mib_per_layer": round(saved[-1].uncompressed_bytes / 2**20, 1),
    }


def allocate(shape: str, attention: str, precision: str, seq: int, dropout: float, coverage: Any) -> dict[str, float]:
    """Return what the allocator holds after a forward pass, against our count, in bytes a token and layer.

    Held bytes are compared for one and two compressed steps' worth of layers: the slope leaves the head out.
    """
    model = build(shape, attention, precision, lora_dropout=dropout, device="cuda", num_hidden_layers=8)
    batch = batch_of(BATCH, seq, "cuda")
    held: dict[tuple[int, bool], int] = {}
    counted = {}
    for depth in (4, 8):
        for name, parameter in model.named_parameters():
            if ".layer." in name and "lora_" in name:
                parameter.requires_grad_(int(name.partition(".layer.")[2].partition(".")[0]) >= 8 - depth)
        for is_on in (False, True):
            with compress(model, range(8 - depth, 8) if is_on else [], coverage) as handle:
                for _ in range(2):  # the first one allocates what stays
                    torch.cuda.synchronize()
                    before = torch.cuda.memory_allocated()
                    loss = model(**batch).loss
                    held[depth, is_on] = torch.cuda.memory_allocated() - before
                    del loss
            counted[depth, is_on] = handle.saved_bytes()
    tokens = BATCH * seq * 4
    saved = [one for layer, one in sorted(counted[8, True].items())][-4:]
    ours = {True: sum(one.kept_bytes for one in saved), False: sum(one.uncompressed_bytes for one in saved)}
    row: dict[str, float] = {}
    for is_on, label in ((False, "uncompressed"), (True, "kept")):
        slope = held[8, is_on] - held[4, is_on]
        row[f"{label}_bytes_per_token"] = round(ours[is_on] / tokens, 1)
        row[f"{label}_allocated_per_token"] = round(slope / tokens, 1)
        row[f"{label}_counting_error"] = round(ours[is_on] / slope - 1, 4)
    return row


def main() -> None:
    quiet()
    parser = arguments(__doc__)
    parser.add_argument("--device", choices=("meta", "cuda"), default="meta")
    options = parser.parse_args()
    measure = count if options.device == "meta" else allocate
    rows: list[dict[str, Any]] = []
    cases = [case for case in CASES if options.device == "meta" or not is_decoder(case[0])]
    for shape, attention, precision, seq, dropout, coverage, target in cases:
        setting = {"shape": shape, "attention": attention, "precision": precision, "batch": BATCH, "seq": seq}
        found = measure(shape, attention, precision, seq, dropout, coverage)
        rows.append({**setting, "lora_dropout": dropout, "coverage": coverage, **found, "target": target})
    suffix = "" if options.device == "meta" else "_cuda"
    record(f"activation_bytes{suffix}", rows, as_json=options.json, device=place(options.device))


if __name__ == "__main__":
    main()
