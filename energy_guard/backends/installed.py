"""Which engines are installed, and what to do where the one that is needed is not."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from energy_guard.errors import MissingExtraError

PACKAGES: Final = {
    "llama-cpp": ("llama_cpp",),
    "transformers": ("torch", "transformers"),
    "vllm": ("vllm",),
}
"""What has to be importable, for each kind of backend."""


def is_installed(backend: str) -> bool:
    """Whether the packages of a backend are there; nothing is imported."""
    specs = (find_spec(package) for package in PACKAGES[backend])
    return all(spec is not None and spec.origin for spec in specs)  # a mere folder has no origin


def require(backend: str) -> None:
    """Raise MissingExtraError if a backend's packages are not installed."""
    if not is_installed(backend):
        raise missing(backend, f"the {backend} backend is not installed")


def missing(backend: str, what: str) -> MissingExtraError:
    """The error for a backend that cannot be used, with both ways out.

    what: happened.
    """
    other = "transformers" if backend != "transformers" else "llama-cpp"
    use = f'--backend {other}, or load(…, backend="{other}") in Python'
    if other == "llama-cpp":
        use += ", for GGUF files"
    if is_installed(other):
        way_out = f"Or use the {other} backend, which is installed: {use}."
    else:
        way_out = f"Or install the other one: pip install 'energy-guard[{other}]' ({use})."
    return MissingExtraError(what, f"Install it: pip install 'energy-guard[{backend}]'\n{way_out}")
