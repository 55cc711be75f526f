"""Killed at random moments of the round loop and the store, a campaign that goes on ends with the same bits as one never stopped.

Everything is real here but the device: it answers with a delta drawn from the key that a real one seeds its training with.
"""

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROUNDS = 6
LOOP = """
    import sys
    from dataclasses import replace
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    import numpy as np
    from fleet_of_three import memory_of_depth, layout, pricing, statuses, world
    from fedquad.rounds import adapters, facts
    from fedquad import discover, rng
    from fedquad.rounds import round as rounds
    from fedquad.rounds.prefix import remembered
    from fedquad.store.arm import ArmFolder
    from fedquad.types import Adapter, Lora, Report, Update

    def device(assignment, sent, number, attempt):
        draw = rng.stream(0, attempt, number, assignment.device)
        like = lambda array: draw.normal(size=array.shape).astype(np.float32)
        layers = {l: {t: Lora(like(p.a), like(p.b)) for t, p in sent.layers[l].items()} for l in assignment.trained}
        norms = {l: float(draw.random()) for l in assignment.trained}
        head = {name: like(array) for name, array in sent.head.items()}
        report = Report(examples=5, seconds=float(draw.random()), loss=0.5)
        return Update(device=assignment.device, round=number, based_on=adapters.digest(sent), delta=Adapter(layers=layers, head=head),
                      gradient_norms=norms, report=report)

    cost = pricing()
    there = world(cost)
    training = replace(there.training, prefix="stale", prefix_rounds=4)  # whose memo is the greatest there is
    strategy, there = remembered(discover.strategy("fedlora"), training), replace(there, training=training)
    fleet = statuses([memory_of_depth(cost, d) for d in (3, 7, 12)])
    about = {"label": "fedlora", "method": "fedlora", "params": {}, "seed": 0, "digests": {}, "inputs": {}}
    arm = ArmFolder(Path(sys.argv[1])).begin(about)
    state = arm.latest() or rounds.begin(strategy, adapters.initial(layout(layers=12), 8, seed=0), there)
    print("running", flush=True)
    while state.round < int(sys.argv[3]):
        plan = rounds.plan_round(strategy, state, fleet, there, seed=0)
        sent = {a.device: strategy.send(state, a, there) for a, _ in plan.asked}
        updates = (device(a, sent[a.device], plan.round, 0) for a, _ in plan.asked)
        outcome = rounds.finish_round(strategy, state, plan, {d: adapters.digest(s) for d, s in sent.items()}, updates, there, quorum=0.5)
        state = outcome.state
        scores = facts.Scores(score=0.5, loss=1.0, validation_score=0.5, validation_loss=1.0)
        arm.commit(state, facts.round_facts(plan, outcome, fleet, scores, {}).to_json())
    """


def start(folder: Path, rounds: int = ROUNDS) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", textwrap.dedent(LOOP), str(folder), str(Path(__file__).parent), str(rounds)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def digests(folder: Path) -> list[str]:
    from fedquad.store.arm import ArmFolder

    return [r["state_digest"] for r in ArmFolder(folder).rounds()]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], float]:
    """The digests of a run that nobody stopped, and how long its rounds took."""
    folder = tmp_path_factory.mktemp("unbroken")
    process = start(folder)
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic()
    assert process.wait() == 0
    return digests(folder), time.monotonic() - began


@pytest.mark.parametrize("trial", range(8))
def test_a_killed_campaign_ends_like_one_never_stopped(
    trial: int, unbroken: tuple[list[str], float], tmp_path: Path
) -> None:
    expected, seconds = unbroken
    process = start(tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(random.Random(trial).uniform(0, seconds))
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = digests(tmp_path)
    assert start(tmp_path).wait() == 0
    assert before == expected[: len(before)]
    assert digests(tmp_path) == expected
    assert len(expected) == ROUNDS
