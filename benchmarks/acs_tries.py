"""ACS looked at once more: what its inputs do to it, each doubt tried as a method of its own. This file is the method, too.

    python -m benchmarks.acs_tries               # runs what acs_tries.csv lacks, seed by seed; about half an hour on two cores
    python -m benchmarks.acs_tries --summary     # only reads acs_tries.csv

smooth     g_l is noisy: half of what it was is kept each round
forget     a layer that nobody trained keeps its old g for ever: it counts as the nearest layer that was trained in the last round
steady     t_avg chases what it causes: half of what it was is kept each round
anchored   t_avg is what the devices' deepest unquantized configurations take on the mean, whatever was chosen before
begun      the first round, before anything was measured, is planned by gain a second as well, all layers alike (paced only)

The preset `baselines`, five seeds, FedQuad's rule `default` and `paced`, beside themselves unchanged. A row a round and arm. `paced` is
taken as it was then, without its look at who would end late with its fewest steps.
"""

import argparse
import json
from dataclasses import replace

import numpy as np

from fedquad.rounds import acs
from fedquad.rounds.paced import paced
from fedquad.rounds.strategy import Answers, Strategy, World
from fedquad.strategies.fedquad import assignments, describe
from fedquad.types import Adapter, Assignment, Memo, ServerState, Statuses

KEPT_SHARE = 0.5
TRIES = ("", "smooth", "forget", "steady", "anchored", "begun")
NORMS, SECONDS = "before.norms", "before.seconds"


def strategy(rule: str = "default", what: str = "") -> Strategy:
    """FedQuad by this rule with one thing changed."""
    settings = acs.settings(acs=rule)

    def init(master: Adapter, world: World) -> Memo:
        return {NORMS: np.full(world.layers, np.nan), SECONDS: 0.0}

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        there = np.array(statuses.participants, dtype=np.int64)
        devices, constants = describe(statuses, world), world.cost.constants
        norms, seconds = state.gradient_norms, state.mean_seconds
        if what == "smooth":
            norms = smoothed(np.asarray(state.memo[NORMS]), norms)
        if what == "forget" and np.isfinite(norms).any():
            norms = np.where(norms == np.asarray(state.memo[NORMS]), np.nan, norms)
        if what == "steady" and float(state.memo[SECONDS]):
            seconds = KEPT_SHARE * float(state.memo[SECONDS]) + (1 - KEPT_SHARE) * seconds
        if what == "anchored":
            seconds = float(np.mean(acs.choose_unquantized(devices, constants, world.layers).seconds))
        if what == "begun" and not seconds:
            choices = acs.choose_fastest_gain(devices, constants, acs.gains(norms))
        else:
            choices = acs.decide(settings, devices, constants, norms, seconds)
        return assignments(choices, there, world, state.round + 1)

    plain = Strategy(plan=plan, init=init, adapts_depth=True)

    def combine(state: ServerState, answers: Answers, world: World) -> ServerState:
        before, kept = np.asarray(state.memo[NORMS]), float(state.memo[SECONDS])
        norms = smoothed(before, state.gradient_norms) if what == "smooth" else state.gradient_norms
        mean = KEPT_SHARE * kept + (1 - KEPT_SHARE) * state.mean_seconds if kept else state.mean_seconds
        return replace(plain.merge(state, answers, world), memo={NORMS: norms, SECONDS: mean})

    made = replace(plain, combine=combine)
    return paced(made) if rule == "paced" else made


def smoothed(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Both halves where both are known."""
    known = np.isfinite(before) & np.isfinite(now)
    return np.where(known, KEPT_SHARE * before + (1 - KEPT_SHARE) * now, np.where(np.isfinite(now), now, before))


def arms() -> list[dict[str, object]]:
    tries = [("default", what) for what in TRIES[:-1]] + [("paced", what) for what in ("", "smooth", "forget", "begun")]
    return [
        {"method": __file__, "label": f"{rule}-{what or 'unchanged'}", "params": {"rule": rule, "what": what}}
        for rule, what in tries
    ]


def main() -> None:
    from benchmarks import first
    from benchmarks.rows import HERE

    kept = HERE / "acs_tries.csv"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", action="store_true", help="only read the kept rows")
    given = parser.parse_args()
    setting = first.Setting("acs", "fresh", (f"arms={json.dumps(arms())}",))
    for seed in () if given.summary else first.SEEDS:
        if str(seed) not in {row["seed"] for row in first.kept(kept)}:
            first.keep(first.run(setting, seed), kept)
    print("\n".join(first.summary(setting, first.kept(kept))))
    times = first.seconds_to(first.arms_of(setting, first.kept(kept)), setting.targets)
    for label in times:
        plain = f"{label.partition('-')[0]}-unchanged"
        if label != plain and (found := first.speed_up(times[label], times[plain])):
            print(f"  {label} against {plain}: {found[0]:.2f} times sooner, {found[1]:.2f} to {found[2]:.2f}")


if __name__ == "__main__":
    main()
