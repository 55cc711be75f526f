"""What compression does to gradients, and to accuracy.

    python -m benchmarks.activation_error            # activation_error.csv: relative error of all LoRA gradients
    python -m benchmarks.activation_error --decoders # activation_error_decoders.csv: the same of decoders
    python -m benchmarks.activation_error --tasks    # activation_tasks.csv: accuracy on the mini tasks, INT8 on and off

The exact gradient is the same model's without compression; bf16 against fp32 stands beside it as the noise that training
in bf16 lives with. RoBERTa-base's, DeBERTa-v3-large's, Qwen2-0.5B's and Qwen3-0.6B's widths with random
weights, 2 layers, batch 4, 128 tokens; the embedded backbones with their trained weights, 12 layers, batch 32: 64 tokens at
random for `mini`, chats for `mini-decoder`. Decoders are under their language heads.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.activation_models import EMBEDDED, batch_of, build, is_decoder, quiet
from benchmarks.rows import arguments, record
from fedquad.learn.activations.compress import compress
from fedquad.rounds import adapters
from fedquad.spec import DataSpec, ModelSpec, TrainingSpec
from fedquad.types import Adapter, Assignment

CASES = [
    ("roberta-base", "eager", "fp32", "full"),
    ("roberta-base", "eager", "fp32", "paper"),
    ("roberta-base", "sdpa", "fp32", "full"),
    ("roberta-base", "sdpa", "bf16", "full"),
    ("deberta-v3-large", "eager", "fp32", "full"),
    ("mini", "eager", "fp32", "full"),
    ("mini", "sdpa", "fp32", "full"),
]
DECODER_CASES = [
    ("mini-decoder", "sdpa", "fp32", "full"),
    ("mini-decoder", "eager", "fp32", "full"),
    ("qwen2", "sdpa", "fp32", "full"),
    ("qwen3", "sdpa", "fp32", "full"),
    ("qwen2", "sdpa", "bf16", "full"),
]
TASKS = ("mini-nli", "mini-qqp", "mini-qnli", "mini-sst2")
SEEDS = range(5)
BATCH, LEARNING_RATE = 16, 6e-3


def gradients(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss and the LoRA gradients of one step, dropout seeded."""
    model.zero_grad()
    torch.manual_seed(0)
    loss = model(**batch).loss
    loss.backward()
    named = model.named_parameters()
    return loss.item(), {name: p.grad.double() for name, p in named if "lora_" in name and p.grad is not None}


def compare(found: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return the relative error over all parameters and of the worst one, and the cosine."""
    a, b = (torch.cat([tensor.flatten() for tensor in one.values()]) for one in (found, exact))
    worst = max(float((found[name] - exact[name]).norm() / exact[name].norm()) for name in exact)
    return {
        "relative_error": float(f"{(a - b).norm() / b.norm():.3g}"),
        "worst_parameter": float(f"{worst:.3g}"),
        "cosine": round(float(a @ b / a.norm() / b.norm()), 7),
    }


def errors(cases: list[tuple[str, str, str, str]]) -> list[dict[str, Any]]:
    """Return one row for each model, attention, precision and coverage, and one for bf16 alone."""
    rows: list[dict[str, Any]] = []
    for shape, attention, precision, coverage in cases:
        sizes = {} if shape in EMBEDDED else {"num_hidden_layers": 2}
        torch.manual_seed(0)
        model = build(shape, attention, precision, **sizes)
        batch = _batch(shape)
        loss, exact = gradients(model, batch)
        with compress(model, range(model.config.num_hidden_layers), coverage):  # type: ignore[arg-type]
            compressed_loss, found = gradients(model, batch)
        setting = {"shape": shape, "attention": attention, "precision": precision, "coverage": coverage}
        same = {"is_loss_identical": loss == compressed_loss}
        rows.append({**setting, "against": precision, **compare(found, exact), **same})
        if shape not in {row["shape"] for row in rows[:-1]}:  # once a shape: the noise of bf16 alone
            _, found = gradients(model.to(torch.bfloat16), batch)
            rows.append({**setting, "precision": "bf16", "coverage": "off", "against": "fp32", **compare(found, exact)})
    return rows


def _batch(shape: str) -> dict[str, torch.Tensor]:
    if shape == "mini":
        return batch_of(32, 64)
    return chats(32) if shape == "mini-decoder" else batch_of(4, 128, next_words=is_decoder(shape))


def chats(rows: int) -> dict[str, torch.Tensor]:
    """Return conversations of the embedded task, and their answers as labels."""
    from fedquad.learn import tokens

    data = DataSpec(name="mini-chat", train=rows, validation=1, test=1)
    with tempfile.TemporaryDirectory() as cache:
        made = tokens.prepare(data, ModelSpec(name="mini-decoder", max_length=48), 0, Path(cache))
        found = tokens.read(Path(made["splits"]["train"]["path"]))
    arrays = {"input_ids": found.input_ids, "attention_mask": found.attention_mask, "labels": found.labels}
    return {name: torch.from_numpy(array).long() for name, array in arrays.items()}


def accuracies(steps: int) -> list[dict[str, Any]]:
    """Return, for each mini task, mean accuracy over the seeds with every layer compressed and with none."""
    rows: list[dict[str, Any]] = []
    for name in TASKS:
        found = {is_on: [_accuracy(name, seed, is_on, steps) for seed in SEEDS] for is_on in (False, True)}
        off, on = found[False], found[True]
        print(name, *found.values(), file=sys.stderr)
        row = {"task": name, "steps": steps, "batch": BATCH, "learning_rate": LEARNING_RATE, "seeds": len(SEEDS)}
        for label, values in (("off", off), ("int8", on)):
            row[f"{label}_accuracy"] = round(statistics.fmean(values), 4)
            row[f"{label}_spread"] = round(statistics.stdev(values), 4)
        difference = statistics.fmean(on) - statistics.fmean(off)
        # The same seeds are compared, so that what is left is INT8 and the chaos of training.
        rows.append({**row, "difference": round(difference, 4), "is_within": abs(difference) <= row["off_spread"]})
    return rows


def _accuracy(task: str, seed: int, is_on: bool, steps: int) -> float:
    from fedquad.learn import evaluate, loop, model, tokens
    from fedquad.objectives import classification

    with tempfile.TemporaryDirectory() as cache:
        data = DataSpec(name=task, train=2400, validation=8, test=512)
        spec = ModelSpec(name="mini")
        prepared = tokens.prepare(data, spec, seed, Path(cache))
        train, test = (tokens.read(Path(prepared["splits"][split]["path"])) for split in ("train", "test"))
        trainee = model.load(spec, prepared["labels"], spec.rank)
    layers = tuple(range(len(trainee.layers)))
    assignment = Assignment(
        device=0,
        present=layers,
        trained=layers,
        quantized=layers if is_on else (),
        ranks=(spec.rank,) * len(layers),
        steps=steps,
        learning_rate=LEARNING_RATE,
    )
    master = adapters.initial(trainee.layout, spec.rank, seed)
    update = loop.train(
        trainee,
        assignment,
        master,
        train,
        training=TrainingSpec(batch=BATCH),
        key=(seed, 0, 1, 0),
        round=1,
        based_on="",
    )
    scores = evaluate.evaluate(trainee, _plus(master, update.delta), test, 0, 512, batch=128)
    return classification.accuracy(scores.sums["confusion"])


def _plus(adapter: Adapter, delta: Adapter) -> Adapter:
    was, change = adapters.flatten(adapter), adapters.flatten(delta)
    return adapters.unflatten({name: adapters.freeze(np.add(value, change[name])) for name, value in was.items()})


def main() -> None:
    quiet()
    parser = arguments(__doc__)
    parser.add_argument("--tasks", action="store_true", help="train on the mini tasks instead")
    parser.add_argument("--steps", type=int, default=120, help="training steps of each run of --tasks")
    parser.add_argument("--decoders", action="store_true", help="measure decoders instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.tasks:
        record("activation_tasks", accuracies(options.steps), as_json=options.json)
    elif options.decoders:
        record("activation_error_decoders", errors(DECODER_CASES), as_json=options.json)
    else:
        record("activation_error", errors(CASES), as_json=options.json)


if __name__ == "__main__":
    main()
