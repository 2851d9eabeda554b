"""The quiz's sources read: lines of `question | right answers | wrong answers` under headings.

`[heading]` is the topic of what follows, and `;` stands between answers. In files of passages
`P:` begins a passage (several that follow each other are asked about together), `+` a question
that it answers, and `-` one that it does not answer, with what tempts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.quiz.arithmetic import value_of
from benchmarks.quiz.item import POLAR, Item

HERE: Final = Path(__file__).parent
LEVELS: Final = ("easy", "medium", "hard", "rare")
_SAYS_SO: Final = ("false premise", "premise is false")
"""What corrects any premise."""


def all_items() -> list[Item]:
    """Return every question of the quiz, kind by kind, in the order of the sources."""
    items = [
        replace(item, level=level)
        for level in LEVELS
        for item in _lines("facts", f"facts_{level}.txt")
    ]
    for kind in ("names_and_dates", "comparisons", "made_up"):
        items += _lines(kind, f"{kind}.txt")
    for kind in POLAR:
        items += map(_polar, _lines(kind, f"{kind}.txt"))
    for kind in ("choices", "labels", "references"):
        items += map(_offering, _lines(kind, f"{kind}.txt"))
    items += map(_sum, _lines("sums", "sums.txt"))
    for item in _lines("false_premises", "false_premises.txt"):
        items.append(replace(item, answers=(*item.answers, *_SAYS_SO)))
    items += _about_passages("passages.txt", says="passages", silent="silent_passages")
    items += _about_passages("two_passages.txt", says="two_passages", silent="silent_passages")
    return items


def _lines(kind: str, name: str) -> Iterator[Item]:
    """The questions of a file by hand, then those of the file from data with its name."""
    for folder in ("written", "from_data"):
        path = HERE / folder / name
        if path.exists():
            for topic, line in _under_headings(path):
                yield _item(kind, line, topic)


def _under_headings(path: Path) -> Iterator[tuple[str, str]]:
    """Each line of a file that says something, with its heading."""
    heading = ""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("["):
            heading = line.strip("[]")
        elif line and not line.startswith("#"):
            yield heading, line


def _item(kind: str, line: str, topic: str) -> Item:
    question, answers, wrong = [*(part.strip() for part in line.split(" | ")), "", ""][:3]
    return Item(kind, question, _listed(answers), _listed(wrong), topic)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


def _polar(item: Item) -> Item:
    return replace(item, wrong=("no" if item.answers == ("yes",) else "yes",))


def _offering(item: Item) -> Item:
    """The item with its answers as choices, in an order that does not tell the right one."""
    choices = sorted(
        (item.answers[0], *item.wrong),
        key=lambda choice: hashlib.sha256((item.question + choice).encode("utf-8")).digest(),
    )
    return replace(item, choices=tuple(choices))


def _sum(item: Item) -> Item:
    """The item with its result; the heading says how many steps it takes."""
    (expression,) = item.answers
    result = str(value_of(expression))
    return replace(item, answers=(result,), sum=expression, level=item.topic, topic="everyday")


def _about_passages(name: str, *, says: str, silent: str) -> Iterator[Item]:
    passages: list[str] = []
    asked = False
    for genre, line in _under_headings(HERE / "written" / name):
        mark, text = line.split(" ", 1)
        if mark == "P:":
            passages = [text] if asked else [*passages, text]
        else:
            item = _item(says if mark == "+" else silent, text, genre)
            if mark == "-":  # the second part is what tempts: no answer is right
                item = replace(item, answers=(), wrong=item.answers)
            yield replace(item, context="\n\n".join(passages))
        asked = mark != "P:"
