"""How a model grades beside the rules, held against people: what is put to it, and what it says.

`python -m benchmarks.grading_model ask JUDGED.jsonl --model NAME --out FILE` stores the log odds
of every answer of a sample that has no gold answer in it; it goes on with a file that it began.
`python -m benchmarks.grading_model report JUDGED.jsonl --out FILE` fits how they are read on half
of the questions and prints, on the other half, how often rules with and without the model agree
with people. JUDGED has rows of set, system, question, answers, answer, right.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import string
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.models import model_path
from energy_guard import load
from energy_guard.questions.rows import Question
from energy_guard.questions.same_answer import PROMPT, Comparison, NotCompared, SameAnswer

OF_EACH: Final = 200
"""Answers of each set and system in the sample."""

app = typer.Typer()


@dataclass(frozen=True)
class Judged:
    """An answer that a person judged. number: its line in the file, from 0."""

    number: int
    group: tuple[str, str]
    row: Question
    answer: str
    right: bool

    @property
    def contains_gold(self) -> bool:
        """Whether a gold answer stands in it: lower case, no punctuation, no articles."""
        said = f" {_plain(self.answer)} "
        return any(f" {_plain(gold)} " in said for gold in self.row.answers if _plain(gold))

    @property
    def for_fitting(self) -> bool:
        """Whether its question is in the half that the reading is fitted on."""
        return hashlib.sha256(self.row.question.encode()).digest()[0] % 2 == 0


_BLANKS: Final = str.maketrans(string.punctuation, " " * len(string.punctuation))


def _plain(text: str) -> str:
    spaced = text.lower().translate(_BLANKS)
    return " ".join(word for word in spaced.split() if word not in ("a", "an", "the"))


def sample(judged: Path) -> list[Judged]:
    """Draw the same number of answers of each set and system, in an order that is random too.

    Any first part of it is a random sample.
    """
    groups: dict[tuple[str, str], list[Judged]] = {}
    for number, line in enumerate(judged.read_text("utf-8").splitlines()):
        data: dict[str, Any] = json.loads(line)
        group = (data["set"], data["system"])
        row = Question(str(number), group[0], data["question"], tuple(data["answers"]))
        item = Judged(number, group, row, data["answer"], data["right"])
        groups.setdefault(group, []).append(item)
    dice = random.Random(0)  # noqa: S311
    drawn = [
        item
        for group in sorted(groups)
        for item in dice.sample(groups[group], min(OF_EACH, len(groups[group])))
    ]
    dice.shuffle(drawn)
    return drawn


@app.command()
def ask(
    judged: Annotated[Path, typer.Argument(help="JSONL file with judged answers.")],
    model: Annotated[str, typer.Option(help="A name of benchmarks.models.")],
    out: Annotated[Path, typer.Option(help="JSONL file for the log odds.")],
) -> None:
    """Store the log odds of every answer of the sample that has no gold answer in it."""
    done = {item["number"] for item in stored(out)}
    backend = load(model_path(model), n_ctx=2048, n_threads=1)
    with backend.session() as session, out.open("a", encoding="utf-8") as file:
        same = SameAnswer(backend, session)
        for item in sample(judged):
            if item.contains_gold or item.number in done:
                continue
            began = time.monotonic()
            found = same.log_odds(Comparison(item.row.question, item.row.answers, item.answer))
            data = {
                "number": item.number,
                "log_odds": None if isinstance(found, NotCompared) else found,
                "seconds": time.monotonic() - began,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "by": backend.info.fingerprint,
                "prompt": PROMPT,
            }
            file.write(json.dumps(data) + "\n")
            file.flush()


def stored(out: Path) -> list[dict[str, Any]]:
    """Read what `ask` stored with today's prompt; nothing if there is no file."""
    lines = out.read_text("utf-8").splitlines() if out.exists() else []
    items: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [item for item in items if item["prompt"] == PROMPT]


if __name__ == "__main__":
    app()
