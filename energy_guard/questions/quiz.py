"""The built-in quiz: what a model is asked when nobody gives questions of their own.

Its file is made by benchmarks/quiz, in an order in which every beginning is a balanced sample.
"""

from __future__ import annotations

from importlib.resources import as_file, files

from energy_guard.questions.rows import Question, read_rows


def quiz(*, whole: bool) -> list[Question]:
    """Return the quiz; its first third, in which every kind has its share, if not the whole.

    >>> len(quiz(whole=True)) // len(quiz(whole=False))
    3
    """
    with as_file(files("energy_guard.data") / "quiz.jsonl") as path:
        rows = read_rows([path])
    return rows if whole else rows[: len(rows) // 3]
