"""Everything worth keeping of a round, and the summary of a campaign: the only things that are stored, tracked and reported.

`*_seconds` are the fleet's (virtual when it is simulated); the wall-clock of this machine is kept apart under `wall_*`.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from fedquad.objective import ACCURACY, Metric
from fedquad.rounds import adapters, comparison
from fedquad.rounds.round import Outcome, Plan
from fedquad.types import ServerState, Statuses

SCHEMA = 2
SCORED = (
    "score",
    "loss",
    "validation_score",
    "validation_loss",
)  # of every round; the other figures where they are asked for
LOCKED_ROUNDS = 5  # of one depth for all, after which a method that adapts depth is said not to
ROUND_FIGURES = (
    "round", "score", "loss", "round_seconds", "elapsed_seconds", "mean_wait_seconds", "upload_bytes", "download_bytes",
    "energy_joules", "memory_violations", "participants", "failures", "mean_depth", "mean_quantized",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How good the merged model is: tables use `score` (test split), the best round is chosen by `validation_score`."""

    score: float  # by the metric the campaign is judged by
    loss: float | None  # None when it is not finite
    validation_score: float
    validation_loss: float | None
    spread: float | None = None  # of the devices' scores about their mean, where devices score
    prefix_drift: float | None = None  # how far off what devices keep is, where that is asked
    metrics: Mapping[str, float] = field(default_factory=dict)  # by name, that one among them
    validation_metrics: Mapping[str, float] = field(default_factory=dict)

    def named(self) -> dict[str, float]:
        """Every metric of both splits by its name in a line of rounds.jsonl."""
        return {**self.metrics, **{f"validation_{name}": value for name, value in self.validation_metrics.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFacts:
    """One finished round; a line of rounds.jsonl."""

    round: int
    attempt: int
    scores: Scores
    train_loss: float | None
    round_seconds: float
    elapsed_seconds: float
    mean_wait_seconds: float
    mean_seconds: float
    upload_bytes: int
    download_bytes: int
    energy_joules: float
    memory_violations: int
    participants: int  # devices that were asked
    failures: int  # devices planned for that gave no update
    head_only: int  # devices with room for no layer, which train the head alone
    sitting_out: int = 0  # devices that could be asked, but that the method has no work for
    mean_depth: float
    mean_quantized: float
    holders: tuple[int, ...]  # n_l: devices that trained each layer
    gradient_norms: tuple[float | None, ...]  # None where nobody has trained the layer yet
    assignments: tuple[Mapping[str, Any], ...]
    survey: tuple[
        Mapping[str, Any], ...
    ] = ()  # who was asked to measure before planning, how long it took, why it failed
    state_digest: str
    adapter_digest: str
    wall_train_seconds: float = 0.0
    wall_evaluate_seconds: float = 0.0
    wall_round_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """A flat line; each metric goes by its name, and what is not always looked at is in it where it was."""
        line = {one.name: getattr(self, one.name) for one in fields(self)}  # asdict would copy every assignment
        line.pop("scores")
        known = {"round": line.pop("round"), "attempt": line.pop("attempt")}
        known |= {
            key: value
            for key, value in asdict(self.scores).items()
            if key not in ("metrics", "validation_metrics") and (key in SCORED or value is not None)
        }
        return known | self.scores.named() | line


def state_digest(state: ServerState) -> str:
    """Digest of what training computed: adapter, memo and gradient norms. Times are left out: a real fleet's differ by nature."""
    memo = {f"memo.{name}": np.asarray(value) for name, value in state.memo.items()}
    return adapters.tensors_digest({**adapters.flatten(state.adapter), **memo, "gradient_norms": state.gradient_norms})


def round_facts(
    plan: Plan,
    outcome: Outcome,
    statuses: Statuses,
    scores: Scores,
    walls: Mapping[str, float],
    told: Mapping[int, Mapping[str, Any]] = MappingProxyType({}),
) -> RoundFacts:
    """Gather a round's figures from what was planned, what came back and how it scored.

    `told` is what a real fleet says of each device's run: its id, its times, what the device reported before it.
    """
    asked = plan.asked
    depths = [len(a.trained) for a, _ in asked]
    losses = [loss for loss in outcome.losses.values() if math.isfinite(loss)]
    layers = len(outcome.state.gradient_norms)
    answered = [a for a, _ in asked if a.device not in outcome.failures]
    waits = _waits(plan, outcome)
    spent = [*(e for _, e in asked), *(probe.estimate for probe in plan.survey)]
    idle = sum(float(statuses.idle_watts[device]) * wait for device, wait in waits.items())
    return RoundFacts(
        round=plan.round,
        attempt=plan.attempt,
        scores=scores,
        train_loss=float(np.mean(losses)) if losses else None,
        round_seconds=outcome.timing.round_seconds,
        elapsed_seconds=outcome.state.clock_seconds,
        mean_wait_seconds=outcome.timing.mean_wait_seconds,
        mean_seconds=outcome.timing.mean_seconds,
        upload_bytes=sum(e.upload_bytes for a, e in asked if a.device not in outcome.failures)
        + sum(probe.estimate.upload_bytes for probe in plan.survey if not probe.failure),
        download_bytes=sum(e.download_bytes for e in spent),
        energy_joules=sum(e.joules for e in spent) + idle,
        memory_violations=len(plan.over_memory),
        participants=len(asked),
        failures=len(outcome.failures),
        head_only=sum(not a.trained for a in plan.assignments),
        sitting_out=len(statuses.participants) - len(plan.assignments),
        mean_depth=float(np.mean(depths)) if depths else 0.0,
        mean_quantized=float(np.mean([len(a.quantized) for a, _ in asked])) if asked else 0.0,
        holders=tuple(sum(layer in a.trained for a in answered) for layer in range(layers)),
        gradient_norms=tuple(float(n) if math.isfinite(n) else None for n in outcome.state.gradient_norms),
        assignments=tuple(_rows(plan, outcome, statuses, told)),
        survey=tuple({"device": p.assignment.device, "seconds": p.seconds, "failure": p.failure} for p in plan.survey),
        state_digest=state_digest(outcome.state),
        adapter_digest=adapters.digest(outcome.state.adapter),
        **walls,
    )


def _waits(plan: Plan, outcome: Outcome) -> dict[int, float]:
    """Seconds that each asked device waited for the others, its survey counted as work."""
    surveyed = {probe.assignment.device: probe.seconds for probe in plan.survey}
    busy = {a.device: surveyed.get(a.device, 0.0) + outcome.seconds.get(a.device, 0.0) for a, _ in plan.asked}
    return {device: outcome.timing.round_seconds - seconds for device, seconds in busy.items()}


def _rows(
    plan: Plan, outcome: Outcome, statuses: Statuses, told: Mapping[int, Mapping[str, Any]]
) -> Iterable[dict[str, Any]]:
    waits = _waits(plan, outcome)
    cohort_of = plan.cohort_of
    for a, estimate in zip(plan.assignments, plan.estimates):
        seconds = outcome.seconds.get(a.device, 0.0)
        status = statuses[a.device]
        yield {
            "device": a.device,
            "class": status.device_class,
            "board": status.board,
            "mode": status.mode,
            "memory_bytes": status.memory_bytes,
            "present": list(a.present),
            "trained": list(a.trained),
            "quantized": list(a.quantized),
            "ranks": list(a.ranks),
            **({"prefix": a.prefix, "known": a.known} if a.prefix else {}),
            **({"cohort": cohort_of[a.device]} if a.device in cohort_of else {}),
            **(dict(zip(("hits", "misses"), outcome.prefixes[a.device])) if a.device in outcome.prefixes else {}),
            "seconds": seconds,
            "wait_seconds": waits[a.device] if a.device in outcome.seconds else 0.0,
            "predicted_seconds": estimate.seconds,
            "peak_bytes": estimate.peak_bytes,
            "failure": outcome.failures.get(a.device, ""),
            **({"run": dict(told[a.device])} if told.get(a.device) else {}),
        }


def locked_depth(last: Collection[Mapping[str, Any]]) -> int | None:
    """The depth that all devices had in each of the last LOCKED_ROUNDS rounds, if it was one: such a fleet trains as FedLoRA does."""
    depths = {len(row["trained"]) for facts in last for row in facts["assignments"]}
    is_fleet = all(len(facts["assignments"]) > 1 for facts in last)
    return depths.pop() if len(last) == LOCKED_ROUNDS and is_fleet and len(depths) == 1 else None


def arm_summary(
    label: str,
    method: str,
    params: Mapping[str, Any],
    seed: int,
    rounds: Sequence[Mapping[str, Any]],
    start: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
    metric: Metric = ACCURACY,
    metrics: Sequence[str] = (ACCURACY.name,),
) -> dict[str, Any]:
    """An arm's part of summary.json, from its rounds as stored; the target's figures are added by `summary`."""
    scores = [r["score"] for r in rounds]
    accuracies = [r["accuracy"] for r in rounds if "accuracy" in r]
    return {
        "label": label,
        "method": method,
        "params": dict(params),
        "seed": seed,
        "start": start,  # what all arms of the seed begin with; None in campaigns older than this
        "digests": dict(digests or {}),
        "rounds": [{key: r[key] for key in (*ROUND_FIGURES, *(name for name in metrics if name in r))} for r in rounds],
        "best_score": metric.best(scores),
        "final_score": scores[-1] if scores else None,
        **(
            {"best_accuracy": max(accuracies, default=None), "final_accuracy": accuracies[-1] if accuracies else None}
            if ACCURACY.name in metrics
            else {}
        ),
        "seconds_to_target": None,
        "rounds_to_target": None,
        "mean_wait_seconds": float(np.mean([r["mean_wait_seconds"] for r in rounds])) if rounds else None,
        "state_digest": rounds[-1]["state_digest"] if rounds else None,
        "failure": "",
    }


def summary(
    campaign: str,
    arms: Sequence[Mapping[str, Any]],
    target: float | None,
    digests: Mapping[str, str],
    metric: Metric = ACCURACY,
    **more: Any,
) -> dict[str, Any]:
    """summary.json: every arm against the target, which is, unless set, the least of the arms' best scores."""
    found = comparison.of_one_campaign(arms, target, metric)
    goal = found["targets"][0]["target"] if found["targets"] else target
    reached = comparison.at_target(arms, goal, metric=metric)
    return {
        "schema": SCHEMA,
        "campaign": campaign,
        "metric": metric.to_json(),
        "target": goal,
        **({"target_accuracy": goal} if metric.name == ACCURACY.name else {}),
        "digests": dict(digests),
        "arms": reached,
        "speedups": speedups(reached) if found["targets"] else {},
        "comparison": found,
        **more,
    }


def speedups(arms: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """How many times sooner the arm `fedquad` reaches the target than each other arm; mean over the seeds both reached it with."""
    by_label: dict[str, dict[int, float | None]] = {}
    for arm in arms:
        by_label.setdefault(arm["label"], {})[arm["seed"]] = arm["seconds_to_target"]
    ours = by_label.pop("fedquad", None)
    if ours is None:
        return {}
    result: dict[str, float | None] = {}
    for label, times in by_label.items():
        ratios = [seconds / mine for seed, seconds in times.items() if seconds is not None and (mine := ours.get(seed))]
        result[label] = float(np.mean(ratios)) if ratios else None
    return result
