"""Who is first in time to target, and by how much: nine published methods, and the same with steps by time (`:paced`).

    python -m benchmarks.first                # runs what first.csv lacks, campaign by campaign; hours on two cores
    python -m benchmarks.first --only fresh   # one part of it: fresh, epoch, stale, factors
    python -m benchmarks.first --summary      # only reads first.csv, and draws docs/first.png

fresh     preset `baselines`, 6x, alpha 10, five seeds: fresh examples every round; targets 70, 74 and 76 %
epoch     the same with 64 examples a device, one epoch of 8 steps a round; targets 90, 95 and 98 % of FedLoRA's final accuracy
stale     both once more with the frozen prefix kept for five rounds (training.prefix)
factors   one factor of `fresh` at a time (3x, 20x, alpha 0.5), LEGEND and FedQuad and FedLoRA paced; at alpha 0.5 targets are shares again

A row a round and arm. Times to target are interpolated between evaluations. A speed-up is a seed's own (same split, trace and start), its mean over seeds,
its interval a bootstrap over them. `slow_accuracy` is the final adapter's on the examples that the slowest class of devices holds, `fast_accuracy` on the fastest's.
Seconds are the simulated fleet's, priced as RoBERTa-base.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines import curve
from benchmarks.campaigns import measure
from benchmarks.rows import HERE, provenance
from fedquad.report.evidence import band
from fedquad.report.looks import looks
from fedquad.rounds import statistics

PUBLISHED = (
    "fedlora",
    "fedquad",
    "fedquad_wo_qd",
    "fedquad_wo_ld",
    "fedra",
    "inclusivefl",
    "layersel",
    "hetlora",
    "legend",
)
PACED = ("fedlora:paced", "hetlora:paced", "legend:paced", "fedquad:paced")
OURS, CONTROL, YARDSTICK = "fedquad:paced", "fedlora:paced", "fedlora"
DRAWN = ("fedlora", "fedquad", "legend", CONTROL, "legend:paced", OURS)
SEEDS = (0, 1, 2, 3, 4)
KEPT = HERE / "first.csv"


@dataclass(frozen=True)
class Setting:
    """One comparison: what is changed of the preset `baselines`, and who takes part."""

    part: str
    name: str
    settings: tuple[str, ...] = ()
    methods: tuple[str, ...] = PUBLISHED + PACED
    targets: tuple[float, ...] = (0.70, 0.74, 0.76)
    are_shares: bool = False  # of FedLoRA's final accuracy
    without: str = ""  # the same comparison without a prefix


FEW = ("legend", CONTROL, OURS)  # the best published at 6x and alpha 10, and what steps by time bring
EPOCH = ("data.train=576", "training.steps=null", "rounds=30")
STALE = ("training.prefix=stale",)
SETTINGS = (
    Setting("fresh", "fresh"),
    Setting("epoch", "epoch", EPOCH, targets=(0.90, 0.95, 0.98), are_shares=True),
    Setting("stale", "fresh stale", STALE, without="fresh"),
    Setting("stale", "epoch stale", (*EPOCH, *STALE), targets=(0.90, 0.95, 0.98), are_shares=True, without="epoch"),
    Setting("factors", "3x", ("fleet.spread=3x",), FEW),
    Setting("factors", "20x", ("fleet.spread=20x",), FEW),
    Setting("factors", "alpha 0.5", ("data.alpha=0.5",), (YARDSTICK, *FEW), (0.90, 0.95, 0.98), are_shares=True),
)


def missing(setting: Setting, seed: int, rows: Sequence[dict[str, str]]) -> list[str]:
    """Methods of which there is no row yet."""
    there = {row["label"] for row in rows if row["setting"] == setting.name and row["seed"] == str(seed)}
    return [method for method in setting.methods if method not in there]


def kept(path: Path = KEPT) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open())) if path.exists() else []


def keep(rows: Sequence[dict[str, Any]], path: Path = KEPT) -> None:
    """Append one campaign's rows at once."""
    more = provenance()
    is_new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], *more], lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows({**row, **more} for row in rows)


def run(setting: Setting, seed: int, methods: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One campaign of these methods, or of the arms that the setting lists; a row a round of each arm."""
    held: dict[str, dict[str, float]] = {}
    summary, rows = measure(
        "baselines",
        seeds=str(seed),
        methods=",".join(methods) or None,
        settings=setting.settings,
        look=lambda home: held.update(on_devices(home)),
    )
    if failures := {arm["label"]: arm["failure"] for arm in summary["arms"] if arm["failure"]}:
        raise SystemExit(f"{setting.name}, seed {seed}: {failures}")
    return [{"setting": setting.name, **row, **held[row["label"]]} for row in rows]


def on_devices(home: Path) -> dict[str, dict[str, float]]:
    """Each arm's final accuracy on what the slowest and the fastest class of devices hold."""
    from fedquad.learn import model, peft_folder, tokens
    from fedquad.learn.evaluate import evaluate
    from fedquad.objectives.classification import accuracy
    from fedquad.store.campaign import campaign
    from fedquad.store.files import read_tensors
    from flows.edge import typed

    folder = campaign("baselines")
    spec = typed(folder.stored_spec())
    data = tokens.prepare(spec.data, spec.model, 0, home / "cache")
    examples = tokens.read(Path(data["splits"]["train"]["path"]))
    (path,) = (home / "cache" / "shards").glob("*.safetensors")
    shards = read_tensors(path)
    trainee = model.load(spec.model, data["labels"], 2 * spec.model.rank)
    found = {}
    for arm in folder.arms():
        adapter = peft_folder.read(arm.path / "adapter")
        found[str(arm.description()["label"])] = {
            f"{which}_accuracy": round(
                accuracy(evaluate(trainee, adapter, part, 0, len(part), 128).sums["confusion"]), 4
            )
            for which, part in (
                (which, examples.rows(np.concatenate([shards[str(device)] for device in devices])))
                for which, devices in by_speed(len(shards)).items()
            )
        }
    return found


def by_speed(devices: int) -> dict[str, list[int]]:
    """The preset's boards, a third each, in the order of the spec: AGX Xavier first, TX2 last."""
    third = devices // 3
    return {"slow": list(range(devices - third, devices)), "fast": list(range(third))}


Arms = dict[str, dict[int, list[dict[str, str]]]]  # by method and seed: its rounds


def arms_of(setting: Setting, rows: Sequence[dict[str, str]]) -> Arms:
    found: Arms = {}
    for row in rows:
        if row["setting"] == setting.name:
            found.setdefault(row["label"], {}).setdefault(int(row["seed"]), []).append(row)
    return found


def targets(setting: Setting, arms: Arms) -> tuple[float, ...]:
    """The accuracies that time is taken to."""
    if not setting.are_shares:
        return setting.targets
    final = np.mean([float(rounds[-1]["accuracy"]) for rounds in arms[YARDSTICK].values()])
    return tuple(float(share * final) for share in setting.targets)


def seconds_to(arms: Arms, goals: Sequence[float]) -> dict[str, dict[int, float | None]]:
    """Each method's and seed's seconds, the mean over the targets; none where it missed one of them."""
    found: dict[str, dict[int, float | None]] = {}
    for method, seeds in arms.items():
        times = {seed: [statistics.crossing(curve(rounds), goal) for goal in goals] for seed, rounds in seeds.items()}
        found[method] = {
            seed: None if None in each else float(np.mean([one for one in each if one is not None]))
            for seed, each in times.items()
        }
    return found


def speed_up(of: dict[int, float | None], over: dict[int, float | None]) -> tuple[float, float, float] | None:
    """How many times sooner, paired by seed: the mean, and the interval that holds 95 of 100 bootstrap means."""
    found = statistics.ratios(of, over)
    if found is None:
        return None
    sooner = list(found.values())
    low, high = statistics.interval(sooner, np.random.default_rng(0))  # the draw of the rows that LOG.md tells of
    return float(np.mean(sooner)), low, high


def fastest(times: dict[str, dict[int, float | None]]) -> str:
    """The published method that reaches all targets in all seeds in the least time; empty if none does."""
    means = {
        method: float(np.mean([one for one in seeds.values() if one]))
        for method, seeds in times.items()
        if method in PUBLISHED and None not in seeds.values()
    }
    return min(means, key=lambda method: means[method], default="")


def summary(setting: Setting, rows: Sequence[dict[str, str]]) -> Iterator[str]:
    """What the rows of one setting say, a line a method, then the two comparisons that count."""
    arms = arms_of(setting, rows)
    if not arms or (setting.are_shares and YARDSTICK not in arms):
        return
    goals = targets(setting, arms)
    times = seconds_to(arms, goals)
    yield f"{setting.name}: seconds to {', '.join(f'{100 * goal:.1f}' for goal in goals)} %, {max(map(len, arms.values()))} seeds"
    for method, seeds in arms.items():
        each = [[statistics.crossing(curve(rounds), goal) for rounds in seeds.values()] for goal in goals]
        shown = ["-" if None in one else f"{np.mean([t for t in one if t is not None]):.1f}" for one in each]
        final, slow, fast = (
            100 * np.mean([float(rounds[-1][key]) for rounds in seeds.values()])
            for key in ("accuracy", "slow_accuracy", "fast_accuracy")
        )
        every = [row for rounds in seeds.values() for row in rounds]
        round_seconds, waiting, depth, quantized = (
            np.mean([float(row[key]) for row in every])
            for key in ("round_seconds", "mean_wait_seconds", "mean_depth", "mean_quantized")
        )
        yield (
            f"  {method:15} {' '.join(f'{one:>6}' for one in shown)}  final {final:.1f} (slow {slow:.1f}, fast {fast:.1f})  round {round_seconds:.1f} s, "
            f"waiting {waiting:.1f} s ({100 * waiting / round_seconds:.0f} %), depth {depth:.1f}, INT8 {quantized:.1f}"
        )
    if OURS in times and (best := fastest(times)):
        for other, what in ((best, "the best published"), (CONTROL, "its control")):
            if other in times and (found := speed_up(times[OURS], times[other])):
                mean, low, high = found
                told = ": cannot be told apart" if low <= 1 <= high else ""
                yield f"  {OURS} against {other} ({what}): {mean:.2f} times sooner, {low:.2f} to {high:.2f}{told}"
    yield from without_prefix(setting, arms, rows)


def without_prefix(setting: Setting, arms: Arms, rows: Sequence[dict[str, str]]) -> Iterator[str]:
    """Ours with a kept prefix beside the published methods without one, to the same accuracies."""
    plain = next((one for one in SETTINGS if one.name == setting.without), None)
    others = arms_of(plain, rows) if plain else {}
    if plain is None or YARDSTICK not in others or OURS not in arms:
        return
    goals = targets(plain, others)
    ours, times = seconds_to(arms, goals)[OURS], seconds_to(others, goals)
    if not (best := fastest(times)):
        return
    shared = {seed: ours[seed] for seed in times[best] if seed in ours}
    if found := speed_up(shared, {seed: times[best][seed] for seed in shared}):
        mean, low, high = found
        yield f"  {OURS} with the prefix against {best} without, to {plain.name}'s targets: {mean:.2f} times sooner, {low:.2f} to {high:.2f}, {len(shared)} seeds"


def draw(setting: Setting, rows: Sequence[dict[str, str]], path: Path) -> None:
    """Accuracy against the fleet's time: the mean over the seeds, and for two methods from the least to the greatest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    arms, look = arms_of(setting, rows), looks(DRAWN)
    for label in DRAWN:
        found = band([curve(rounds) for rounds in arms[label].values()])
        assert found is not None
        style = {"color": look[label].light, "linestyle": look[label].line, "marker": look[label].marker}
        axes.plot(found.x, 100 * found.mean, label=label, markersize=4, markevery=6, **style)
        if label in (OURS, "legend"):  # more bands than two hide each other
            axes.fill_between(
                found.x, 100 * found.low, 100 * found.high, color=look[label].light, alpha=0.08, linewidth=0
            )
    for goal in setting.targets:
        axes.axhline(100 * goal, color="0.6", linewidth=0.8, linestyle="--")
    axes.set_xlabel("fleet time, s (priced as roberta-base)")
    axes.set_ylabel("test accuracy, %")
    axes.set_xlim(0, 110)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", action="store_true", help="only read the kept rows")
    parser.add_argument("--only", choices=sorted({setting.part for setting in SETTINGS}), help="one part of it")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="the first so many of the five")
    given = parser.parse_args()
    chosen = [setting for setting in SETTINGS if given.only in (None, setting.part)]
    for seed in () if given.summary else SEEDS[: given.seeds]:
        for setting in chosen:
            if methods := missing(setting, seed, kept()):
                keep(run(setting, seed, methods))
    for setting in chosen:
        print("\n".join(summary(setting, kept())))
    if given.summary:
        draw(SETTINGS[0], kept(), HERE.parent / "docs" / "first.png")


if __name__ == "__main__":
    main()
