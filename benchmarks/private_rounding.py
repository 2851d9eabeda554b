"""What a private log's rounding moves: answers as they were judged, and judged again from it.

    python -m benchmarks.private_rounding ANSWERS.jsonl [PROFILE.json]

Takes the answers that `calibrate` and `eval` keep, and no model. Without a profile, the one that
is found for the model judges.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from energy_guard import Profile
from energy_guard.backends.base import ModelInfo
from energy_guard.judge import Judge
from energy_guard.log import TraceLog, read_log
from energy_guard.questions.answered import read_answers
from energy_guard.request import Request
from energy_guard.result import Result

STEPS = (0.01, 0.05, 0.1)
"""Moves of P(wrong) that are counted."""


def twice(judge: Judge, info: ModelInfo, answers: Path, log: Path) -> list[tuple[Result, Result]]:
    """Return each answer's result, and the one from a private log of it."""
    _, rows = read_answers(answers)
    kept, live = TraceLog(log, texts=False), []
    for answered in rows:
        context = (answered.context,) if answered.context else ()
        request = Request.chat(answered.question, context=context, choices=answered.choices)
        attempt = judge.assess(answered.trace, request)
        live.append(judge.conclude([attempt], judge.final([attempt]), info=info, request=request))
        kept.append(request, live[-1], judge.locator, "token-by-token")
    again = []
    for entry in read_log(log):
        attempt = judge.assess_stored(entry, relocate=False)
        again.append(judge.conclude([attempt], judge.final([attempt]), info=info))
    return list(zip(live, again, strict=True))


def line(name: str, pairs: Sequence[tuple[Result, Result]]) -> str:
    """Return a row of the table."""
    both = [(a.p_wrong, b.p_wrong) for a, b in pairs]
    moved = np.array([b - a for a, b in both if a is not None and b is not None])
    one_side = sum((a is None) != (b is None) for a, b in both)
    verdicts = sum(a.verdict != b.verdict for a, b in pairs)
    safer = sum(a.shown < b.shown for a, b in pairs)
    if not len(moved):
        return f"| {name} | {len(pairs)} | 0 | – | – | – | {one_side} | {verdicts} | {safer} |"
    size = np.abs(moved)
    beyond = ", ".join(f"{(size > step).mean():.1%}" for step in STEPS)
    return (
        f"| {name} | {len(pairs)} | {len(moved)} | {size.mean():.4f} | {size.max():.3f} "
        f"| {beyond} | {one_side} | {verdicts} | {safer} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answers", type=Path)
    parser.add_argument("profile", type=Path, nargs="?")
    args = parser.parse_args()
    made_with, _ = read_answers(args.answers)
    info = ModelInfo(**made_with["model"])
    profile: Profile | Literal["auto"] = "auto"
    if args.profile:
        profile = Profile.read(args.profile)
    judge = Judge.assemble(profile=profile, info=info)
    with tempfile.TemporaryDirectory() as folder:
        pairs = twice(judge, info, args.answers, Path(folder, "log.jsonl"))
    lengths = [p[0].kept.score.length if p[0].score is not None else 0 for p in pairs]  # type: ignore[union-attr]
    beyond = ", ".join(f"{step:g}" for step in STEPS)
    sys.stdout.write(
        f"{info.name}, {judge.detector.name}\n\n"
        f"| exact answer | n | with P(wrong) | mean | largest | beyond {beyond} "
        "| P(wrong) in one only | other verdicts | shown only by the log |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    parts = {"all": range(10**6), "one token": range(1, 2), "two": range(2, 3)}
    for name, wanted in parts.items():
        some = [pair for pair, length in zip(pairs, lengths, strict=True) if length in wanted]
        sys.stdout.write(line(name, some) + "\n")


if __name__ == "__main__":
    main()
