"""How a model grades beside the rules, held against people: what is put to it, and what it says.

`python -m benchmarks.grading_model ask JUDGED.jsonl` stores the log odds of what the rules call
wrong or unsure in a sample; it goes on with what is stored. `python -m benchmarks.grading_model
report JUDGED.jsonl` fits how they are read on half of the questions and prints, on the other half,
how often rules with and without the model agree with people, as far as the sample was asked about.
JUDGED has rows of set, system, question, answers, answer, right; `grading_model.jsonl` has the
numbers of rows and no text of them.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from benchmarks.models import model_path
from energy_guard import load
from energy_guard.questions.grade import Outcome, grade_row
from energy_guard.questions.model_grader import Reading
from energy_guard.questions.rows import Question
from energy_guard.questions.same_answer import PROMPT, AnswerPair, NotCompared, SameAnswer

OF_EACH: Final = 200
"""Answers of each set and system in the sample."""

PUT: Final = ("wrong", "unsure")
"""What the rules say of answers that the model is asked about."""

LOWS: Final = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45)
"""Lower limits that are tried, the widest first; the upper one lies as far above 0.5."""

MOST_UNSURE: Final = 0.05
"""Share of all answers, those that the rules decide among them."""

STORED: Final = Path(__file__).with_name("grading_model.jsonl")

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
    def for_fitting(self) -> bool:
        """Whether its question is in the half that the reading is fitted on."""
        return hashlib.sha256(self.row.question.encode()).digest()[0] % 2 == 0


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
    model: Annotated[str, typer.Option(help="A name of benchmarks.models.")] = "qwen2.5-coder-1.5b",
    out: Annotated[Path, typer.Option(help="JSONL file for the log odds.")] = STORED,
) -> None:
    """Store the log odds of every answer of the sample that the rules do not decide."""
    done = {item["number"] for item in stored(out)}
    backend = load(model_path(model), n_ctx=2048, n_threads=1)
    with backend.session() as session, out.open("a", encoding="utf-8") as file:
        same = SameAnswer(backend, session)
        for item in sample(judged):
            if grade_row(item.row, item.answer) not in PUT or item.number in done:
                continue
            began = time.monotonic()
            found = same.log_odds(AnswerPair(item.row.question, item.row.answers, item.answer))
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


@dataclass(frozen=True)
class Graded:
    """A judged answer with what the rules say of it, and the log odds if a model gave any."""

    item: Judged
    rules: Outcome
    log_odds: float | None

    @property
    def put(self) -> bool:
        """Whether it is one that the model is asked about."""
        return self.rules in PUT

    def outcome(self, reading: Reading) -> Outcome:
        """What rules and model say together."""
        if not self.put:
            return self.rules
        if self.log_odds is None:
            return "unsure"
        return reading.outcome(self.log_odds, rules=self.rules)


@app.command()
def report(
    judged: Annotated[Path, typer.Argument(help="JSONL file with judged answers.")],
    out: Annotated[Path, typer.Option(help="What `ask` stored.")] = STORED,
) -> None:
    """Fit how the log odds are read on half of the questions, and print the other half's table."""
    asked = {item["number"]: item for item in stored(out)}
    reached: list[Graded] = []
    for item in sample(judged):
        log_odds = asked.get(item.number, {}).get("log_odds")
        one = Graded(item, grade_row(item.row, item.answer), log_odds)
        if one.put and item.number not in asked:
            break
        reached.append(one)
    fitting = [one for one in reached if one.item.for_fitting]
    held_out = [one for one in reached if not one.item.for_fitting]
    reading = fitted(fitting)
    console = Console(width=160)
    console.print(
        f"{reading}, from {len(fitting)} answers, {sum(o.put for o in fitting)} of them put"
    )
    console.print(f"{len(held_out)} answers to the other half of the questions:")
    console.print(_table(held_out, reading))
    console.print("Fitted on either half and tried on the other:")
    console.print(_either_way(fitting, held_out))
    seconds = sorted(item["seconds"] for item in asked.values())
    peak = max(item["peak_mib"] for item in asked.values())
    console.print(f"{median(seconds):.1f} s an answer (median), {peak:,.0f} MiB at most")


def fitted(graded: Sequence[Graded]) -> Reading:
    """Fit P(same) to what people say, by logistic regression on the log odds and the rules.

    The limits are the widest that leave few enough answers unsure.
    """
    from sklearn.linear_model import LogisticRegression

    put = [one for one in graded if one.put and one.log_odds is not None]
    numbers = [[one.log_odds, float(one.rules == "unsure")] for one in put]
    model = LogisticRegression(C=1e6).fit(numbers, [one.item.right for one in put])
    slope, more = map(float, model.coef_[0])
    intercept = float(model.intercept_[0])
    readings = [
        Reading(slope=slope, if_wrong=intercept, if_unsure=intercept + more, low=low, high=1 - low)
        for low in LOWS
    ]
    few = [
        reading
        for reading in readings
        if sum(one.outcome(reading) == "unsure" for one in graded) <= MOST_UNSURE * len(graded)
    ]
    return few[0] if few else readings[-1]


def _table(graded: Sequence[Graded], reading: Reading) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("answers", "n", "put", "agree: rules", "with the model", *_BESIDES):
        table.add_column(heading, justify="left" if heading == "answers" else "right")
    groups = sorted({one.item.group for one in graded})
    parts = {" ".join(group): [g for g in graded if g.item.group == group] for group in groups}
    for name in sorted({name for name, _ in groups}):
        models = [g for g in graded if g.item.group[0] == name and g.item.group[1] != "fid"]
        parts[f"{name}, language models"] = models
    for name, part in {**parts, "all": list(graded)}.items():
        table.add_row(name, str(len(part)), *_figures(part, reading))
    return table


_BESIDES: Final = ("false right: rules", "with the model", "unsure: rules", "with the model")


def _figures(part: Sequence[Graded], reading: Reading) -> list[str]:
    n, right = len(part), [one.item.right for one in part]
    alone = list(zip([one.rules for one in part], right, strict=True))
    together = list(zip([one.outcome(reading) for one in part], right, strict=True))
    return [
        str(sum(one.put for one in part)),
        *(_share(_agreeing(pairs), n) for pairs in (alone, together)),
        *(f"{pairs.count(('right', False)) / n:.1%}" for pairs in (alone, together)),
        *(f"{[o for o, _ in pairs].count('unsure') / n:.1%}" for pairs in (alone, together)),
    ]


def _either_way(one: Sequence[Graded], other: Sequence[Graded]) -> Table:
    """Rules, rules with the model, and with the model if the rules are unsure; on all answers."""
    read = [(g, fitted(one)) for g in other] + [(g, fitted(other)) for g in one]
    outcomes: dict[str, list[Outcome]] = {
        "rules": [g.rules for g, _ in read],
        "with the model": [g.outcome(reading) for g, reading in read],
        "asked only about unsure": [
            g.outcome(reading) if g.rules == "unsure" else g.rules for g, reading in read
        ],
        "unsure is right": ["right" if g.rules == "unsure" else g.rules for g, _ in read],
    }
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "agree", "NQ, language models", "TriviaQA", "not a person's, of the sure"):
        table.add_column(heading)
    for name, said in outcomes.items():
        pairs = [(o, g.item.right) for o, (g, _) in zip(said, read, strict=True)]
        groups = [g.item.group for g, _ in read]
        parts = [
            [pair for pair, (of, by) in zip(pairs, groups, strict=True) if of == s and by != "fid"]
            for s in ("nq", "tq")
        ]
        sure = [pair for pair in pairs if pair[0] != "unsure"]
        table.add_row(
            name,
            *(_share(_agreeing(part), len(part)) for part in (pairs, *parts)),
            f"{1 - _agreeing(sure) / len(sure):.1%}",
        )
    return table


def _agreeing(pairs: Iterable[tuple[Outcome, bool]]) -> int:
    """How many are graded as the person did; unsure agrees with nobody."""
    return sum(outcome != "unsure" and (outcome == "right") == right for outcome, right in pairs)


def _share(count: int, n: int) -> str:
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return f"{count / n:.1%} ({interval.low:.1%} to {interval.high:.1%})"


if __name__ == "__main__":
    app()
