from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import energy_guard

PACKAGE = Path(energy_guard.__file__).parent
HEAVY = (
    "torch",
    "transformers",
    "llama_cpp",
    "langchain",
    "sklearn",
    "scipy",
    "matplotlib",
    "typer",
)
LAYERS = (
    ("data", "errors"),
    ("config", "energy", "extras", "files", "text"),
    ("estimates",),
    ("trace",),
    ("request",),
    ("backends",),
    ("locate",),
    ("score",),
    ("features",),
    ("fitted",),
    ("policy",),
    ("profile",),
    ("decide", "report"),
    ("result",),
    ("events", "log"),
    ("judge", "running"),
    ("asynchronous", "attempts"),
    ("guard",),
    ("conversation", "questions"),
    ("calibrate",),
    ("evaluate",),
    ("cli",),
)
"""Imports run downwards: from a later layer to an earlier one."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def parse(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def import_nodes(tree: ast.AST, functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements that run, those inside functions too where asked for."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for branch in node.orelse:
                yield from import_nodes(ast.Module([branch], []), functions)
        elif functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from import_nodes(node, functions)


def imported(module: str, functions: bool) -> set[str]:
    """Names of the modules that `module` imports; a name from a package is its submodule."""
    found = set()
    for node in import_nodes(parse(module), functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert node.level == 0, f"{module} has a relative import, which this test does not read"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


GRAPH = {module: imported(module, functions=False) & MODULES.keys() for module in MODULES}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_the_import_loads_nothing_heavy() -> None:
    loaded = run("import energy_guard, sys; print(*sys.modules)").split()
    assert "energy_guard.trace" in loaded
    assert {name.split(".")[0] for name in loaded} & set(HEAVY) == set()


def test_there_is_no_import_cycle() -> None:
    assert any(GRAPH.values())
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' ← '.join(error.args[1])}")


def layer(module: str) -> int | None:
    parts = module.split(".")
    names = [index for index, layer in enumerate(LAYERS) if len(parts) > 1 and parts[1] in layer]
    return names[0] if names else None


def test_every_module_has_its_layer() -> None:
    assert [name for name in MODULES if layer(name) is None] == ["energy_guard"]


@pytest.mark.parametrize("module", [name for name in MODULES if layer(name) is not None])
def test_imports_run_downwards(module: str) -> None:
    upwards = [
        other
        for other in imported(module, functions=True) & MODULES.keys()
        if other == "energy_guard" or (layer(other) or 0) > (layer(module) or 0)
    ]
    assert upwards == []


@pytest.mark.parametrize(
    "module", [name for name in MODULES if not name.startswith("energy_guard.backends.llama_cpp")]
)
def test_llama_cpp_is_imported_only_by_its_backend(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(module, functions=True)}
    assert "llama_cpp" not in roots


def test_the_backend_is_seen_to_import_llama_cpp() -> None:
    """The test above would pass if it saw no import at all."""
    load = "energy_guard.backends.llama_cpp.load"
    assert "llama_cpp" in imported(load, functions=True)
    assert "llama_cpp" not in imported(load, functions=False)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_long(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 420
