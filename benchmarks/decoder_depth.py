"""Does LoRA depth matter on the embedded decoder? Exact answers at several depths, by one device that has all the data.

    python -m benchmarks.decoder_depth            # a minute and a half of one core; writes decoder_depth.csv and decoder_depth.png
    python -m benchmarks.decoder_depth --summary  # only prints what the kept rows say

LoRA r = alpha = 8 with dropout 0.1 on query and value of the top layers; ten rounds whose rates go down a cosine, as a
campaign's do. `start` is before any training; the row of the random weights says what the pre-training is worth.
"""

import csv
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rows import arguments, record
from fedquad.learn import loop, tokens
from fedquad.learn.evaluate import evaluate
from fedquad.learn.mini.decoder.recipe import Recipe
from fedquad.learn.mini.decoder.start import build_model
from fedquad.learn.model import Trainee, load
from fedquad.objectives.causal_lm import score
from fedquad.rounds import adapters
from fedquad.spec import DataSpec, ModelSpec, TrainingSpec
from fedquad.types import Adapter, Assignment

HERE = Path(__file__).with_suffix(".csv")
LAYERS, ROUNDS = 12, 10
DEPTHS = (1, 2, 4, 8, 12)
SEEDS = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One fine-tuning."""

    start: str = "pretrained"
    depth: int = LAYERS
    seed: int = 0
    steps: int = 100
    batch: int = 16
    learning_rate: float = 1e-2
    examples: int = 3_200
    tested: int = 400


def measure(run: Run, name: str = "mini-decoder") -> dict[str, Any]:
    """Train and test one run; return its row."""
    model = ModelSpec(name=name, max_length=48)
    data = DataSpec(name="mini-chat", train=run.examples, validation=1, test=run.tested)
    with tempfile.TemporaryDirectory() as cache:
        made = tokens.prepare(data, model, run.seed, Path(cache))
        train, test = (tokens.read(Path(made["splits"][split]["path"])) for split in ("train", "test"))
    trainee = load(model, made["labels"], model.rank, made["objective"])
    if run.start == "random":
        _forget(trainee)
    adapter = adapters.initial(trainee.layout, model.rank, run.seed)
    before = _scores(trainee, adapter, test)
    started = time.process_time()
    for number in range(1, ROUNDS + 1):
        adapter = _moved(adapter, _round(trainee, adapter, train, run, number))
    seconds = time.process_time() - started
    after = _scores(trainee, adapter, test)
    found = {
        f"{when}_{key}": round(value[key], 4) for when, value in (("start", before), ("end", after)) for key in value
    }
    return {**asdict(run), **found, "cpu_seconds": round(seconds, 1)}


def _forget(trainee: Trainee) -> None:
    """Put the weights back to where the pre-training began, as many layers as there are."""
    fresh = build_model(Recipe(), trainee.layout.shape.vocabulary, LAYERS).state_dict()
    own = dict(trainee.model.named_parameters())
    for name, value in fresh.items():
        plain = name.removesuffix(".weight").removesuffix(".bias")
        ending = name.removeprefix(plain)
        found = own.get(name, own.get(f"{plain}.base_layer{ending}"))
        if found is not None:
            found.data.copy_(value)


def _round(trainee: Trainee, adapter: Adapter, data: tokens.Encoded, run: Run, number: int) -> Adapter:
    assignment = Assignment(
        device=0,
        present=tuple(range(LAYERS)),
        trained=tuple(range(LAYERS - run.depth, LAYERS)),
        ranks=(trainee.spec.rank,) * LAYERS,
        steps=run.steps // ROUNDS,
        learning_rate=0.5 * run.learning_rate * (1 + float(np.cos(np.pi * (number - 1) / ROUNDS))),
    )
    training, key = TrainingSpec(batch=run.batch), (run.seed, 0, number, 0)
    done = loop.train(trainee, assignment, adapter, data, training=training, key=key, round=number, based_on="")
    if done.report.failure:
        raise RuntimeError(done.report.failure)
    return done.delta


def _moved(adapter: Adapter, delta: Adapter) -> Adapter:
    was, change = adapters.flatten(adapter), adapters.flatten(delta)
    return adapters.unflatten(
        {name: adapters.freeze(value + change.get(name, np.float32(0))) for name, value in was.items()}
    )


def _scores(trainee: Trainee, adapter: Adapter, data: tokens.Encoded) -> dict[str, float]:
    return score(evaluate(trainee, adapter, data, 0, len(data), 200).sums)


def plan() -> list[Run]:
    """Return every run."""
    curve = [Run(depth=depth, seed=seed) for depth, seed in product(DEPTHS, SEEDS)]
    return [*curve, *(Run(start="random", seed=seed) for seed in SEEDS)]


def summarise(rows: list[dict[str, str]]) -> dict[str, float]:
    """Return mean shares of exact answers, in percent."""

    def mean(key: str, **wanted: object) -> float:
        found = [float(r[key]) for r in rows if all(r[name] == str(value) for name, value in wanted.items())]
        return 100 * statistics.mean(found)

    figures = {"before": mean("start_exact_match", start="pretrained")}
    figures |= {f"depth {depth}": mean("end_exact_match", start="pretrained", depth=depth) for depth in DEPTHS}
    return {**figures, "random weights": mean("end_exact_match", start="random")}


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw exact answers over depth, a dot a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="LoRA depth (layers from the output)", ylabel="exact answers of mini-chat, %")
    curve, figures = [row for row in rows if row["start"] == "pretrained"], summarise(rows)
    axes.plot([int(r["depth"]) for r in curve], [100 * float(r["end_exact_match"]) for r in curve], "o", alpha=0.5)
    axes.plot(DEPTHS, [figures[f"depth {depth}"] for depth in DEPTHS], "-", label="pre-trained")
    axes.axhline(figures["random weights"], ls="--", label=f"random weights, depth {LAYERS}")
    axes.axhline(figures["before"], ls=":", color="grey", label="before training")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, keep, draw and print."""
    parser = arguments(__doc__)
    parser.add_argument("--summary", action="store_true", help="only print what the kept rows say")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.summary:
        record("decoder_depth", [measure(run) for run in plan()], as_json=options.json)
    if options.json:
        return
    rows = list(csv.DictReader(HERE.open()))
    draw(rows, HERE.with_suffix(".png"))
    for name, value in summarise(rows).items():
        print(f"{name:<20} {value:6.1f}")


if __name__ == "__main__":
    main()
