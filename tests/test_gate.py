"""Whatever a device leaves, the gate makes an update of it or a failure with its reason in one line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_of_three import adapter, assignment, statuses, world
from fleet_of_three import answer as answered
from fleet_of_three import state as begun
from safetensors.numpy import save

from fedquad import wire
from fedquad.discover import strategy
from fedquad.rounds import adapters, bounds
from fedquad.rounds import round as rounds
from fedquad.rounds.admit import Asked
from fedquad.rounds.bounds import ABSOLUTE
from fedquad.spec import TrainingSpec
from fedquad.store import files, gate
from fedquad.store.gate import Answers, let_in
from fedquad.store.spool import Spool
from fedquad.types import Adapter, Assignment, Update

LIKE = adapter(width=8)
SENT = adapters.digest(LIKE)
STEPS, RATE = 3, 0.1


def asked(device: int = 1, trained: tuple[int, ...] = (0, 1), **other: Any) -> Asked:
    steps = other.pop("steps", STEPS)
    return Asked(assignment=assignment(device, trained, steps=steps), round=1, sent=SENT, like=LIKE, **other)


def right(one: Asked, fill: float = 0.1) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    document, tensors = wire.answer(answered(one.assignment, LIKE, fill))
    return json.loads(json.dumps(document)), dict(tensors)


def leave(folder: Path, one: Asked, document: Any, tensors: Any) -> Path:
    stem = folder / f"device-{one.assignment.device:04d}"
    stem.with_suffix(".json").write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    stem.with_suffix(".safetensors").write_bytes(tensors if isinstance(tensors, bytes) else save(tensors))
    return stem


def test_a_right_answer_is_let_in(tmp_path: Path) -> None:
    one = asked()
    update = let_in(leave(tmp_path, one, *right(one)), one)
    assert update.report.failure == ""
    assert adapters.digest(update.delta) == update.digest


def deep(document: dict[str, Any]) -> bytes:
    text = json.dumps(document)
    return (text[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}").encode()


WRONG: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda d: [], "not an object"),
    (lambda d: None, "not an object"),
    (lambda d: {k: v for k, v in d.items() if k != "report"}, "missing"),
    (lambda d: {**d, "x": 1}, "extra"),
    (lambda d: json.dumps(d)[:-1].encode(), "is not JSON"),
    (lambda d: b"\xff\xfe", "not UTF-8"),
    (lambda d: json.dumps(d).replace('"round": 1', '"round": 1, "round": 1').encode(), "twice"),
    (lambda d: json.dumps({**d, "report": {**d["report"], "seconds": float("nan")}}).encode(), "NaN is no number"),
    (deep, "bytes, more than|brackets|bytes, and at most"),
    (lambda d: {**d, "based_on": None}, "based on is None"),
    (lambda d: {**d, "based_on": "0" * 64}, "is based on adapter"),
    (lambda d: {**d, "device": 2}, "its device is 2"),
    (lambda d: {**d, "device": True}, "its device is True"),
    (lambda d: {**d, "round": 0}, "its round is 0"),
    (lambda d: {**d, "gradient_norms": {"99": 1}}, "not to train"),
    (lambda d: {**d, "gradient_norms": {"-1": 1}}, "not to train"),
    (lambda d: {**d, "gradient_norms": {"1": -1}}, "gradient norm of layer 1 is -1"),
    (lambda d: {**d, "gradient_norms": {"1": 1e308}}, "gradient norm of layer 1"),
    (lambda d: {**d, "signals": {"a": [1, 2]}}, "only a probe"),
    (lambda d: {**d, "report": {**d["report"], "loss": "x"}}, "its loss is 'x'"),
    (lambda d: {**d, "report": {**d["report"], "seconds": 1e308}}, "its seconds"),
    (lambda d: {**d, "report": {**d["report"], "seconds": -1}}, "its seconds"),
    (lambda d: {**d, "report": {**d["report"], "examples": 1.5}}, "its examples"),
    (lambda d: {**d, "report": {**d["report"], "examples": 10**400}}, "its examples|not JSON"),
    (lambda d: {**d, "report": {**d["report"], "lora_norm": -1}}, "LoRA norm"),
    (lambda d: {**d, "report": {**d["report"], "failure": "x" * 9999}}, "its failure"),
    (lambda d: {**d, "delta": "0" * 64}, "have digest"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_a_wrong_answer_is_that_devices_failure(
    change: Callable[[dict[str, Any]], Any], reason: str, tmp_path: Path
) -> None:
    one = asked()
    document, tensors = right(one)
    refused(let_in(leave(tmp_path, one, change(document), tensors), one), reason)


def refused(update: Update, reason: str) -> None:
    import re

    assert update.is_refused
    assert re.search(reason, update.report.failure), update.report.failure
    assert "\n" not in update.report.failure
    assert len(update.report.failure) < 400
    assert update.delta.layers == {}


FIRST = "layers.0.q.a"
BAD: list[tuple[Callable[[dict[str, np.ndarray]], Any], str]] = [
    (lambda t: save(t)[:-4], "cut short"),
    (lambda t: save(t) + b"more", "lie behind|bytes, and at most"),
    (lambda t: save(t)[:20], "cut short"),
    (lambda t: b"", "cut short"),
    (lambda t: t | {FIRST: t[FIRST].astype(np.float16)}, "dtype 'F16'"),
    (lambda t: save(t).replace(b'"F32"', b'"BF16"', 1), "bytes|dtype"),
    (lambda t: {("layers.0.q" if k == FIRST else k): v for k, v in t.items()}, "not the name|digest"),
    (lambda t: {k: v for k, v in t.items() if k != FIRST}, "digest|only factor"),
    (lambda t: t | {"layers.7.q.a": t[FIRST]}, "digest|more than"),
    (lambda t: t | {FIRST: t[FIRST][:1]}, "digest"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_wrong_tensors_are_that_devices_failure(
    change: Callable[[dict[str, np.ndarray]], Any], reason: str, tmp_path: Path
) -> None:
    one = asked()
    document, tensors = right(one)
    refused(let_in(leave(tmp_path, one, document, change(tensors)), one), reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: {**d, FIRST: np.full_like(d[FIRST], np.nan)}, "NaN or Inf"),
        (lambda d: {("layers.0.q" if k == FIRST else k): v for k, v in d.items()}, "not the name"),
        (lambda d: {k: v for k, v in d.items() if k != FIRST}, "only factor"),
        (lambda d: {**d, FIRST: d[FIRST][:, :1]}, "shape"),
        (lambda d: {k: v for k, v in d.items() if not k.startswith("head")}, "its head"),
        (lambda d: {k: v for k, v in d.items() if not k.startswith("layers.0")}, "missing"),
    ],
)
def test_a_delta_that_was_not_asked_for_is_refused_though_its_digest_is_right(
    change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], reason: str, tmp_path: Path
) -> None:
    one = asked()
    document, tensors = right(one)
    changed = change(tensors)
    document["delta"] = adapters.tensors_digest(changed)
    refused(let_in(leave(tmp_path, one, document, changed), one), reason)


def test_files_that_are_none_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    one = asked()
    document, tensors = right(one)
    (tmp_path / "elsewhere").write_bytes(save(tensors))
    kinds: dict[str, Callable[[Path], object]] = {
        "fifo": os.mkfifo,
        "folder": os.mkdir,
        "link": lambda path: path.symlink_to(tmp_path / "elsewhere"),
        "device": lambda path: path.symlink_to("/dev/zero"),
        "sparse": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2 * 10**9),
        "absent": lambda path: None,
    }
    for suffix in (".json", ".safetensors"):
        for make in kinds.values():
            stem = leave(tmp_path, one, document, tensors)
            stem.with_suffix(suffix).unlink()
            make(stem.with_suffix(suffix))
            began = time.monotonic()
            refused(let_in(stem, one), "cannot be read")
            assert time.monotonic() - began < 1
            if stem.with_suffix(suffix).is_dir() and not stem.with_suffix(suffix).is_symlink():
                stem.with_suffix(suffix).rmdir()
            else:
                stem.with_suffix(suffix).unlink(missing_ok=True)


def test_what_lies_in_an_answers_way_goes(tmp_path: Path) -> None:
    """A folder or a link at an answer's name, or at its temporary one, ends nothing and is not followed."""
    (tmp_path / "precious").write_text("mine")
    spool = Spool(tmp_path / "spool")
    for make in (lambda path: (path / "deep").mkdir(parents=True), lambda path: path.symlink_to(tmp_path / "precious")):
        for name in ("device-0001.json", f".device-0001.json.{os.getpid()}.tmp"):
            spool.clear()
            spool.path.mkdir()
            make(spool.path / name)
            spool.put("device", 1, b"{}")
            assert (spool.path / "device-0001.json").read_bytes() == b"{}"
    assert (tmp_path / "precious").read_text() == "mine"
    spool.clear()
    (tmp_path / "elsewhere").mkdir()
    spool.path.symlink_to(tmp_path / "elsewhere")
    spool.clear()
    spool.put("device", 1, b"{}")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_file_that_grows_while_it_is_read_is_not_read_beyond_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, looked = tmp_path / "growing", os.fstat
    path.write_bytes(b"x" * 50)

    def then_it_grows(handle: int) -> os.stat_result:
        found = looked(handle)
        with open(path, "ab") as file:
            file.write(b"x" * 10**6)
        return found

    monkeypatch.setattr("fedquad.store.files.os.fstat", then_it_grows)
    assert files.read_bytes(path, 100) == b"x" * 50


def test_a_survey_passes_the_same_gate(tmp_path: Path) -> None:
    one = asked(steps=0)
    document = json.loads(json.dumps(wire.answer(wire.failed(1, 1, SENT, ""))[0]))
    assert let_in(leave(tmp_path, one, {**document, "signals": {"g": [1, 2]}}, {}), one).signals["g"].tolist() == [1, 2]
    for signals in ({"g": [1]}, {"g": [1, "x"]}, {"g": [1, 1e300]}, [], {str(i): [1, 2] for i in range(99)}):
        refused(let_in(leave(tmp_path, one, {**document, "signals": signals}, {}), one), "signal|brackets")


def test_seconds_beyond_the_servers_own_clock_are_refused(tmp_path: Path) -> None:
    one = asked(waited=10.0)
    document, tensors = right(one)
    for seconds, is_taken in ((9.0, True), (11.0, True), (100.0, False)):
        document["report"]["seconds"] = seconds
        update = let_in(leave(tmp_path, one, document, tensors), one)
        assert (update.report.failure == "") is is_taken
    assert "by the server's clock" in update.report.failure
    assert update.report.seconds == 10.0  # the time it was waited for


def test_a_failure_is_one_line_whatever_the_device_wrote(tmp_path: Path) -> None:
    one = asked()
    document = wire.answer(wire.failed(1, 1, SENT, "no\nmemory\x1b[31m\x00"))[0]
    update = let_in(leave(tmp_path, one, document, b""), one)
    assert update.report.failure == "no memory [31m"
    assert not update.is_refused  # it failed, and says so


KNOWN = world(training=TrainingSpec(steps=STEPS, learning_rate=RATE))


def a_round(fills: dict[int, float], state: Any = None, quorum: float = 0.3) -> tuple[rounds.Outcome, Any]:
    """One round of devices that move every number they train by so much."""
    state = begun(LIKE) if state is None else state
    made = replace(strategy("fedlora"), plan=lambda s, there, w, r: tuple(planned(device) for device in fills))
    two = replace(KNOWN, layers=2)
    plan = rounds.plan_round(made, state, statuses([10**12] * 3), two, seed=0)
    updates = [
        replace(answered(planned(device), LIKE, fill, round=plan.round), based_on=SENT)
        for device, fill in fills.items()
    ]
    sent = dict.fromkeys(fills, SENT)
    return rounds.finish_round(made, state, plan, sent, updates, two, quorum=quorum), state


def planned(device: int) -> Assignment:
    return assignment(device, (0, 1), steps=STEPS)


def test_one_that_goes_a_million_times_as_far_is_refused_and_the_others_count() -> None:
    outcome, _ = a_round({0: 1e-6, 1: 1e-6, 2: 1.0})
    assert outcome.answered == 2
    assert "training.update_bound times the median" in outcome.failures[2]
    outcome, _ = a_round({0: 1e-6, 1: 1e-6, 2: 5e-5})
    assert outcome.answered == 3


def test_what_adamw_cannot_do_is_refused_without_anybody_to_compare_with() -> None:
    outcome, _ = a_round({0: 3e38})
    assert outcome.answered == 0
    assert "what AdamW can do" in outcome.failures[0]
    assert a_round({0: 3.2 * RATE * STEPS})[0].answered == 1
    assert a_round({0: 1.1 * ABSOLUTE * RATE * STEPS})[0].answered == 0


def test_the_last_rounds_are_remembered() -> None:
    outcome, _ = a_round({0: 1e-6, 1: 1e-6, 2: 1e-6})
    assert np.isfinite(outcome.state.norms[-1]).all()
    assert np.isnan(outcome.state.norms[:-1]).all()
    state = replace(begun(LIKE), norms=np.full((bounds.ROUNDS_KEPT, 3), 1e-6))
    alone = a_round({0: 0.1}, state)[0]
    assert alone.answered == 0
    assert "median" in alone.failures[0]


def test_an_unsound_merge_is_a_failed_round_and_nothing_is_kept_of_it() -> None:
    state = begun(LIKE)
    made = replace(
        strategy("fedlora"),
        plan=lambda s, there, w, r: (planned(0),),
        apply=lambda s, totals, w: replace(s, adapter=scaled(s.adapter, 1e6)),
    )
    two = replace(KNOWN, layers=2)
    plan = rounds.plan_round(made, state, statuses([10**12] * 3), two, seed=0)
    updates = [replace(answered(planned(0), LIKE, 0.1), based_on=SENT)]
    outcome = rounds.finish_round(made, state, plan, {0: SENT}, updates, two, quorum=0.5)
    assert not outcome.is_quorate
    assert "norm" in outcome.unsound
    assert outcome.state.adapter is state.adapter
    assert outcome.state.clock_seconds > 0


def scaled(of: Adapter, factor: float) -> Adapter:
    return adapters.unflatten({name: (array * np.float32(factor)) for name, array in adapters.flatten(of).items()})


def test_who_is_refused_twice_running_sits_out_if_the_fleet_is_so_strict() -> None:
    state = begun(LIKE)
    two = replace(KNOWN, layers=2, suspend_rounds=2)
    made = replace(strategy("fedlora"), plan=lambda s, there, w, r: tuple(planned(d) for d in there.participants))
    asked_of = []
    for _ in range(6):
        there = rounds.without_suspended(statuses([10**12] * 3), state)
        asked_of.append(there.participants)
        plan = rounds.plan_round(made, state, there, two, seed=0)
        fills = {a.device: 1.0 if a.device == 2 else 1e-6 for a, _ in plan.asked}
        sent = dict.fromkeys(fills, adapters.digest(state.adapter))
        updates = [
            replace(answered(planned(device), LIKE, fill, round=plan.round), based_on=sent[device])
            for device, fill in fills.items()
        ]
        state = rounds.finish_round(made, state, plan, sent, updates, two, quorum=0.5).state
    assert [2 in who for who in asked_of] == [True, True, False, False, True, True]


def test_an_answer_to_a_survey_that_is_refused_counts_as_well() -> None:
    state, two = begun(LIKE), replace(KNOWN, layers=2, suspend_rounds=2)
    asks = replace(
        strategy("fedlora"),
        survey=lambda s, there, w: tuple(replace(planned(d), steps=0) for d in there.participants),
        plan=lambda s, there, w, r: (planned(0),),
    )
    asked_of = []
    for _ in range(5):
        there = rounds.without_suspended(statuses([10**12] * 3), state)
        asked_of.append(there.participants)
        wanted = rounds.plan_survey(asks, state, there, two)
        probed = [
            wire.failed(a.device, 1, SENT, "not as asked", 1.0, is_refused=a.device == 2)
            if a.device
            else answered(a, LIKE, 0.0)
            for a, _ in wanted
        ]
        there, probes = rounds.surveyed(there, wanted, probed)
        plan = rounds.plan_round(asks, state, there, two, seed=0, surveyed=probes)
        update = answered(planned(0), state.adapter, 1e-6, round=plan.round)
        sent = {0: adapters.digest(state.adapter)}
        state = rounds.finish_round(asks, state, plan, sent, [replace(update, based_on=sent[0])], two, quorum=0.5).state
    assert [2 in who for who in asked_of] == [True, True, False, False, True]
    assert all(1 in who for who in asked_of), "one that was lost is not one that was refused"


def test_an_update_that_changes_between_two_readings_is_left_out_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "KEPT_BYTES", 0)
    one = asked()
    stem = leave(tmp_path, one, *right(one))

    class Changing(Answers):
        readings = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            self.readings += 1
            if self.readings == 3:  # asked whether it can be read again, read, read again
                document, tensors = right(one, fill=0.2)
                leave(tmp_path, one, document, tensors)
            return super().__iter__()

    made = replace(strategy("fedlora"), plan=lambda s, there, w, r: (one.assignment,))
    two, state = replace(KNOWN, layers=2), begun(LIKE)
    plan = rounds.plan_round(made, state, statuses([10**12] * 3), two, seed=0)
    outcome = rounds.finish_round(made, state, plan, {1: SENT}, Changing(tmp_path, (one,), "device"), two, quorum=0.5)
    assert stem.with_suffix(".json").exists()
    assert outcome.answered == 0
    assert "changed while they were read" in outcome.failures[1]


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (2.5, 2), (9, 3)])
def test_the_first_updates_that_fit_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: float, kept: int
) -> None:
    every = tuple(replace(asked(), assignment=replace(asked().assignment, device=device)) for device in (1, 2, 3))
    for one in every:
        leave(tmp_path, one, *right(one))
    monkeypatch.setattr(gate, "KEPT_BYTES", int(room * every[0].tensor_bytes()))
    answers = Answers(tmp_path, every, "device")
    halfway = iter(answers)
    next(halfway)  # another reader, stopped at the first
    before, after = list(answers), [next(halfway), *answers]
    assert not any(update.report.failure for update in [*before, *after])
    assert [one is other for one, other in zip(before, after[1:])] == [True] * kept + [False] * (3 - kept)


def test_reading_takes_no_more_memory_than_one_update(tmp_path: Path) -> None:
    """A 20 GB file is refused with 1 GB of address space."""
    one = asked()
    stem = leave(tmp_path, one, *right(one))
    os.truncate(stem.with_suffix(".safetensors"), 20 * 10**9)
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_gate import asked, let_in
resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9, 3 * 10**9))
print(let_in(Path({str(stem)!r}), asked()).report.failure)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "at most" in done.stdout, done.stderr
