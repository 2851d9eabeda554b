"""The notebooks run as they stand, and say what is stored in them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(1200)]

# Numbers, and the lengths of bars and addresses that go with them.
_VARIES = re.compile(r"[\d.:]+|0x\w+|━+")
NOTEBOOKS = sorted(Path(__file__).parents[1].glob("examples/notebooks/*.ipynb"))


def said(cell: Any) -> dict[str, str]:
    """What a cell puts out, by its kind, without what machines differ in."""
    found: dict[str, str] = {}
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        kind = output.get("name") or " ".join(sorted(data))
        # A stream comes in pieces as it likes.
        found[kind] = found.get(kind, "") + (output.get("text") or data.get("text/plain", ""))
    return {kind: " ".join(_VARIES.sub("…", text).split()) for kind, text in found.items()}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own: its kernel is another process
def test_a_notebook_runs_and_says_what_is_stored_in_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    stored = nbformat.read(path, as_version=4)
    ran = nbformat.read(path, as_version=4)
    client = NotebookClient(
        ran, kernel_name="python3", timeout=900, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert any("image/png" in kind for cell in ran.cells for kind in said(cell))
    for before, after in zip(stored.cells, ran.cells, strict=True):
        assert said(after) == said(before), before.source
