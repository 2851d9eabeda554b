"""The site's pages: no public name is without one, and what they say of the settings is so."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import langchain_energy_guard
import pytest

import energy_guard
from energy_guard import Policy, errors
from energy_guard.policy import EarlyStop

DOCS = Path(__file__).parent.parent / "docs"
SHOWN = {
    path
    for page in DOCS.joinpath("reference").glob("*.md")
    for path in re.findall(r"^::: (\S+)", page.read_text("utf-8"), re.MULTILINE)
}
"""What the reference shows: names, or modules with all their public names."""


MODULES = {
    module.name
    for package in (energy_guard, langchain_energy_guard)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
}


def public_names() -> list[str]:
    """Every name in an `__all__` of the packages but the command line's, and every error."""
    found = [f"energy_guard.errors.{name}" for name in vars(errors) if name.endswith("Error")]
    for package in (energy_guard, langchain_energy_guard):
        for name in (package.__name__, *(n for n in MODULES if n.startswith(package.__name__))):
            if not name.endswith("__main__") and not name.startswith("energy_guard.cli"):
                module = importlib.import_module(name)
                found += [f"{name}.{public}" for public in getattr(module, "__all__", ())]
    return found


def is_shown(name: str) -> bool:
    """A name is shown by itself, with its module, or where it is defined.

    What bears the name of a module beside it is shown there alone: a reader of sources takes the
    module for it.
    """
    module, _, own = name.rpartition(".")
    value = getattr(importlib.import_module(module), own)
    home = value.__module__ if inspect.isclass(value) or inspect.isroutine(value) else module
    if name in MODULES:
        return f"{name}.{own}" in SHOWN
    return bool({name, module, f"{home}.{own}", home} & SHOWN)


def test_every_public_name_has_a_page() -> None:
    names = public_names()
    assert {"energy_guard.load", "energy_guard.backends.remote.RemoteServer"} <= set(names)
    assert [name for name in names if not is_shown(name)] == []


def test_what_is_shown_exists() -> None:
    for path in SHOWN:
        module, _, name = path.rpartition(".")
        try:
            importlib.import_module(path)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), name), path


@pytest.mark.parametrize("settings", [Policy, EarlyStop])
def test_every_key_of_the_configuration_is_explained(
    settings: type[Policy] | type[EarlyStop],
) -> None:
    page = DOCS.joinpath("reference", "configuration.md").read_text("utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", page, re.MULTILINE))
    keys = set(Policy.model_fields) | set(EarlyStop.model_fields)
    variables = {key for key in told if key.isupper()}
    assert told.keys() - variables == keys
    for key, field in settings.model_fields.items():
        if field.is_required():
            assert told[key] == "required"
        elif field.default is None:
            assert told[key] == "none"
        elif told[key] == "a text":
            assert isinstance(field.default, str)
        else:
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            assert told[key] == str(default).replace("'", '"') or told[key] == f'"{default}"', key
