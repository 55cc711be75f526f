"""Campaigns described by whatever text there is: each is a spec that is read as it was written, or refused in one line.

`FUZZ_EXAMPLES=1000000` tries more; tests/corpus/specs holds the smallest of what was found.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, target
from hypothesis import strategies as st

from fedquad import discover
from fedquad.errors import SpecError
from fedquad.fleets import fleet
from fedquad.spec import CampaignSpec
from fedquad.spec_text import keys, read_yaml, write_yaml
from fedquad.store import inputs
from flows import edge

CORPUS = sorted((Path(__file__).parent / "corpus" / "specs").glob("*.yaml"))
MOST_SECONDS, MOST_BYTES, LONGEST_LINE = 5, 64 * 2**20, 2000
SMALL_FLEET = 10_000  # devices that a test draws
KEYS = [name for name, _ in keys(CampaignSpec)]
ODD = [
    ".nan", ".inf", "-.inf", "1e400", "-1", "0", "1" + "0" * 30, "9" * 5000, "0x7fffffffffffffff", "1:60", "~", "true", "''", "[]", "{}",
    "2001-01-01", "2001-99-99", "!!python/object/apply:os.system ['touch ran']", "!!set {a, b}", "!!binary aGk=", "!!int x", "!!float ''",
    "!foo {a: 1}", "&a [*a]", "*a", "&a x", "<<: {a: 1}", "{a: 1, a: 2}", '"\\ud800"', '"a\\0b"', '"a\\nb"', '"\\e[31m"', "ä", "\u202e", "{? [a] : 1}",
    "[" * 300 + "]" * 300, "[" * 3000, "{a: " * 300, "x" * 3000, "1e5", "3e-3", "'1e5'", "../..", "/dev/zero", "~nobody/x", '{"[key]": 1}',
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=20),
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8).map(yaml.safe_dump),
)  # fmt: skip
SETTINGS = st.tuples(st.sampled_from(KEYS) | st.text(max_size=12), VALUES).map("=".join)


def is_a_line(said: str) -> None:
    assert said.isprintable()


@contextmanager
def bounded() -> Iterator[None]:
    began, before = time.process_time(), _peak_bytes()
    try:
        yield
    finally:
        assert time.process_time() - began < MOST_SECONDS
        assert _peak_bytes() - before < MOST_BYTES


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outcome(describe: Any) -> CampaignSpec | str:
    """A spec that survives its own YAML and finds its fleet, or the line that refuses it; nothing else."""
    try:
        with bounded():
            spec: CampaignSpec = describe()
    except SpecError as error:
        line = str(error)
        assert line.strip()
        assert line.isprintable()
        assert len(line) < LONGEST_LINE
        return line
    assert edge.typed(read_yaml(write_yaml(spec).encode().decode(), "what was written")) == spec
    if spec.fleet.size <= SMALL_FLEET:
        try:
            fleet.resolve(spec.fleet, discover.boards(), inputs.trace_of(spec.fleet))
            inputs.profile_of(spec.cost)
        except SpecError as error:
            is_a_line(str(error))
    return spec


def from_text(path: Path, data: bytes) -> CampaignSpec | str:
    path.write_bytes(data)
    return outcome(lambda: edge.campaign_spec(str(path)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("specs") / "mine.yaml"


@st.composite
def mutated(draw: Any) -> str:
    """A preset's text with some values, keys or lines changed."""
    lines = discover.preset(draw(st.sampled_from(discover.presets()))).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[at].partition(":")
        how = draw(st.sampled_from(("value", "key", "twice", "gone", "insert", "cut", "nest")))
        new = draw(VALUES)
        lines[at : at + 1] = {
            "value": [f"{key}: {new}"],
            "key": [f"{new}{colon} 1"],
            "twice": [lines[at]] * 2,
            "gone": [],
            "insert": [lines[at], f"{draw(st.sampled_from(KEYS)).partition('.')[0]}: {new}"],
            "cut": [lines[at][: len(lines[at]) // 2]],
            "nest": [f"{key}: {{{draw(st.sampled_from(KEYS)).rpartition('.')[2]}: {new}}}"],
        }[how] or [""]
    return "\n".join(lines) + "\n"


@given(text=mutated())
def test_a_changed_preset_is_a_campaign_or_refused_in_a_line(place: Path, text: str) -> None:
    found = from_text(place, text.encode("utf-8", "surrogatepass"))
    target(float(isinstance(found, CampaignSpec)))


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_campaign_or_refused_in_a_line(place: Path, data: bytes) -> None:
    from_text(place, data)


@given(settings=st.lists(SETTINGS, min_size=1, max_size=3))
def test_any_settings_are_a_campaign_or_refused_in_a_line(settings: list[str]) -> None:
    outcome(lambda: edge.campaign_spec("quickstart", settings=settings))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_was_found_is_refused_in_a_line(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = outcome(lambda: edge.campaign_spec(str(path)))
    assert isinstance(line, str)
    assert not (tmp_path / "ran").exists()


def test_a_text_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text('data: {name: "1e5", train: 4e2}\nmodel: {name: 2001-01-01}\n')
    spec = edge.campaign_spec(str(tmp_path / "mine.yaml"))
    assert (spec.data.name, spec.data.train, spec.model.name) == ("1e5", 400, "2001-01-01")
    assert edge.typed(read_yaml(write_yaml(spec), "here")) == spec


def test_a_file_without_end_is_refused() -> None:
    assert "no longer than that" in str(outcome(lambda: edge.campaign_spec("/dev/zero")))
