from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import langchain_energy_guard
import llm_energy_guard
import pydantic_ai_energy_guard
import pytest

import energy_guard

NEIGHBOURS = (llm_energy_guard, pydantic_ai_energy_guard)
PACKAGES = [
    Path(package.__file__).parent for package in (energy_guard, langchain_energy_guard, *NEIGHBOURS)
]
LEAVES = {
    "accelerate": ["energy_guard.backends.transformers"],
    "gguf": ["energy_guard.backends", "energy_guard.neurons.llama_cpp"],
    "huggingface_hub": ["energy_guard.backends"],
    "jsonschema": ["energy_guard.tool_schema"],
    "jinja2": ["energy_guard.backends", "energy_guard.report.page", "energy_guard.cli"],
    "langchain": ["langchain_energy_guard.middleware", "langchain_energy_guard.person"],
    "langchain_community": [],
    "langchain_core": ["langchain_energy_guard"],
    "langchain_huggingface": [],
    "llama_cpp": ["energy_guard.backends.llama_cpp", "energy_guard.neurons.llama_cpp"],
    "llm": ["llm_energy_guard"],
    "llguidance": ["energy_guard.backends"],
    "matplotlib": ["energy_guard.report.plots", "energy_guard.cli"],
    "pyarrow": [
        "energy_guard.log_table",
        "energy_guard.score_table",
        "energy_guard.questions.reading",
        "energy_guard.cli.score_table",
    ],
    "ray": ["energy_guard.on_ray"],
    "safetensors": ["energy_guard.backends.transformers"],
    "openai": ["energy_guard.backends.remote"],
    "opentelemetry": ["energy_guard.telemetry"],
    "prometheus_client": ["energy_guard.server"],
    "pydantic_ai": ["pydantic_ai_energy_guard"],
    "scipy": ["energy_guard.estimates", "energy_guard.calibrate", "energy_guard.cli"],
    "sklearn": [
        "energy_guard.calibrate",
        "energy_guard.estimates",
        "energy_guard.evaluate",
        "energy_guard.neurons.fit",
        "energy_guard.cli",
    ],
    "starlette": ["energy_guard.backends.vllm", "energy_guard.server"],
    "tokenizers": ["energy_guard.backends.transformers"],
    "torch": [
        "energy_guard.backends.transformers",
        "energy_guard.backends.vllm",
        "energy_guard.neurons.transformers",
    ],
    "transformers": ["energy_guard.backends.transformers", "energy_guard.neurons.transformers"],
    "typer": ["energy_guard.cli"],
    "uvicorn": ["energy_guard.server"],
    "vllm": ["energy_guard.backends.vllm"],
}
"""Heavy packages, and the only modules (with those below them) that may import each."""

LAYERS = (
    ("data", "errors", "json_text"),
    ("arguments", "config", "energy", "extras", "files", "likeliest", "possible", "text"),
    ("tool_schema",),
    ("array_files", "reasoning"),
    ("estimates",),
    ("trace",),
    ("request",),
    ("backends", "prompts"),
    ("neurons",),
    ("locate",),
    ("asked_features", "score", "shown", "tool_calls"),
    ("neuron_detector", "support_features"),
    ("features", "support", "tools"),
    ("claims", "fitted"),
    ("policy",),
    ("profile",),
    ("decide", "report"),
    ("result",),
    ("events", "private"),
    ("log",),
    ("judge", "log_table", "running", "telemetry"),
    ("rescore",),
    ("score_table",),
    ("release",),
    ("asynchronous", "attempts"),
    ("waves",),
    ("gathering", "guard"),
    ("called", "conversation", "questions"),
    ("calibrate",),
    ("evaluate", "on_ray"),
    ("reproduce",),
    ("server",),
    ("cli",),
)
"""Imports run downwards: from a later layer to an earlier one."""

LANGCHAIN_LAYERS = (
    (
        "engine_thread",
        "engine_calls",
        "errors",
        "event_origin",
        "gathering",
        "judged_answers",
        "messages",
        "metadata",
        "middleware_calls",
        "partner_models",
        "tools",
    ),
    ("custom_events", "engine_queue", "guarded_call", "structured_output"),
    ("cache_key", "inside_guarded", "run_handlers", "watched_run"),
    ("chat_request", "watched_model"),
    ("answer_message", "callback", "token_counts"),
    ("answer_stream",),
    ("answer_run",),
    ("chat_model",),
    ("graph_stream", "guards_in_chain", "person"),
    ("guarded",),
    ("middleware",),
)
"""The same for the LangChain package, all of which is above the core."""

LAYERS_ABOVE = {
    "langchain_energy_guard": LANGCHAIN_LAYERS,
    "llm_energy_guard": (("model",),),
    "pydantic_ai_energy_guard": (("errors", "messages"), ("asked",), ("model",)),
}
"""Those of every package that stands on the core; none of them imports another."""


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path, package): path
    for package in PACKAGES
    for path in sorted(package.rglob("*.py"))
}


@cache
def parse(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def import_nodes(tree: ast.AST, *, functions: bool, types: bool) -> Iterator[ast.stmt]:
    """Import statements of a module.

    functions: those inside functions, too. types: those that only a type checker sees, too.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            branches = [*node.body, *node.orelse] if types else node.orelse
            yield from import_nodes(ast.Module(branches, []), functions=functions, types=types)
        elif functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from import_nodes(node, functions=functions, types=types)


def imported(module: str, *, functions: bool = True, types: bool = True) -> set[str]:
    """Names of the modules that `module` imports; a name from a package is its submodule."""
    found = set()
    for node in import_nodes(parse(module), functions=functions, types=types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import, which this test does not read"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


GRAPH = {module: imported(module) & MODULES.keys() for module in MODULES}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize(
    ("package", "part", "allowed"),
    [
        ("energy_guard", "energy_guard.trace", set()),
        ("energy_guard.neurons", "energy_guard.neurons.fit", set()),
        (
            "langchain_energy_guard",
            "langchain_energy_guard.chat_model",
            {"langchain_core", "opentelemetry"},  # LangSmith imports the latter if it is there
        ),
    ],
)
def test_the_import_loads_nothing_heavy(package: str, part: str, allowed: set[str]) -> None:
    loaded = run(f"import {package}, sys; print(*sys.modules)").split()
    assert part in loaded
    assert {name.split(".")[0] for name in loaded} & LEAVES.keys() == allowed


def test_there_is_no_import_cycle() -> None:
    """Imports inside functions and those for type checkers count, too."""
    assert any(GRAPH.values())
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' ← '.join(error.args[1])}")


def test_an_import_for_type_checkers_is_seen() -> None:
    """The test above would pass if it saw none of them."""
    capture = "energy_guard.backends.transformers.capture"
    assert "torch" in imported(capture, functions=False)
    assert "torch" not in imported(capture, functions=False, types=False)


def layer(module: str) -> int | None:
    """The number of a module's layer; None for the root of a package, which is above all."""
    package, *inner = module.split(".")
    below = 0 if package == "energy_guard" else len(LAYERS)
    layers = LAYERS_ABOVE.get(package, LAYERS)
    names = [index for index, layer in enumerate(layers) if inner and inner[0] in layer]
    return below + names[0] if names else None


def test_every_module_has_its_layer() -> None:
    roots = ["energy_guard", *LAYERS_ABOVE]
    assert [name for name in MODULES if layer(name) is None] == roots


@pytest.mark.parametrize("module", [name for name in MODULES if layer(name) is not None])
def test_imports_run_downwards(module: str) -> None:
    own = layer(module)
    assert own is not None
    upwards = []
    for other in imported(module, types=False) & MODULES.keys():
        theirs = layer(other)
        is_public_core = other == "energy_guard" and own >= len(LAYERS)
        if not is_public_core and (theirs is None or theirs > own):
            upwards.append(other)
    assert upwards == []


def may_import(module: str, package: str) -> bool:
    leaves = LEAVES.get(package)
    return leaves is None or any(f"{module}.".startswith(f"{leaf}.") for leaf in leaves)


@pytest.mark.parametrize("module", MODULES)
def test_heavy_packages_are_imported_only_in_their_leaves(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(module)}
    assert [root for root in sorted(roots) if not may_import(module, root)] == []


@pytest.mark.parametrize("package", ["llama_cpp", "torch", "transformers"])
def test_a_backend_imports_its_engine_when_it_needs_it(package: str) -> None:
    """The test above would pass if it saw no import at all."""
    for room in LEAVES[package]:
        inside = [module for module in MODULES if module.startswith(f"{room}.")]
        roots = {name.split(".")[0] for module in inside for name in imported(module)}
        at_once = {
            name.split(".")[0]
            for module in inside
            for name in imported(module, functions=False, types=False)
        }
        assert package in roots
        assert package not in at_once


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_long(module: str) -> None:
    """But for what explains it: a public class has as long a docstring as it has parameters."""
    text = MODULES[module].read_text(encoding="utf-8")
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    told = [ast.get_docstring(n) or "" for n in ast.walk(ast.parse(text)) if isinstance(n, kinds)]
    assert len(text.splitlines()) - sum(len(each.splitlines()) for each in told) <= 390
