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

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("examples/notebooks/*.ipynb"))


def said(cell: Any) -> list[tuple[str, str]]:
    """The kind and the text of each output of a cell, without what machines differ in."""
    found = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        text = output.get("text") or data.get("text/plain", "")
        kinds = " ".join(sorted(data)) or output.get("name", "")
        # Numbers and lengths of lines differ with the last digits; a figure has its address.
        words = re.sub(r"[\d.]+|0x\w+|[─━]+|/\S+", "…", text)
        found.append((f"{output.output_type} {kinds}", " ".join(words.split())))
    return found


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
    assert any("image/png" in kinds for cell in ran.cells for kinds, _ in said(cell))
    for before, after in zip(stored.cells, ran.cells, strict=True):
        assert said(after) == said(before), before.source
