"""The house holds: who may import whom (docs/architecture.md), relative imports resolved."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WINGS = (
    "fedquad.learn",
    "fedquad.store",
    "fedquad.exchange",
    "fedquad.device",
    "fedquad.report",
    "fedquad.onboard",
    "fedquad.cli",
)
LEAVES = WINGS[:-2]  # wings that import nothing but the core, and the kernels
EVERYWHERE = ("__future__",)


def room_of(module: str) -> str:
    """The room a module belongs to: a wing, `core`, or a top-level package."""
    for wing in WINGS:
        if module == wing or module.startswith(f"{wing}."):
            return wing
    top = module.split(".")[0]
    return "core" if top == "fedquad" else top


MAY_IMPORT = {
    "core": {"core"},
    "fedquad.learn": {"fedquad.learn", "core", "fedquad_kernels"},
    "fedquad.store": {"fedquad.store", "core"},
    "fedquad.exchange": {"fedquad.exchange", "core"},
    "fedquad.device": {"fedquad.device", "core"},
    "fedquad.report": {"fedquad.report", "core"},
    "fedquad.onboard": {"fedquad.onboard", "fedquad.device", "fedquad.learn", "fedquad.store", "core"},
    "fedquad.cli": {"fedquad.cli", "fedquad.onboard", *LEAVES, "core", "flows", "tasks"},
    "fedquad_kernels": {"fedquad_kernels"},
    "tasks": {"tasks", *LEAVES, "core"},
    "flows": {"flows", "tasks", "fedquad.onboard", *LEAVES, "core"},
}
OURS = set(MAY_IMPORT) - {"core"} | {"fedquad"}
ONLY_IN = {
    "prefect": {"flows", "tasks", "fedquad.cli"},
    "mlflow": {"tasks.mlflow_store", "tasks.promote", "tasks.track", "tasks.track_arm", "tasks.track_campaign"},
    "typer": {"fedquad.cli"},
    "pydantic": {"flows"},
    "torch": {"fedquad.learn", "fedquad_kernels"},
    "transformers": {"fedquad.learn"},
    "peft": {"fedquad.learn"},
    "triton": {"fedquad_kernels", "fedquad.learn"},
    "matplotlib": {"fedquad.report"},
    "fsspec": {"fedquad.exchange"},
    "distributed": {"tasks.scheduler", "tasks.cluster_worker"},
}
CORE_MAY = {"numpy", "yaml"}  # yaml in spec_text alone


def sources() -> dict[str, Path]:
    """Our modules by dotted name."""
    found = {}
    for top in ("fedquad", "tasks", "flows"):
        for path in sorted((ROOT / top).rglob("*.py")):
            found[dotted(path.relative_to(ROOT))] = path
    for path in sorted((ROOT / "kernels" / "fedquad_kernels").rglob("*.py")):
        found[dotted(path.relative_to(ROOT / "kernels"))] = path
    return found


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(module: str, path: Path) -> set[str]:
    """Dotted names that a module imports anywhere, inside functions too."""
    return imported(ast.parse(path.read_text(encoding="utf-8")), module, path)


def imported(tree: ast.AST, module: str, path: Path) -> set[str]:
    """Dotted names that a part of a module imports."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found - set(EVERYWHERE)


def hidden_imports(module: str, path: Path) -> set[str]:
    """Dotted names that a module imports inside a function or for the type checker alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hiding = (ast.FunctionDef, ast.AsyncFunctionDef)
    blocks = [n for n in ast.walk(tree) if isinstance(n, hiding)]
    blocks += [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]  # type: ignore[misc]
    return set().union(*(imported(node, module, path) for node in blocks))


MODULES = sources()


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_the_rooms_it_may(module: str) -> None:
    room = room_of(module)
    for name in imports(module, MODULES[module]):
        if name.split(".")[0] not in OURS:
            continue
        assert room_of(name) in MAY_IMPORT[room], f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_are_imported_only_where_they_belong(module: str) -> None:
    for name in imports(module, MODULES[module]):
        allowed = ONLY_IN.get(name.split(".")[0])
        if allowed is not None:
            assert room_of(module) in allowed or module in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in ("core", "fedquad.device")])
def test_core_and_device_are_numpy_and_the_standard_library(module: str) -> None:
    import sys

    for name in imports(module, MODULES[module]):
        top = name.split(".")[0]
        if top == "yaml":
            assert module == "fedquad.spec_text"
        assert top in sys.stdlib_module_names or top in CORE_MAY or top == "fedquad", f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) == "core"])
def test_the_core_has_no_clock_environment_socket_or_log(module: str) -> None:
    forbidden = {"time", "os", "socket", "logging", "datetime", "subprocess", "threading", "random"}
    found = {name.split(".")[0] for name in imports(module, MODULES[module])} & forbidden
    assert not found, f"{module} imports {found}"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_unpickled_and_no_global_randomness_is_used(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    names = {name.split(".")[0] for name in imports(module, MODULES[module])}
    assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}, module
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"torch.load", "torch.save", "np.load", "numpy.load"} or module == "fedquad.learn.model", module
    assert not {c for c in calls if c.startswith("random.")}, module


def test_no_file_hides_a_package_from_prefects_loader() -> None:
    for folder in ("flows", "tasks"):
        assert not {"tasks.py", "fedquad.py", "kernels.py", "flows.py"} & {p.name for p in (ROOT / folder).iterdir()}
    assert not (ROOT / "datasets").exists()


def test_a_stranger_finds_the_rooms_before_the_files() -> None:
    flat = [path.name for path in (ROOT / "fedquad").glob("*.py")]
    assert len(flat) <= 14, sorted(flat)


@pytest.mark.parametrize("module", [m for m, path in MODULES.items() if path.name == "__init__.py"])
def test_a_package_begins_with_a_docstring_and_nothing_else(module: str) -> None:
    (only,) = ast.parse(MODULES[module].read_text(encoding="utf-8")).body
    assert isinstance(only, ast.Expr)
    assert isinstance(only.value, ast.Constant)
    assert isinstance(only.value.value, str)


@pytest.mark.parametrize("module", MODULES)
def test_no_import_is_hidden_to_break_a_circle(module: str) -> None:
    """An import inside a function may spare time (torch, prefect, mlflow), never hide that two modules need each other."""
    for name in hidden_imports(module, MODULES[module]) & set(MODULES):
        assert module not in imports(name, MODULES[name]), f"{module} and {name} import each other"
