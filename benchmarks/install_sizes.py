"""What each extra takes on the disk: `python -m benchmarks.install_sizes`, a table for the docs.

Nothing is installed for it: the packages that an extra brings are followed through the
environment in which this runs, where `pip install '.[test]'` has put all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = (
    *"llama-cpp transformers demo eval langchain agents examples".split(),
    *"otel ray remote server all test".split(),
)


def main() -> None:
    """Print how many packages each extra brings, and their size in MB (10^6 bytes)."""
    base = packages("energy-guard", frozenset())
    print("| extra | packages beside the base | MB |\n|---|---|---|")  # noqa: T201
    print(f"| (none) | {len(base)} in all | {size(base):.0f} |")  # noqa: T201
    for extra in EXTRAS:
        brought = packages("energy-guard", frozenset({extra})) - base
        print(f"| `{extra}` | {len(brought)} | {size(brought):.0f} |")  # noqa: T201


def packages(name: str, extras: frozenset[str]) -> set[str]:
    """Return the names of a package and of all that it needs, in the environment of this run."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(name), extras)]
    while waiting:
        entry = waiting.pop()
        if entry in found:
            continue
        found.add(entry)
        for needed in requirements(*entry):
            waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return {name for name, _ in found if installed(name) is not None}


def requirements(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """Yield what a package asks for with these extras on this machine."""
    found = installed(name)
    for text in (found and found.requires) or ():
        needed = Requirement(text)
        environments = [{"extra": extra} for extra in extras or {""}]
        if needed.marker is None or any(map(needed.marker.evaluate, environments)):
            yield needed


def installed(name: str) -> Distribution | None:
    """Return an installed package; None if there is none, as a marker has left it out."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def size(names: set[str]) -> float:
    """Return what the files of packages take together, in MB, without compiled Python."""
    total = 0
    for name in names:
        found = installed(name)
        files = (found and found.files) or ()
        total += sum(file.size or 0 for file in files)
    return total / 1e6


if __name__ == "__main__":
    main()
