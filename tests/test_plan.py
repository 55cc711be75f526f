"""`fedquad plan`: its numbers are the algorithm's, its inputs are refused with file and field."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import fedquad

LAYERS = 12
DEVICES = [
    {"device": "slow", "memory_bytes": 1.6e9, "flops": 2e11},
    {"device": "fast", "memory_bytes": 2.4e9, "flops": 1e12},
    {"device": "tiny", "memory_bytes": 7e8, "flops": 1e12},
    {"device": "none", "memory_bytes": 1e6, "flops": 1e12},
]


@pytest.fixture
def run(capsys: Any, monkeypatch: Any) -> Any:
    return lambda *arguments: fedquad(capsys, monkeypatch, "plan", *map(str, arguments))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    statuses, gradients = tmp_path / "statuses.json", tmp_path / "gradients.json"
    statuses.write_text(json.dumps(DEVICES))
    gradients.write_text(json.dumps([1.05**layer for layer in range(LAYERS)]))
    return statuses, gradients


def by_hand(plan: dict[str, Any], memory: float, speed: float) -> tuple[int, int, str | None]:
    """Algorithm 1 with Eq. 14 from the plan's own constants."""
    k, mean, theta, c = plan["constants"], plan["t_avg"], plan["theta"], plan["c"]
    candidates = []
    for d in range(1, LAYERS + 1):
        a = next((a for a in range(d) if k["m_f"] + k["m_o"] * d - k["m_q"] * a <= memory), None)
        if a is not None:
            t = (k["c_f"] + k["c_d"] * d + k["c_a"] * a) / speed
            candidates.append((sum(plan["gradients"][LAYERS - d :]) / (abs(t - mean) + c), -a, d, t))
    if not candidates:
        return 0, 0, "head" if memory >= k["m_f"] else "skip"
    timely = [one for one in candidates if one[3] <= mean + theta]
    if not timely:
        _, a, d, _ = min(candidates, key=lambda one: one[3])
        return d, -a, "fastest"
    _, a, d, _ = max(timely)
    return d, -a, None


@pytest.mark.parametrize("t_avg", [5, 20, 60, 200])
def test_a_described_fleet_is_planned_as_the_constants_say(run: Any, files: tuple[Path, Path], t_avg: float) -> None:
    statuses, gradients = files
    said = run("--statuses", statuses, "--gradients", gradients, "--t-avg", t_avg, "--json", "--explain", "all")
    plan = said.document
    assert (said.code, said.err) == (0, "")
    assert plan["t_avg"] == t_avg
    assert plan["theta"] == pytest.approx(t_avg / 2)
    for given, device in zip(DEVICES, plan["devices"]):
        expected = by_hand(plan, given["memory_bytes"], given["flops"])  # type: ignore[arg-type]
        assert (device["depth"], device["quantized"], device["fallback"]) == expected
        assert device["peak_bytes"] <= given["memory_bytes"]
        chosen = [one for one in device["candidates"] if one["why"].startswith("chosen")]
        assert [(one["depth"], one["quantized"]) for one in chosen] == ([expected[:2]] if expected[0] else [])
        for one in chosen:
            assert one["seconds"] == pytest.approx(device["seconds"], rel=1e-9)
            gap = abs(one["seconds"] - t_avg) + plan["c"]
            assert one["reward"] == pytest.approx(one["gain"] / gap)


def test_the_first_round_is_vanilla_fedlora(run: Any) -> None:
    plan = run("--round", 1, "--json").document
    assert plan["t_avg"] == 0
    assert all(device["quantized"] == 0 and device["depth"] >= 2 for device in plan["devices"])
    assert plan["rules"]["default"] == plan["rules"]["fedlora"]


def test_the_rules_are_compared_at_every_spread(run: Any) -> None:
    plan = run("--json").document
    assert set(plan["spreads"]) == {"3x", "6x", "20x"}
    for rounds in (plan["rules"], *plan["spreads"].values()):
        assert set(rounds) == {"fedlora", "literal", "default", "deadline", "paced"}
        assert all(one["round_seconds"] >= one["mean_wait_seconds"] >= 0 for one in rounds.values())
    waits = {rule: one["mean_wait_seconds"] for rule, one in plan["spreads"]["20x"].items()}
    assert waits["default"] < waits["fedlora"]


def test_the_plan_in_words_shows_every_device_and_explains_one(run: Any) -> None:
    table, why = run("--set", "fleet.spread=boards"), run("--explain", "8")
    assert (table.code, why.code) == (0, 0)
    assert all(word in table.out for word in ("MODE_30W", "FedLoRA", "deadline", "20x", "roberta-base"))
    assert all(word in why.out for word in ("device 8", "chosen", "does not fit"))


def test_a_campaigns_own_rule_is_planned_with_unless_another_is_asked_for(run: Any) -> None:
    arms = 'arms=[{method: "fedquad:literal"}]'
    literal = run("--json", "--set", arms).document
    assert (literal["rule"], literal["theta"]) == ("literal", None)
    assert run("--json", "--set", arms, "--acs", "deadline").document["rule"] == "deadline"
    by_parameter = "arms=[{method: fedquad, params: {acs: literal, c: 0.5}}]"
    assert (found := run("--json", "--set", by_parameter).document)["rule"] == "literal"
    assert found["c"] == 0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "the fleet is empty"),
        ("{", "line 1 is not JSON"),
        ('[{"device": "a", "memory_bytes": -1, "flops": 1}]', "device a: memory_bytes is -1, but it is not negative"),
        ('[{"device": "a", "memory_bytes": 1, "flops": 0}]', "device a: flops is 0, but it is positive"),
        ('[{"device": "a", "memory_bytes": "2 GB", "flops": 1}]', "memory_bytes is '2 GB', but it is a number"),
        ('[{"device": "a", "flops": 1}]', "device 0: memory_bytes is missing"),
        ('[{"device": "a", "memory_bytes": 1, "flops": 1, "ram": 2}]', "there is no 'ram'"),
        (
            '[{"device": 1, "memory_bytes": 1, "flops": 1}, {"device": "1", "memory_bytes": 1, "flops": 1}]',
            "there twice",
        ),
        ('{"fleet": []}', "statuses are a list"),
        ("[7]", "device 0 is 7"),
    ],
)
def test_a_bad_fleet_is_refused_in_one_line_with_file_and_field(
    run: Any, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    said = run("--statuses", path)
    assert said.code in (3, 4)
    assert said.err.count("\n") == 1
    assert "mine.json" in said.err
    assert message in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--statuses", "nowhere.json"], "--statuses names 'nowhere.json', which cannot be read"),
        (["--t-avg", "-3"], "--t-avg is -3.0"),
        (["--acs", "greedy"], "'greedy'"),
        (["--explain", "77"], "no device (--explain) '77'; there are"),
        (
            ["--set", "fleet.spread=boards", "--set", "fleet.modes={jetson-tx2: [MAXX]}"],
            "no mode (fleet.modes.jetson-tx2) 'MAXX'",
        ),
        (["--set", "fleet.boards={}"], "fleet.boards"),
        (["--set", "fleet.boards={jetson-tx9: 1}"], "no board (fleet.boards) 'jetson-tx9'"),
        (["--set", "cost.priced_as=roberta-large"], "cost.priced_as is 'roberta-large' with 24 layers"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(run: Any, arguments: list[str], message: str) -> None:
    said = run(*arguments)
    assert said.code in (3, 4)
    assert said.err.count("\n") == 1
    assert message in said.err


def test_gradients_of_another_model_are_refused(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    path.write_text("[1, 2]")
    assert "g.json: gradients hold 2 numbers, but the model has 12 layers" in run("--gradients", path).err
    path.write_text("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, -12]")
    assert "gradients[11] is -12" in run("--gradients", path).err


def test_a_paced_plan_deals_out_the_steps_and_ends_together(run: Any) -> None:
    arms = '[{method: "fedquad:paced", params: {merge: mean, power: 0.5}}]'
    plan = run("baselines", "--set", f"arms={arms}", "--json", "--explain", "all").document
    assert plan["rule"] == "paced"
    assert sum(device["steps"] for device in plan["devices"]) == 8 * len(plan["devices"])
    steps = [device["steps"] for device in plan["devices"]]
    assert min(steps) < 8 < max(steps)
    assert plan["rules"]["paced"]["round_seconds"] == pytest.approx(max(d["seconds"] for d in plan["devices"]))
    waits = {name: rule["mean_wait_seconds"] / rule["round_seconds"] for name, rule in plan["rules"].items()}
    assert waits["paced"] == min(waits.values())
    for device in plan["devices"]:
        best = max(device["candidates"], key=lambda one: one["reward"])
        assert best["why"] == "chosen"
    assert "steps" in run("baselines", "--set", f"arms={arms}").out


def test_on_mini_chat_a_device_is_short_of_memory_and_keeps_layers_in_int8(run: Any) -> None:
    plan = run("mini-chat", "--json").document
    k = plan["constants"]
    short = [one for one in plan["devices"] if k["m_f"] + k["m_o"] * one["depth"] > one["memory_bytes"]]
    assert plan["priced_as"] == "mini-decoder"
    assert short
    assert all(one["quantized"] > 0 for one in short)
