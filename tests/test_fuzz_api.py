"""Whatever a form or the API asks for: methods by name, folders set apart, a name that is one, or a refusal in one line.

tests/corpus/parameters holds the smallest of what was found.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handmade import home_is
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz_spec import KEYS, LONGEST_LINE, bounded

from fedquad import discover
from fedquad.errors import SpecError
from fedquad.spec import MOST_BATCH, MOST_DEVICES, MOST_RANK, MOST_ROUNDS, MOST_TOKENS, NAME, CampaignSpec
from flows import admission, edge

CORPUS = sorted((Path(__file__).parent / "corpus" / "parameters").glob("*.json"))
PATHS = [
    "..", "../..", "/etc", "/etc/passwd", "~", "~/x", "~nobody-of-that-name/x", "a/../../b", "%2e%2e/etc", "file:///etc", "a\0b", "/" + "x" * 5000,
    "x" * 300, "./evil.py", "/tmp/evil.py:a", "evil.py:", "a\nb", "\ud800", "-rf", "HOME/data/mine", "HOME/data/../x", "HOME/data/out", "HOME/data/loop/x",
    "mini", "mini-nli", "FacebookAI/roberta-base", "fedlora", "fedquad", "fedlora:oracle", "", ".",
]  # fmt: skip
SCALARS = st.one_of(
    st.sampled_from(PATHS), st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.just(10**400)
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
TEXT_KEYS = ["data.source", "data.name", "model.name", "cost.profile", "fleet.trace", "arms.fedquad.method"]
METHODS = ["fedlora", "fedlora:oracle", "fedquad:deadline", "legend:paced"]
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "name": SCALARS,
        "methods": st.lists(st.sampled_from(METHODS), max_size=3, unique=True) | st.lists(st.sampled_from(PATHS), max_size=3) | ANYTHING,
        "rounds": st.integers(0, 9) | SCALARS,
        "seeds": st.lists(st.integers(0, 9), unique=True) | st.lists(st.integers()) | ANYTHING,
        "settings": st.dictionaries(st.sampled_from(TEXT_KEYS) | st.sampled_from(KEYS) | st.text(max_size=8), ANYTHING, max_size=3),
        "spec": st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=3),
    },
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("api") / "home"
        home_is(home, patch)
        patch.delenv("FEDQUAD_FOLDERS", raising=False)
        (home / "data" / "mine").mkdir(parents=True)
        (home / "data" / "out").symlink_to("/etc")
        (home / "data" / "loop").symlink_to("loop")
        yield home


def is_a_line(said: str) -> None:
    assert said.strip()
    assert said.isprintable()
    assert len(said) < LONGEST_LINE


def ask(parameters: dict[str, Any], home: Path) -> bool:
    """Whether it is admitted; what is admitted asks for nothing it must not, what is refused is so in a line."""
    from prefect.exceptions import ParameterTypeError

    from flows.campaign import campaign

    given = json.loads(json.dumps(parameters).replace("HOME/", f"{home}/"))
    try:
        with bounded():
            typed = {"preset": "quickstart", "name": "", **campaign.validate_parameters(given)}
            spec, name = admission.asked(
                typed.get("spec"), getattr(typed["preset"], "value", typed["preset"]), typed["name"], **{key: typed[key] for key in ("methods", "rounds", "seeds", "settings") if key in typed}
            )  # fmt: skip
    except ParameterTypeError:
        return False  # Prefect's own answer, before the flow is called
    except SpecError as error:
        is_a_line(str(error))
        return False
    assert NAME.fullmatch(name)
    check(spec, home)
    return True


def check(spec: CampaignSpec, home: Path) -> None:
    for arm in spec.arms:
        assert arm.method.partition(":")[0] in discover.strategies()
        assert NAME.fullmatch(arm.name)
    allowed = [os.path.realpath(home / "data"), os.path.realpath(home / "models")]
    paths = [spec.data.source, spec.cost.profile]
    paths += [
        name
        for name in (spec.model.name, spec.data.name)
        if name.count("/") > 1 or ".." in name or name[:1] in ("/", "~", ".")
    ]
    for path in filter(None, paths):
        assert os.path.realpath(os.path.expanduser(path)).startswith(tuple(f"{folder}/" for folder in allowed)), path
    assert not spec.fleet.trace
    assert spec.fleet.size <= MOST_DEVICES
    assert spec.rounds <= MOST_ROUNDS
    assert spec.model.rank <= MOST_RANK
    assert spec.model.max_length <= MOST_TOKENS
    assert spec.training.batch <= MOST_BATCH


def test_whatever_is_asked_for_is_admitted_or_refused_in_a_line(home: Path) -> None:
    counted = {True: 0, False: 0}

    @given(parameters=PARAMETERS)
    def holds(parameters: dict[str, Any]) -> None:
        counted[ask(parameters, home)] += 1

    holds()
    assert min(counted.values()) > 2, counted


@given(data=st.recursive(SCALARS, lambda inner: st.dictionaries(st.sampled_from([k.rpartition(".")[2] for k in KEYS]), inner), max_leaves=6))  # fmt: skip
def test_any_json_is_a_spec_or_refused_in_a_line(data: Any) -> None:
    try:
        with bounded():
            edge.typed(data)
    except SpecError as error:
        is_a_line(str(error))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_was_found_is_refused(path: Path, home: Path) -> None:
    assert not ask(json.loads(path.read_text()), home)
