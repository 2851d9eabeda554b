"""Writes the built-in quiz: python -m benchmarks.quiz.build.

The order is such that the first n questions are a balanced sample, whatever n is: by default
`energy-guard calibrate` asks the first third.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import energy_guard.data
from benchmarks.quiz.item import Item
from benchmarks.quiz.sources import all_items

SEED: Final = "quiz 2"


def in_order(items: Sequence[Item]) -> list[Item]:
    """Return the items in a drawn order in which every stratum is spread evenly."""
    strata: dict[tuple[str, str, str], list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: _drawn(item.id)):
        strata[item.stratum].append(item)
    placed = [
        ((at + _drawn("".join(stratum))) / len(members), item)
        for stratum, members in strata.items()
        for at, item in enumerate(members)
    ]
    return [item for _, item in sorted(placed, key=lambda pair: (pair[0], pair[1].id))]


def _drawn(text: str) -> float:
    """A number from 0 to 1, the same on every machine."""
    digest = hashlib.sha256(f"{SEED} {text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def written(items: Sequence[Item]) -> str:
    """Return the file of labelled rows."""
    rows = (json.dumps(item.row(), ensure_ascii=False) for item in in_order(items))
    return "".join(f"{row}\n" for row in rows)


if __name__ == "__main__":
    path = Path(energy_guard.data.__file__).with_name("quiz.jsonl")
    path.write_text(written(all_items()), "utf-8")
