"""How often `nothing_to_check` is wrong, on the rows of nothing_to_check.jsonl.

False alarm: a text with nothing to check that would be checked. Miss: a text with something to
check that is declared to have nothing; the worse error. The rules were tuned on the part "tune".
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from energy_guard.locate import nothing_to_check

ROWS = Path(__file__).with_suffix(".jsonl")
EXPECTED = {"nothing": "false alarms", "check": "misses"}


def wilson(wrong: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share.

    >>> [round(limit, 3) for limit in wilson(0, 40)]
    [0.0, 0.088]
    """
    share, spread = wrong / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def main() -> None:
    """Print the table, or the rows of the part "tune" that come out wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failures", action="store_true", help='the wrong rows of "tune"')
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["wrong"] = (nothing_to_check(row["question"], row["answer"]) is None) == (
            row["expect"] == "nothing"
        )
    if parser.parse_args().failures:
        for row in rows:
            if row["wrong"] and row["part"] == "tune":
                sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        return
    sys.stdout.write("| part | languages | error | wrong / n | rate | 95 % interval |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for part in ("held-out", "tune"):
        for languages in ("all", "English", "other"):
            for expect in EXPECTED:
                chosen = [row for row in rows if row["part"] == part and row["expect"] == expect]
                sys.stdout.write(_line(part, languages, expect, chosen))


def _line(part: str, languages: str, expect: str, rows: list[dict[str, Any]]) -> str:
    if languages != "all":
        rows = [row for row in rows if (row["language"] == "en") == (languages == "English")]
    wrong, n = sum(row["wrong"] for row in rows), len(rows)
    low, high = wilson(wrong, n)
    rate = f"{wrong / n:.1%} | {low:.1%} to {high:.1%}"
    return f"| {part} | {languages} | {EXPECTED[expect]} | {wrong} / {n} | {rate} |\n"


if __name__ == "__main__":
    main()
