from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import langchain_energy_guard
import llm_energy_guard
import pydantic_ai_energy_guard
import pytest

import energy_guard
from energy_guard import backends

MODULES = [
    name
    for package in (
        energy_guard,
        langchain_energy_guard,
        llm_energy_guard,
        pydantic_ai_energy_guard,
    )
    for name in (
        package.__name__,
        *(
            module.name
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
            if not module.name.endswith("__main__")
        ),
    )
]
PUBLIC_CLASSES = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in (energy_guard, backends)
    for name in package.__all__
    if inspect.isclass(getattr(package, name))
}


def test_there_is_something_to_run() -> None:
    assert "energy_guard.backends.llama_cpp.backend" in MODULES
    assert "energy_guard.cli.app" in MODULES
    assert "langchain_energy_guard.chat_model" in MODULES


@pytest.mark.model
@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False)
    report: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
    assert not list(tmp_path.iterdir()), "an example leaves a file behind"


def given_parameters() -> Iterator[tuple[str, str, str]]:
    """What `from energy_guard import …` gives, and its methods: name, docstring, parameter."""
    for name in energy_guard.__all__:
        value = getattr(energy_guard, name)
        own = vars(value).items() if inspect.isclass(value) else ()
        methods = {m: getattr(value, m) for m, kept in own if not m.startswith("_")}
        called = {f"{name}.{m}": method for m, method in methods.items() if callable(method)}
        for callee, function in ({name: value} | called).items():
            kinds = inspect.getmro(function) if inspect.isclass(function) else (function,)
            told = "\n".join(inspect.getdoc(kind) or "" for kind in kinds)
            for parameter in inspect.signature(function).parameters.keys() - {"self"}:
                yield callee, told, parameter


def test_every_parameter_of_a_public_name_is_explained() -> None:
    missing = [
        (name, parameter)
        for name, told, parameter in given_parameters()
        if not re.search(rf"^    {parameter}: ", told, re.MULTILINE)
    ]
    assert missing == [("Profile", "schema")], "the number of the file's form"


@pytest.mark.parametrize("name", PUBLIC_CLASSES)
def test_a_public_class_shows_how_it_is_used(name: str) -> None:
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(PUBLIC_CLASSES[name]) or "")
    assert examples
