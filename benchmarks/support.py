"""Measures the support by passages of answers that are stored, as `--support` does of new ones.

    python -m benchmarks.support ANSWERS.jsonl --model M [--system TEXT | --shots N] [--asking]

With --asking the model is asked about its passages, and nothing is read twice.
Questions are put as they were then, which is checked. What has no passages is copied as it is.
Goes on where it was ended: the answers are written to ANSWERS.support.jsonl as they come.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from energy_guard import load
from energy_guard.questions.answered import AnswerFile, read_answers
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import as_told, in_chat, kind_of, name_of, request_of
from energy_guard.support import with_support
from energy_guard.support_features import BY_ASKING, SUPPORT


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--system")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--asking", action="store_true")
    parser.add_argument("--n-threads", type=int, default=1)
    args = parser.parse_args()
    made_with, answers = read_answers(args.answers)
    wordings = as_told(args.system, args.shots, otherwise=in_chat())
    if name_of(wordings) != made_with["wording"]:
        sys.exit(f"these were asked as {made_with['wording']!r}, not as {name_of(wordings)!r}")
    wanted = BY_ASKING if args.asking else SUPPORT
    out = args.answers.with_name(f"{args.answers.stem}.support.jsonl")
    file = AnswerFile(out, {**made_with, "support": sorted(wanted)})
    done = {answered.id for answered in file.start()}
    threads = {"n_threads": args.n_threads, "n_threads_batch": args.n_threads}
    backend = load(args.model, n_ctx=2048, **threads)
    for answered in answers:
        if answered.id in done:
            continue
        row = Question(
            id=answered.id,
            task=answered.task,
            question=answered.question,
            context=answered.context,
            choices=answered.choices,
            answers=answered.answers,
            answerable=answered.answerable,
        )
        request = request_of(row, wordings[kind_of(row)])
        with backend.session(request) as session:
            traces = [
                with_support(session, request, each.trace, wanted) for each in answered.attempts
            ]
        attempts = tuple(
            replace(each, trace=trace)
            for each, trace in zip(answered.attempts, traces, strict=True)
        )
        file.append(replace(answered, attempts=attempts))


if __name__ == "__main__":
    main()
