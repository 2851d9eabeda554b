"""Answers that the grader leaves to a person: left out of every figure, counted and listed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from energy_guard.files import write_whole
from energy_guard.questions.answered import Answered


def sure(answers: Iterable[Answered]) -> list[Answered]:
    """Return the answers whose grade can be counted on, in order."""
    return [answered for answered in answers if not answered.unsure]


def list_unsure(answers: Iterable[Answered], path: Path) -> int:
    """Write the answers that a person should grade: one JSON object a line.

    Each has `id`, `task`, `question` and `answer`. An old list goes if there is none.

    Args:
        answers: All of them.
        path: The file to write.

    Returns:
        How many there are.

    """
    unsure = [answered for answered in answers if answered.unsure]
    lines = [
        json.dumps(
            {"id": a.id, "task": a.task, "question": a.question, "answer": a.trace.text},
            ensure_ascii=False,
        )
        for a in unsure
    ]
    if lines:
        write_whole(path, "\n".join(lines) + "\n")
    else:
        path.unlink(missing_ok=True)
    return len(unsure)
