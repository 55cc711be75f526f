"""Measuring a machine: the fit finds constants that are there, memory is the allocator's to the byte, a profile prices."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import fedquad

from fedquad.errors import SpecError
from fedquad.learn.model import load
from fedquad.learn.profiler import Bench, Case, cases, cpu_peak, measure
from fedquad.prices import fit
from fedquad.prices.cost import cost_model, peak_bytes
from fedquad.prices.fit import Sample
from fedquad.prices.shapes import SHAPES
from fedquad.report import profile_figures
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment

MIB = 2**20
LAYERS = 12


def samples() -> list[Sample]:
    """A machine of which c_f, c_d, c_a = 50, 5, 4 ms and m_f, m_o, m_q = 40, 20, 12 MiB above the model, exactly."""
    found = []
    for case in cases(LAYERS, half=4):
        depth = case.depth or len(case.trained)
        below = sum(layer not in case.trained for layer in range(min(case.trained, default=LAYERS), LAYERS))
        found.append(
            Sample(
                depth=case.depth,
                quantized=case.quantized,
                trained=case.trained,
                batch=case.batch,
                held_out=case.held_out,
                seconds=(50 + 5 * depth + 4 * case.quantized) / 1e3,
                peak_bytes=(40 + 20 * depth - 12 * case.quantized + 17 * (below if case.trained else 0)) * MIB,
            )
        )
    return found


def profile() -> dict[str, Any]:
    facts = fit.profile_facts(samples(), LAYERS, resident_bytes=500 * MIB)
    about = {"model": "roberta-base", "layers": LAYERS, "batch": 32, "sequence": 128, "rank": 8}
    about |= {
        "precision": "fp32",
        "attention": "sdpa",
        "coverage": "full",
        "device": "cpu",
        "resident_bytes": 500 * MIB,
    }
    return {**about, **facts, "samples": [asdict(one) for one in samples()]}


def test_the_fit_finds_the_constants_that_are_there() -> None:
    facts = profile()
    found = facts["constants"]
    assert [1e3 * found[key] for key in ("c_f", "c_d", "c_a")] == pytest.approx([50, 5, 4])
    megabytes = [found[key] / MIB for key in ("m_f", "m_o", "m_q", "frozen", "margin")]
    assert megabytes == pytest.approx([540, 20, 12, 17, 0], abs=1e-6)
    assert facts["errors"] == pytest.approx(dict.fromkeys(facts["errors"], 0), abs=1e-9)


def test_a_pair_that_is_held_out_changes_nothing_but_the_error() -> None:
    spoiled = [replace(one, seconds=2 * one.seconds) if one.held_out else one for one in samples()]
    facts: Any = fit.profile_facts(spoiled, LAYERS, resident_bytes=0)
    assert facts["constants"]["c_d"] == pytest.approx(0.005)
    assert facts["errors"]["seconds"] == pytest.approx(0, abs=1e-9)
    assert facts["errors"]["seconds_held_out"] == pytest.approx(0.5)


def test_noise_never_makes_a_constant_negative() -> None:
    free = [replace(one, seconds=0.05 + 0.005 * one.depth - 0.0001 * one.quantized) for one in samples()]
    found: Any = fit.profile_facts(free, LAYERS, resident_bytes=0)["constants"]
    assert found["c_a"] == 0
    assert found["c_d"] > 0


def test_a_measured_campaign_is_priced_with_the_profiles_constants_and_covers_what_was_measured() -> None:
    spoiled = profile()
    spoiled["constants"]["margin"] = 3.0 * MIB
    spec = CostSpec(sequence=128, quantization="measured", memory="measured", profile="p.json")
    cost = cost_model(SHAPES["roberta-base"], ModelSpec(), TrainingSpec(batch=32), spec, 3, spoiled)
    k = cost.constants
    assert k.c_a / k.c_d == pytest.approx(4 / 5)
    assert [k.m_f / MIB, k.m_o / MIB, k.m_q / MIB] == pytest.approx([543, 20, 12])
    present = tuple(range(LAYERS))
    four = Assignment(
        device=0,
        present=present,
        trained=(8, 9, 10, 11),
        quantized=(8, 9),
        ranks=(8,) * LAYERS,
        steps=1,
        learning_rate=1.0,
    )
    assert peak_bytes(four, cost) == pytest.approx((543 + 4 * 20 - 2 * 12) * MIB, abs=8)
    bottom = replace(four, trained=(0,), quantized=())
    assert peak_bytes(bottom, cost) == pytest.approx((543 + 20 + 11 * 17) * MIB, abs=32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 8}, r"cost\.profile p\.json: batch is 8, but the campaign is priced for 32; run `fedquad profile"),
        ({"model": "mini"}, "model is 'mini', but the campaign is priced for 'roberta-base'"),
        ({"constants": {"c_d": -1}}, r"constants\.c_d is -1, but it is a number that is not negative"),
        ({"constants": {"c_d": 1, "c_a": 1}}, r"constants\.m_f is None"),
    ],
)
def test_a_profile_of_something_else_is_refused_with_file_and_field(change: dict[str, Any], message: str) -> None:
    spec = CostSpec(sequence=128, memory="measured", profile="p.json")
    with pytest.raises(SpecError, match=message):
        cost_model(SHAPES["roberta-base"], ModelSpec(), TrainingSpec(batch=32), spec, 3, {**profile(), **change})


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(load(ModelSpec(name="mini"), 3, 8), batch=4, sequence=16)


def test_the_allocators_peak_is_the_step_and_nothing_else() -> None:
    def step() -> None:
        a = torch.zeros(1000, 256)
        b = a + 1
        del a
        b.sum()

    assert cpu_peak(step) in range(2 * 1_024_000, 2 * 1_024_000 + 1024)


def test_measured_memory_is_linear_in_depth_and_falls_with_quantization(bench: Bench) -> None:
    peaks = [bench.peak_bytes(Case(depth=depth)) for depth in (2, 4, 6)]
    assert peaks[2] - peaks[1] == pytest.approx(peaks[1] - peaks[0], rel=0.01)
    assert bench.peak_bytes(Case(depth=6)) == peaks[2]
    assert bench.peak_bytes(Case(depth=6, quantized=5)) < peaks[2]
    block = bench.peak_bytes(Case(depth=0, trained=(0, 1)))
    assert peaks[0] < block < bench.peak_bytes(Case(depth=12))


def test_every_case_is_measured_whatever_the_budget(bench: Bench) -> None:
    told: list[float] = []
    chosen = (Case(depth=1), Case(depth=3, quantized=2), Case(depth=2, batch=2))
    found = measure(bench, 0.0, chosen, lambda stage, share: told.append(share))
    assert [(one.depth, one.quantized, one.batch) for one in found] == [(1, 0, 0), (3, 2, 0), (2, 0, 2)]
    assert all(one.seconds > 0 and one.peak_bytes > 0 for one in found)
    assert told == sorted(told)
    assert max(told) <= 1


def test_cases_are_valid_for_every_number_of_layers() -> None:
    for layers in (2, 4, 6, 12, 24):
        chosen = cases(layers, half=1)
        assert all(0 <= one.quantized < max(one.depth, 1) <= layers for one in chosen)
        assert all(min(one.trained) >= 0 and max(one.trained) < layers for one in chosen if one.trained)
        fitted = {(one.depth, one.quantized) for one in chosen if not one.held_out and not one.trained}
        assert not fitted & {(one.depth, one.quantized) for one in chosen if one.held_out}


def test_the_figures_are_drawn(tmp_path: Path) -> None:
    profile_figures.save(profile(), tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


def test_a_plan_takes_a_profile(capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(profile()))
    measured = ("cost.memory=measured", "cost.quantization=measured", f"cost.profile={path}")
    options = [part for setting in measured for part in ("--set", setting)]
    # The quickstart prices mini as roberta-base, batch 32, sequence 128: what this profile was made for.
    plan = fedquad(capsys, monkeypatch, "plan", "--json", *options).document
    assert plan["constants"]["c_a"] / plan["constants"]["c_d"] == pytest.approx(0.8)
    assert plan["constants"]["m_o"] == pytest.approx(20 * MIB, abs=1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "tpu"], 3, "--device is 'tpu', but it is cpu or cuda"),
        (["--seq", "5000"], 3, "--seq is 5000, but 'mini' knows 64 positions"),
        (["--batch", "0"], 2, "--batch"),
        (["--attention", "flash"], 3, "model.attention"),
        (["--model", "./nowhere"], 11, "./nowhere"),
    ],
)
def test_what_cannot_be_profiled_is_refused_in_one_line(
    capsys: Any, monkeypatch: Any, arguments: list[str], code: int, message: str
) -> None:
    said = fedquad(capsys, monkeypatch, "profile", *arguments)
    assert said.code == code
    assert message in said.err.splitlines()[-1]
