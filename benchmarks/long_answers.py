"""Asks the quiz's free questions for longer answers, in several forms, and keeps what is graded.

    python -m benchmarks.long_answers --model demo --n 300 --out demo.jsonl [--forms letter,steps]

Each question is asked once; the forms take turns. Questions with choices, with passages and sums
are left out: their answers are a word or a number. A run goes on where it was ended.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from energy_guard import Guard, load
from energy_guard.questions.ask import collect
from energy_guard.questions.quiz import quiz
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import Wording, alike, kind_of

FORMS: Final = {
    "plain": "",
    "detail": "Explain your answer in detail.",
    "letter": "Put your answer into a short letter to a friend.",
    "steps": "Think about it step by step, then give your answer.",
    "sentences": "Answer in two or three sentences.",
    "introduction": "Begin with a sentence that says what the question is about.",
    "fields": "Say one sentence, then give a JSON object with the field answer.",
    "advice": "Tell me, and add what I should read to learn more about it.",
    "list": "Answer with a list of three short points, the answer first.",
}
"""What is added to a question, without a system prompt: told by one to write several sentences,
small models write one."""

WORDING = Wording("", (), max_tokens=120)


def free_questions(n: int, forms: Sequence[str] = ("detail",)) -> list[Question]:
    """Return the first n questions of the quiz that can be answered at length, asking for that."""
    free = (row for row in quiz(whole=True) if kind_of(row) == "free" and row.task != "sums")
    return [
        replace(row, question=f"{row.question} {FORMS[form]}".strip())
        for row, form in zip(islice(free, n), cycle(forms), strict=False)
    ]


def main() -> None:
    """Ask what is not answered yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--n", type=int, required=True, help="questions")
    parser.add_argument("--out", type=Path, required=True, help="the file of answers")
    parser.add_argument("--forms", default="detail", help=f"some of {','.join(FORMS)}")
    args = parser.parse_args()
    forms = args.forms.split(",")
    if unknown := set(forms) - set(FORMS):
        parser.error(f"there is no form {', '.join(sorted(unknown))}; there are {', '.join(FORMS)}")
    backend = load(args.model, n_ctx=1024, n_threads=1)
    rows = free_questions(args.n, forms)
    answers = collect(Guard(backend, profile=None), rows, path=args.out, wordings=alike(WORDING))
    wrong, unsure = (sum(a.outcome == outcome for a in answers) for outcome in ("wrong", "unsure"))
    name = backend.info.name
    sys.stdout.write(f"{name}: {len(answers)} answers, {wrong} wrong, {unsure} unsure\n")


if __name__ == "__main__":
    main()
