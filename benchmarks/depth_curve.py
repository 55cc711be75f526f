"""Does LoRA depth matter on the embedded backbone? Accuracy at several depths, centrally trained, three seeds.

    python -m benchmarks.depth_curve            # about 15 CPU minutes; writes depth_curve.csv and depth_curve.png
    python -m benchmarks.depth_curve --summary  # only prints what the kept rows say

LoRA r = alpha = 8 with dropout 0.1 on query and value of the top layers, and the head; AdamW, cosine. The CSV keeps
a row a run.
"""

import csv
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import peft
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.rows import arguments, record
from fedquad import rng
from fedquad.learn.seeding import seeded
from fedquad.learn.source import BACKBONES
from fedquad.learn.tables import Request, Table, TextTask

FOLDER = BACKBONES / "mini"
HERE = Path(__file__).with_suffix(".csv")
LAYERS = 12
DEPTHS = (1, 2, 4, 8, 12)
SEEDS = (0, 1, 2)
WORKERS = 2  # one thread each


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One fine-tuning."""

    task: str = "mini-nli"
    start: str = "pretrained"
    depth: int = LAYERS
    seed: int = 0
    steps: int = 300
    batch: int = 32
    learning_rate: float = 3e-3
    examples: int = 9_600
    tested: int = 2_000


def plan() -> list[Run]:
    """Return every run, the costliest first so that both workers end together."""
    curve = [Run(depth=depth, seed=seed) for depth, seed in product(DEPTHS, SEEDS)]
    random = [Run(start="random", seed=seed) for seed in SEEDS]
    others = [
        Run(task=task, seed=seed, steps=150) for task, seed in product(("mini-qqp", "mini-qnli", "mini-sst2"), SEEDS)
    ]
    return sorted(curve + random + others, key=lambda run: -run.depth * run.steps)


def measure(run: Run) -> dict[str, object]:
    """Train and test one run; return its row."""
    torch.set_num_threads(1)
    task: TextTask = import_module(f"fedquad.learn.datasets.{run.task.replace('-', '_')}").TASK
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    train = _encode(tokenizer, task, task.load(Request(split="train", size=run.examples, seed=run.seed)))
    test = _encode(tokenizer, task, task.load(Request(split="test", size=run.tested)))
    start = time.perf_counter()
    with seeded(run.seed, "depth_curve"):
        model = _model(run, len(task.labels))
        _train(model, run, train)
    seconds = time.perf_counter() - start
    accuracy = float(np.mean(_predict(model, test[0]) == np.array(test[1])))
    return {**asdict(run), "accuracy": round(accuracy, 4), "seconds": round(seconds, 1)}


def _encode(tokenizer: object, task: TextTask, table: Table) -> tuple[list[list[int]], list[int]]:
    return tokenizer(*(list(table.columns[name]) for name in task.columns))["input_ids"], list(table.labels)


def _model(run: Run, labels: int) -> torch.nn.Module:
    if run.start == "random":
        config = AutoConfig.from_pretrained(FOLDER, num_labels=labels, dtype=torch.float32)
        model = AutoModelForSequenceClassification.from_config(config)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(FOLDER, num_labels=labels, dtype=torch.float32)
    lora = peft.LoraConfig(
        task_type=peft.TaskType.SEQ_CLS,
        r=8,
        lora_alpha=8,
        lora_dropout=0.1,
        target_modules=["query", "value"],
        layers_to_transform=list(range(LAYERS - run.depth, LAYERS)),
    )
    return peft.get_peft_model(model, lora)


def _train(model: torch.nn.Module, run: Run, data: tuple[list[list[int]], list[int]]) -> None:
    rows, labels = data[0], torch.tensor(data[1])
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=run.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, run.steps)
    generator = rng.stream(run.seed, "depth_curve", "order")
    order = np.concatenate([generator.permutation(len(rows)) for _ in range(1 + run.steps * run.batch // len(rows))])
    model.train()
    for step in range(run.steps):
        chosen = order[step * run.batch : (step + 1) * run.batch]
        loss = torch.nn.functional.cross_entropy(_logits(model, [rows[i] for i in chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _predict(model: torch.nn.Module, rows: list[list[int]]) -> np.ndarray:
    model.eval()
    return np.concatenate([_logits(model, rows[i : i + 250]).argmax(-1).numpy() for i in range(0, len(rows), 250)])


def _logits(model: torch.nn.Module, rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    tokens = torch.tensor([row + [1] * (width - len(row)) for row in rows])
    return model(input_ids=tokens, attention_mask=(tokens != 1).long()).logits


def summarise(rows: list[dict[str, str]]) -> dict[str, float]:
    """Return the figures the backbone is held to, in points."""

    def mean(**wanted: object) -> float:
        found = [float(r["accuracy"]) for r in rows if all(r[key] == str(value) for key, value in wanted.items())]
        return 100 * statistics.mean(found)

    curve = {depth: mean(task="mini-nli", start="pretrained", depth=depth) for depth in DEPTHS}
    gain = curve[LAYERS] - curve[1]
    figures = {f"mini-nli at depth {depth}": value for depth, value in curve.items()}
    figures["full depth less depth 1"] = gain
    figures["share of the gain at depth 8, %"] = 100 * (curve[8] - curve[1]) / gain
    figures["full depth less random weights"] = curve[LAYERS] - mean(task="mini-nli", start="random")
    for task, chance in (("mini-nli", 100 / 3), ("mini-qqp", 50), ("mini-qnli", 50), ("mini-sst2", 50)):
        figures[f"{task} above chance"] = mean(task=task, start="pretrained", depth=LAYERS) - chance
    return figures


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw accuracy over depth, a dot a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="LoRA depth (layers from the output)", ylabel="accuracy on mini-nli, %")
    curve = [row for row in rows if row["task"] == "mini-nli" and row["start"] == "pretrained"]
    axes.plot([int(r["depth"]) for r in curve], [100 * float(r["accuracy"]) for r in curve], "o", alpha=0.5)
    figures = summarise(rows)
    axes.plot(DEPTHS, [figures[f"mini-nli at depth {depth}"] for depth in DEPTHS], "-", label="pre-trained")
    axes.axhline(
        figures["mini-nli at depth 12"] - figures["full depth less random weights"],
        ls="--",
        label="random weights, depth 12",
    )
    axes.axhline(100 / 3, ls=":", color="grey", label="chance")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, keep, draw and print."""
    parser = arguments(__doc__)
    parser.add_argument("--summary", action="store_true", help="only print what the kept rows say")
    options = parser.parse_args()
    if not options.summary:
        # spawn: a forked torch keeps its parent's thread pool
        with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
            record("depth_curve", list(pool.map(measure, plan())), as_json=options.json)
    if options.json:
        return
    rows = list(csv.DictReader(HERE.open()))
    draw(rows, HERE.with_suffix(".png"))
    for name, value in summarise(rows).items():
        print(f"{name:<36} {value:6.1f}")


if __name__ == "__main__":
    main()
