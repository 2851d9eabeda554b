"""A package that is not installed: the error names it, and the extra that brings it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import energy_guard
from energy_guard.calibrate.binomial import answers_needed, chance_to_certify, p_values
from energy_guard.calibrate.detector import Examples, fit
from energy_guard.calibrate.probability import fit_calibration
from energy_guard.errors import MissingExtraError
from energy_guard.estimates.estimate import proportion
from energy_guard.evaluate.figures import roc
from energy_guard.questions.reading.tables import parquet_records
from energy_guard.report.page import evaluation_page
from energy_guard.report.plots import roc_plot

WRONG = np.array([False, True] * 20)
RISK = np.arange(40.0)
COUNT = np.array([3])
EXAMPLES = Examples(("span.nll:max",), RISK[:, None], WRONG, np.full(40, "t"))

NEEDS: dict[str, tuple[str, Callable[[], Any]]] = {
    "fit": ("scipy", lambda: fit(EXAMPLES)),
    "p_values": ("scipy", lambda: p_values(COUNT, COUNT * 9, max_risk=0.1)),
    "answers_needed": ("scipy", lambda: answers_needed(0.01, 0.1, level=0.05)),
    "chance_to_certify": (
        "scipy",
        lambda: chance_to_certify(COUNT, COUNT * 9, later=COUNT, max_risk=0.1, level=0.05),
    ),
    "proportion": ("scipy", lambda: proportion(1, 2)),
    "fit_calibration": ("sklearn", lambda: fit_calibration(RISK, WRONG)),
    "roc": ("sklearn", lambda: roc(RISK, WRONG)),
    "evaluation_page": ("jinja2", lambda: evaluation_page({})),
    "roc_plot": ("matplotlib", lambda: roc_plot({})),
    "parquet_records": ("pyarrow", lambda: parquet_records(b"PAR1", Path("x.parquet"))),
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_package_is_named_with_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, call = NEEDS[name]
    for module in [package, *(m for m in sys.modules if m.split(".")[0] == package)]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*\n.*energy-guard\[eval\]"):
        call()


PACKAGES = {"scipy", "sklearn", "matplotlib", "jinja2", "pyarrow"}
ROOT = Path(energy_guard.__file__).parent


def unguarded(node: ast.AST) -> Iterator[str]:
    """Imports of packages of the extra that no `needs_extra` speaks for."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.With) and "needs_extra" in ast.unparse(child.items[0]):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module or ""
        yield from unguarded(child)


@pytest.mark.parametrize(
    "path",
    # What engines bring with them (jinja2) is there when their backend is.
    [path for path in sorted(ROOT.rglob("*.py")) if "backends" not in path.parts],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_no_module_imports_a_package_of_an_extra_without_naming_the_extra(path: Path) -> None:
    found = unguarded(ast.parse(path.read_text("utf-8")))
    assert [name for name in found if name.split(".")[0] in PACKAGES] == []
