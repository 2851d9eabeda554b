"""The glossary and the code speak of the same things, each by one name."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import langchain_energy_guard
import pytest

import energy_guard
import energy_guard.backends

GLOSSARY = (Path(__file__).parent.parent / "docs" / "glossary.md").read_text("utf-8")
CLASSES_OF_GLOSSARY = re.findall(r"`([A-Z]\w+)`", GLOSSARY)
TERMS = re.findall(r"\*\*(.+?)\*\*", GLOSSARY)

SAME_ON_TWO_ENGINES = {"Vocabulary", "_Session"}
"""Names of several classes that are the same thing, each on another engine."""


def classes() -> dict[str, list[str]]:
    """The files of every class in both packages, by its name."""
    found = defaultdict(list)
    for package in (energy_guard, langchain_energy_guard):
        assert package.__file__ is not None
        for path in sorted(Path(package.__file__).parent.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(f"{package.__name__}: {path.name}")
    return found


CLASSES = classes()


def test_every_class_of_the_glossary_exists() -> None:
    assert {"Guard", "ChatEnergyGuard", "_Session"} <= CLASSES.keys()
    assert [name for name in CLASSES_OF_GLOSSARY if name not in CLASSES] == []


@pytest.mark.parametrize(
    "package",
    [energy_guard, energy_guard.backends, langchain_energy_guard],
    ids=lambda package: package.__name__,
)
def test_every_public_class_is_in_the_glossary(package: ModuleType) -> None:
    public = {name for name in package.__all__ if inspect.isclass(getattr(package, name))}
    assert public
    assert public - set(CLASSES_OF_GLOSSARY) == set()


def test_no_two_classes_share_a_name() -> None:
    shared = {name: files for name, files in CLASSES.items() if len(files) > 1}
    assert {name: files for name, files in shared.items() if name not in SAME_ON_TWO_ENGINES} == {}
    assert shared.keys() == SAME_ON_TWO_ENGINES, "what is shared no longer is no exception"


def test_every_word_and_class_has_one_entry() -> None:
    assert len(TERMS) > 30
    assert sorted(set(TERMS)) == sorted(TERMS)
    assert sorted(set(CLASSES_OF_GLOSSARY)) == sorted(CLASSES_OF_GLOSSARY)


def test_the_glossary_is_read_in_two_screens() -> None:
    lines = GLOSSARY.splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 100
