"""What many stored answers cost: to score from their signals, to keep, to merge and to hold.

    python -m benchmarks.many_answers ANSWERS.jsonl [--rows 100000] [--workers 2] [--folder DIR]

The answers of an evaluation are repeated until there are so many. The plain loop scores them one
after the other in this process; it takes turns with workers on Ray, a fifth of the rows each time.
Times are of the processor, but for those of Ray.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import pyarrow as arrow

from energy_guard.cli.screen import say
from energy_guard.locate import NothingToCheck, Span
from energy_guard.log import LogEntry
from energy_guard.log_table import batches_in, write_table
from energy_guard.on_ray.cluster import Share, connected, spread
from energy_guard.questions.answered import Answered, AnswerFile, read_answers
from energy_guard.score_table import TableScorer

_TURNS: Final = 5
_APPENDED: Final = 500
SETTINGS: Final = dict.fromkeys(("policy", "detector", "locator", "profile")) | {"support": False}


def main() -> None:
    """Measure all of it, and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    made_with, answers = read_answers(args.answers)
    tokens = statistics.mean(len(answered.trace) for answered in answers)
    say(f"{len(answers)} answers of {tokens:.1f} tokens on average, {args.rows} rows")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        _keep(answers, made_with, folder, args.rows)
        _score(folder / "log.parquet", args.workers)
        _merge(answers, made_with, folder)
        _hold(folder / "answers.jsonl")


def _keep(answers: list[Answered], made_with: dict[str, Any], folder: Path, rows: int) -> None:
    begun = time.process_time()
    entries = [_entry(answered, made_with) for answered in answers]
    write_table(islice(cycle(entries), rows), folder / "log.parquet")
    seconds = time.process_time() - begun
    # Repeated answers compress too well to say anything: one copy of each says it.
    write_table(entries, folder / "once.parquet")
    each = (folder / "once.parquet").stat().st_size / len(answers)
    say(f"kept as Parquet: {each:.0f} bytes an answer, written in {1e6 * seconds / rows:.0f} µs")


def _score(log: Path, workers: int) -> None:
    parts = _with_begins(batches_in(log))
    scorer = TableScorer(SETTINGS)
    share = Share(workers=workers)
    work: list[float] = []
    ratios: list[float] = []
    done = 0
    with connected("ray", share) as count:
        list(spread(scorer, parts[:1] * count, workers=count))  # processes start, and import
        for turn in range(_TURNS):
            mine = parts[turn::_TURNS]
            if not mine:
                break
            rows = sum(batch.num_rows for _, batch in mine)
            begun, worked = time.perf_counter(), time.process_time()
            here = [scorer(part) for part in mine]
            work.append((time.process_time() - worked) / rows)
            between = time.perf_counter()
            there = list(spread(scorer, mine, workers=count))
            ratios.append((time.perf_counter() - between) / (between - begun))
            same = sorted(there, key=lambda table: table["row"][0].as_py())
            if same != here:
                raise SystemExit("the numbers differ")
            done += rows
    say(
        f"scored {done} rows in {len(work)} turns: {1e6 * statistics.median(work):.0f} µs of "
        f"processor time a row in a plain loop; with {workers} workers on Ray the clock shows "
        f"{statistics.median(ratios):.2f} times as much ({min(ratios):.2f} to {max(ratios):.2f}); "
        "the results are equal"
    )


def _with_begins(batches: Iterator[arrow.RecordBatch]) -> list[tuple[int, arrow.RecordBatch]]:
    parts, begin = [], 0
    for batch in batches:
        parts.append((begin, batch))
        begin += batch.num_rows
    return parts


def _merge(answers: list[Answered], made_with: dict[str, Any], folder: Path) -> None:
    """What the command does for each answer that a worker sends: read it, and put it on disk."""
    file = AnswerFile(folder / "answers.jsonl", made_with)
    file.start()
    said = [answered.to_dict() for answered in islice(cycle(answers), _APPENDED)]
    reads, writes = [], []
    for number, each in enumerate(said):
        begun = time.process_time()
        answered = Answered.from_dict({**each, "id": str(number)})
        between = time.process_time()
        reads.append(between - begun)
        file.append(answered)
        writes.append(time.process_time() - between)
    size = file.path.stat().st_size / _APPENDED
    say(
        f"merged: {1e6 * statistics.median(reads):.0f} µs to read a reply, "
        f"{1e6 * statistics.median(writes):.0f} µs to write it, {size:.0f} bytes"
    )


def _hold(path: Path) -> None:
    """What an answer takes in memory, as `eval` and `calibrate` hold all of them in the end."""
    tracemalloc.start()
    _, held = read_answers(path)
    for answered in held:
        answered.trace.signal("nll")
    size, _ = tracemalloc.get_traced_memory()
    say(f"held: {size / len(held):.0f} bytes of memory an answer")


def _entry(answered: Answered, made_with: dict[str, Any]) -> LogEntry:
    located = answered.located
    span = None
    if isinstance(located, Span):
        span = {"tokens": list(located.tokens), "text": located.text}
    return LogEntry(
        schema=1,
        time="",
        texts=True,
        question=answered.question,
        choices=answered.choices,
        context=(answered.context,) if answered.context else (),
        mode="chat",
        scoring="token-by-token",
        locator=made_with["locator"],
        nothing_to_check=isinstance(located, NothingToCheck),
        stopped=None,
        result={
            "model": made_with["model"],
            "verdict": "unscored",
            "span": span,
        },
        trace=answered.trace,
        label=answered.outcome if answered.outcome in ("right", "wrong") else None,
    )


if __name__ == "__main__":
    main()
