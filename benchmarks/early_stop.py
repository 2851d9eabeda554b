"""What the early-stop rule saves and what it loses: `python -m benchmarks.early_stop DATA.jsonl…`.

Answers are written in full and greedily, so what a rule would have done can be read off their
traces. An answer counts as right when it contains a gold answer or alias, word for word.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from energy_guard import load
from energy_guard.policy import EarlyStop
from energy_guard.request import Finished, Request
from energy_guard.running import Window
from energy_guard.score import Detector
from energy_guard.trace import Trace

RULES = ((8, 2.0), (8, 2.5), (8, 3.0), (16, 1.75), (16, 2.0), (16, 2.5))
"""(window, risk) pairs to try."""


def main(
    data: Annotated[list[Path], typer.Argument(help="JSONL files of labelled questions.")],
    n: Annotated[int, typer.Option(help="Questions in all.")] = 200,
    max_tokens: int = 128,
    model: str = "demo",
    detector: str = "nll:max",
) -> None:
    """Write answers to n questions, and print what each rule would have saved and lost."""
    rows = [json.loads(line) for file in data for line in file.read_text("utf-8").splitlines()]
    random.Random(0).shuffle(rows)  # noqa: S311
    rows = [row for row in rows if row["answerable"] and not row["context"]][:n]
    backend, judge = load(model), Detector.parse(detector)
    answers = []
    for row in track(rows, "asking", console=Console(stderr=True)):
        request = Request.chat(row["question"], max_tokens=max_tokens)
        trace = next(e.trace for e in backend.generate([request]) if isinstance(e, Finished))
        answers.append((_right(trace.text, row["answers"]), trace))
    right = sum(good for good, _ in answers)
    tokens = sum(len(trace) for _, trace in answers)
    console = Console()
    console.print(
        f"{len(answers)} answers of {backend.info.name}, {tokens} tokens, {right} right; "
        f"signal {judge.signal}"
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("window", "risk", "tokens saved", "right lost", "wrong stopped"):
        table.add_column(heading, justify="right")
    for window, limit in RULES:
        saved = lost = stopped = 0
        for good, trace in answers:
            at = _stop(judge, trace, window, limit)
            if at is not None:
                saved += len(trace) - at
                lost, stopped = lost + good, stopped + (not good)
        table.add_row(
            str(window),
            f"{limit:g}",
            f"{saved / tokens:.1%}",
            f"{lost} of {right}",
            f"{stopped} of {len(answers) - right}",
        )
    console.print(table)


def _stop(detector: Detector, trace: Trace, window: int, limit: float) -> int | None:
    """After how many tokens the rule would have ended this answer; None where it would not."""
    watch = Window(EarlyStop(window=window, risk=limit), detector)
    values = trace.signal(detector.signal)[: len(trace) - 1]  # the last token ends by itself
    for count, (piece, value) in enumerate(zip(trace.pieces, values, strict=False), 1):
        watch.push(piece, detector.risk(float(value)))
        if watch.tripped:
            return count + 1  # known with the row after the token, which has chosen one more
    return None


def _right(answer: str, golds: Sequence[str]) -> bool:
    said = f" {' '.join(_words(answer))} "
    return any(f" {' '.join(_words(gold))} " in said for gold in golds if any(_words(gold)))


def _words(text: str) -> Iterator[Any]:
    return (w for w in re.findall(r"\w+", text.casefold()) if w not in ("a", "an", "the"))


if __name__ == "__main__":
    typer.run(main)
