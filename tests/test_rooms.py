"""The tree keeps its shape: which way imports point, how long things are, who reads the environment."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.ledger.columns import Base
from muster.states import BatchState, ItemState

ROOT = Path(__file__).parent.parent
SOURCE = ("muster", "tasks", "flows", "deployments", "entrypoints")
MAY_NOT_IMPORT = {
    "muster": {"prefect", "fastapi", "tasks", "flows", "deployments", "entrypoints"},
    "tasks": {"flows", "deployments", "entrypoints", "sqlalchemy", "sqlmodel", "httpx"},
    "flows": {"deployments", "entrypoints", "sqlalchemy", "sqlmodel", "httpx"},
    "deployments": {"entrypoints"},
}
FILES = sorted(path for room in SOURCE for path in (ROOT / room).rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path):
    room = path.relative_to(ROOT).parts[0]

    assert not set(imported(TREES[path])) & MAY_NOT_IMPORT.get(room, set())


def test_the_api_names_no_sql():
    sql = {"sqlalchemy", "sqlmodel", "httpx"}

    assert [path for path in FILES if "api" in path.parts and set(imported(TREES[path])) & sql] == []


@pytest.mark.parametrize("heavy", ["prefect", "fastapi"])
def test_the_core_runs_without(heavy: str):
    program = f"import sys, muster.running, muster.workloads, entrypoints.cli.app; sys.exit('{heavy}' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603


def test_no_file_is_over_300_lines_and_no_function_over_40():
    migrations = {path for path in FILES if "versions" in path.parts}
    files = {str(path): path.read_text(encoding="utf-8").count("\n") for path in FILES}
    long = [
        f"{path}:{it.name}"
        for path in FILES
        if path not in migrations
        for it in functions(TREES[path])
        if length(it) > 40
    ]

    assert [name for name, lines in files.items() if lines > 300] == []
    assert long == []


def test_the_median_function_has_at_most_10_lines():
    assert statistics.median(length(it) for tree in TREES.values() for it in functions(tree)) <= 10


def test_every_module_says_what_it_is():
    assert [str(path) for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_only_the_settings_read_the_environment():
    """The command line may hand variables to the processes it starts, and reads none."""
    readers = {
        str(path.relative_to(ROOT))
        for path in FILES
        if "os.getenv" in (text := path.read_text(encoding="utf-8"))
        or "os.environ[" in text
        or "os.environ.get" in text
    }

    assert readers == set()


def test_no_state_is_written_as_a_literal_where_states_are_moved():
    """In the ledger, engine and planning a state is a member of its enum."""
    names = {str(state) for state in (*ItemState, *BatchState)}
    moving = [
        path for path in FILES if path.parts[-2] == "ledger" or path.name in {"engine.py", "driver.py", "running.py"}
    ]
    columns = set(Base.metadata.tables["batch"].columns.keys())  # counters are named for the states they count
    found = [
        f"{path.name}:{node.lineno} {node.value!r}"
        for path in moving
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Constant) and node.value in names - columns
    ]

    assert found == []
