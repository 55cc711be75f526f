"""A device needs `.[learn]` and Python 3.10, and nothing of Prefect, MLflow, pydantic or Typer."""

import ast
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ON_A_DEVICE = [
    *sorted((ROOT / "fedquad").glob("*.py")),
    *sorted((ROOT / "fedquad" / "strategies").rglob("*.py")),
    *sorted((ROOT / "fedquad" / "device").rglob("*.py")),
    *sorted((ROOT / "fedquad" / "cli").rglob("*.py")),  # `fedquad device trainer` begins there
    *sorted((ROOT / "fedquad" / "learn").rglob("*.py")),
    *sorted((ROOT / "fedquad" / "exchange").rglob("*.py")),
    *sorted((ROOT / "kernels").rglob("*.py")),
]
AFTER_3_10 = {
    "typing": {"Self", "Never", "assert_never", "LiteralString", "NotRequired", "Required", "Unpack", "override"},
    "enum": {"StrEnum"},
    "datetime": {"UTC"},
    "itertools": {"batched"},
    "asyncio": {"TaskGroup", "timeout"},
    "tomllib": None,
}
NOT_THERE = ("prefect", "mlflow", "pydantic", "typer")

IMPORT_ALL = """
import importlib, pkgutil, sys
import fedquad.exchange, fedquad.learn
for wing in (fedquad.learn, fedquad.exchange):
    for found in pkgutil.walk_packages(wing.__path__, f"{wing.__name__}."):
        importlib.import_module(found.name)
"""
# A device's whole round on the embedded backbone, as a worker does it.
A_ROUND = """
import sys, tempfile
from pathlib import Path
from fedquad.rounds import adapters
from fedquad.fleets import partition
from fedquad.learn import evaluate, loop, model, peft_folder, tokens
from fedquad.spec import DataSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment

spec, cache = ModelSpec(), Path(tempfile.mkdtemp())
prepared = tokens.prepare(DataSpec(train=64, validation=16, test=16), spec, 0, cache)
trainee = model.load(spec, prepared["labels"], 8)
layers = trainee.layout.shape.layers
adapter = adapters.initial(trainee.layout, 8, 0)
path = Path(prepared["splits"]["train"]["path"])
labels, _ = tokens.read_labels(path)
shard = partition.partition(labels, 2, kind="class_mix", alpha=10.0, seed=0, batch=8, columns=None)[0]
data = tokens.read(path).rows(shard)
everything = tuple(range(layers))
assignment = Assignment(
    device=0, present=everything, trained=everything[-2:], quantized=everything[-2:-1], ranks=(8,) * layers, steps=2,
    learning_rate=1e-3,
)
update = loop.train(
    trainee, assignment, adapter, data, training=TrainingSpec(), key=(0, 0, 1, 0), round=1, based_on=adapters.digest(adapter)
)
assert not update.report.failure, update.report.failure
assert set(update.delta.layers) == set(everything[-2:])
assert evaluate.evaluate(trainee, adapter, data, 0, 8, 8).sums["count"] == 8
peft_folder.write(cache / "adapter", adapter, trainee.layout, spec, "mini")
assert adapters.digest(peft_folder.read(cache / "adapter")) == adapters.digest(adapter)
"""
REPORT = f"\nprint([name for name in {NOT_THERE!r} if sys.modules.get(name)])\n"


def python(executable: Path | str, code: str, **environment: str) -> str:
    done = subprocess.run(
        [str(executable), "-c", code], capture_output=True, text=True, cwd="/", env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_whole_learn_path_imports_nothing_of_the_server():
    assert python(sys.executable, IMPORT_ALL + REPORT) == "[]"


def test_a_round_runs_where_those_packages_do_not_exist():
    hide = f"import sys\nsys.modules.update({{name: None for name in {NOT_THERE!r}}})\n"
    assert python(sys.executable, hide + A_ROUND + REPORT, OMP_NUM_THREADS="1") == "[]"


@pytest.mark.parametrize("path", ON_A_DEVICE, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_device_runs_keeps_to_python_3_10(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in AFTER_3_10:
            newer = AFTER_3_10[node.module]
            assert newer is not None, f"{node.module} came with Python 3.11"
            assert not newer & {alias.name for alias in node.names}
        assert not (isinstance(node, ast.Import) and any(alias.name == "tomllib" for alias in node.names))
        assert not isinstance(node, getattr(ast, "TryStar", ())), "except* came with Python 3.11"


@pytest.mark.server
@pytest.mark.timeout(900)
def test_a_round_runs_in_an_environment_with_the_learn_extra_alone(tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    executable = tmp_path / "env" / "bin" / "python"
    pip = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    subprocess.run([*pip, torch], check=True)  # by itself: then it is the CPU build where the index has one
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), f"{ROOT}[learn]"], check=True)
    installed = python(
        executable, "from importlib.metadata import distributions as d; print(sorted(x.name for x in d()))"
    )
    assert not set(NOT_THERE[:2]) & set(ast.literal_eval(installed))
    assert python(executable, IMPORT_ALL + A_ROUND + REPORT, OMP_NUM_THREADS="1") == "[]"
