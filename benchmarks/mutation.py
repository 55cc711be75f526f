"""Would the tests notice? A seeded sample of small changes to the code, each run against the tests of its area.

    python -m benchmarks.mutation --count 300 --seed 0 [--only rounds/acs.py] [--survivors FILE]
    python -m benchmarks.mutation --again FILE      # only those that survived, against the tests of today

A change is one operator, comparison, constant, condition or statement; a change that every test of its area lets pass is a
survivor: a test that is missing, or code that does not matter. Each runs in a copy of the tree, so that nothing here changes.
"""

import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from benchmarks.rows import arguments, record

ROOT = Path(__file__).parents[1]
STRATEGIES = ["golden", "layers", "ranks", "layersel", "hooks", "contract", "parity"]
METHODS = [*(f"test_strategies_{name}" for name in STRATEGIES), "test_fedlora", "test_fedquad"]
AREAS = {
    "rounds/acs.py": ["test_acs", "test_fedquad", "test_strategies_golden", "test_plan"],
    "rounds/aggregate.py": ["test_aggregate", "test_merge", *METHODS],
    "rounds/round.py": ["test_round", "test_pace", *METHODS],
    "rounds/ledger.py": ["test_round", "test_pace", *METHODS],
    "rounds/pace.py": ["test_pace", "test_round"],
    "prices/cost.py": ["test_cost", "test_cost_counters", "test_strategies_hooks", "test_acs", "test_fedlora"],
    **{f"strategies/{path.name}": METHODS for path in sorted((ROOT / "fedquad/strategies").glob("[!_]*.py"))},
    "learn/work.py": ["test_loop", "test_merge", "test_strategies_parity", "test_configure", "test_optimizer"],
    "learn/optimizer.py": ["test_loop", "test_optimizer", "test_strategies_parity"],
}
PATIENCE_SECONDS = 240
COPIES = 2  # mutants at once
COMPARED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.In: "not in",
            ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is"}  # fmt: skip
COMPUTED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*", ast.Pow: "*",
            ast.BitAnd: "|", ast.BitOr: "&"}  # fmt: skip
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "sum": "max", "minimum": "maximum", "maximum": "minimum",
         "floor": "ceil", "ceil": "floor", "mean": "sum", "argmax": "argmin", "argmin": "argmax"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one file."""

    file: str
    line: int
    change: str
    source: str  # the whole file, changed


def mutants(file: str) -> Iterator[Mutant]:
    """Every change that this script knows of one file."""
    source = (ROOT / "fedquad" / file).read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    raw = source.encode()

    def span(node: Any) -> tuple[int, int]:
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    for node, start, stop, new in changes(ast.parse(source), span, raw):
        old = raw[start:stop].decode()
        if old != new:
            shown = " ".join(f"{old} -> {new or 'nothing'}".split())[:100]
            changed = raw[:start] + new.encode() + raw[stop:]
            yield Mutant(file=file, line=node.lineno, change=shown, source=changed.decode())


def changes(tree: ast.Module, span: Any, raw: bytes) -> Iterator[tuple[Any, int, int, str]]:
    """(node, start, stop, new text); annotations, docstrings, messages and asserts are left alone."""
    silent = {id(inner) for node in ast.walk(tree) for inner in _left_alone(node)}
    for node in ast.walk(tree):
        if id(node) in silent or not hasattr(node, "lineno"):
            continue
        start, stop = span(node)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            between = span(node.left)[1], span(node.comparators[0])[0]
            yield node, *between, f" {COMPARED[type(node.ops[0])]} "
        elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED and not isinstance(node.left, ast.JoinedStr):
            left, right = span(node.left)[1], span(node.right)[0]
            if b"(" not in raw[left:right] and b")" not in raw[left:right]:
                yield node, left, right, f" {COMPUTED[type(node.op)]} "
        elif isinstance(node, ast.BoolOp):
            left, right = span(node.values[0])[1], span(node.values[1])[0]
            yield node, left, right, " or " if isinstance(node.op, ast.And) else " and "
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, start, stop, str(not node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield node, start, stop, str(node.value + 1)
        elif isinstance(node, ast.UnaryOp):
            yield node, start, stop, raw[slice(*span(node.operand))].decode()
        elif isinstance(node, ast.IfExp | ast.If):
            yield node, *span(node.test), f"not ({raw[slice(*span(node.test))].decode()})"
        elif isinstance(node, ast.Call) and (name := _name(node.func)) in CALLS:
            function = node.func
            end = span(function)[1]
            yield node, end - len(name), end, CALLS[name]
        elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or isinstance(node, ast.AugAssign):
            yield node, start, stop, "pass"
        elif isinstance(node, ast.Continue):
            yield node, start, stop, "break"


def _name(function: ast.expr) -> str:
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def _left_alone(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.FunctionDef):
        for part in [
            node.returns,
            *(a.annotation for a in [*node.args.args, *node.args.kwonlyargs]),
            *node.decorator_list,
        ]:
            yield from ast.walk(part) if part is not None else ()
    elif isinstance(node, ast.AnnAssign):
        yield from ast.walk(node.annotation)
    elif isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        yield from ast.walk(node)
    elif isinstance(node, ast.ClassDef):
        for decorator in node.decorator_list:
            yield from ast.walk(decorator)


def outcome(mutant: Mutant, copy: Path) -> dict[str, Any]:
    """Run the area's tests, quickest first, until one fails."""
    path = copy / "fedquad" / mutant.file
    original = path.read_text(encoding="utf-8")
    path.write_text(mutant.source, encoding="utf-8")
    try:
        killer = next((test for test in AREAS[mutant.file] if _fails(test, copy)), "")
    finally:
        path.write_text(original, encoding="utf-8")
    return {"file": mutant.file, "line": mutant.line, "change": mutant.change, "killed_by": killer}


def _fails(test: str, copy: Path) -> bool:
    if not (copy / "tests" / f"{test}.py").exists():
        return False
    environment = {**os.environ, "PYTHONPATH": f"{copy}:{copy / 'kernels'}", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        f"tests/{test}.py",
    ]
    try:
        return (
            subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=PATIENCE_SECONDS).returncode
            != 0
        )
    except subprocess.TimeoutExpired:
        return True


def sample(count: int, seed: int, only: str) -> list[Mutant]:
    """A seeded sample over all areas, each file by the number of changes it has room for."""
    every = [mutant for file in AREAS if file.startswith(only) for mutant in mutants(file)]
    compiling = [mutant for mutant in every if _compiles(mutant.source)]
    return random.Random(seed).sample(compiling, min(count, len(compiling)))


def again(path: str) -> list[Mutant]:
    """The mutants of a file of survivors; lines may have moved a little since."""
    found = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        old = json.loads(line)
        alike = [one for one in mutants(old["file"]) if one.change == old["change"]]
        if alike:
            found.append(min(alike, key=lambda one: abs(one.line - old["line"])))
    return list({(one.file, one.line, one.change): one for one in found}.values())


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def run(chosen: list[Mutant]) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="fedquad-mutants-") as folder:
        copies: Queue[Path] = Queue()
        for number in range(COPIES):
            copy = Path(folder) / str(number)
            left_out = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", ".hypothesis", ".*_cache")
            shutil.copytree(ROOT, copy, ignore=left_out)
            copies.put(copy)

        def one(mutant: Mutant) -> dict[str, Any]:
            copy = copies.get()
            try:
                return outcome(mutant, copy)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(COPIES) as threads:
            for done, row in enumerate(threads.map(one, chosen), start=1):
                print(f"{done}/{len(chosen)} {row['file']}:{row['line']} {row['change']}: "
                      f"{row['killed_by'] or 'SURVIVED'}", file=sys.stderr, flush=True)  # fmt: skip
                yield row


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files of this prefix alone")
    parser.add_argument("--again", help="a file of survivors: try only those")
    parser.add_argument("--survivors", help="write the survivors to this file, as JSON lines")
    given = parser.parse_args()
    chosen = again(given.again) if given.again else sample(given.count, given.seed, given.only)
    rows = list(run(chosen))
    if given.survivors:
        lines = [json.dumps(row) for row in rows if not row["killed_by"]]
        Path(given.survivors).write_text("\n".join(lines) + "\n", encoding="utf-8")
    areas = sorted({row["file"] for row in rows})
    by_area = [[row for row in rows if row["file"] == area] for area in areas] + [rows]
    table = [
        {"area": name, "seed": given.seed, "mutants": len(of), "killed": sum(bool(row["killed_by"]) for row in of)}
        for name, of in zip([*areas, "all"], by_area)
    ]
    record("mutation_again" if given.again else "mutation", table, as_json=given.json)


if __name__ == "__main__":
    main()
