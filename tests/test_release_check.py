"""The check of a release installs each extra that users can ask for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_FOR_USERS = {"docs", "test", "vllm"}  # the last one has an environment of its own


def test_the_check_of_a_release_tries_each_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    tried = re.search(r"extras=\$\{1-(.*)\}", (ROOT / ".ci/release-check").read_text("utf-8"))
    assert tried
    assert set(tried[1].split()) == set(project["optional-dependencies"]) - NOT_FOR_USERS
