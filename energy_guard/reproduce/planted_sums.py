"""Sums with a right result and with results that are wrong by a known amount, read by a model.

Nothing is written by the model: each result is replayed as its answer, so that what differs
between the right and the wrong one is the number alone. The experiment of Minut et al. on planted
errors of arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from energy_guard.backends import Backend
from energy_guard.backends.base import Session
from energy_guard.errors import InputError
from energy_guard.files import JsonLines
from energy_guard.questions.answered import go_on
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import Wordings, kind_of, name_of, request_of
from energy_guard.request import Finished
from energy_guard.trace import Trace

Offsets = tuple[int, int]
"""By how much a wrong result is off: at least and at most."""

DIGITS: Final = (9, 12, 14)
"""Digits of both numbers and of their sum."""

OFFSETS: Final[tuple[Offsets, ...]] = ((1, 10), (10, 100), (100, 1000), (1000, 10000))


BARE: Final = "Answer with the number alone."
"""The system prompt, so that the result is the whole answer."""


@dataclass(frozen=True, slots=True)
class PlantedSum:
    """A sum with its right result, and a wrong one for each of `OFFSETS`; all with `digits`."""

    id: str
    digits: int
    question: str
    right: int
    wrong: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class ReadSum:
    """The numbers of a model that reads the results: of the right one, and of each wrong one."""

    planted: PlantedSum
    right: Trace
    wrong: tuple[Trace, ...]


def planted_sums(n: int, digits: Sequence[int] = DIGITS) -> list[PlantedSum]:
    """Return n sums of each size, always the same ones.

    A wrong result is too large or too small with equal chance, and has as many digits as the right
    one, so that its length says nothing.
    """
    sizes = dict.fromkeys(digits)  # a sum that counts twice says nothing more
    return [_planted(size, number) for number in range(n) for size in sizes]


def _planted(digits: int, number: int) -> PlantedSum:
    random = Random(f"sum of {digits} digits, {number}")  # noqa: S311  # no secret
    low, high = 10 ** (digits - 1), 10**digits // 2  # the sum has no digit more
    first, second = random.randrange(low, high), random.randrange(low, high)
    right = first + second
    wrong = []
    for least, most in OFFSETS:
        off = random.randint(least, most) * random.choice((-1, 1))
        wrong.append(right + off if len(str(right + off)) == digits else right - off)
    question = f"What is {first} + {second}?"
    return PlantedSum(f"{digits}-{number}", digits, question, right, tuple(wrong))


def read_sums(
    backend: Backend,
    sums: Sequence[PlantedSum],
    *,
    path: Path,
    wordings: Wordings,
    on_read: Callable[[], None] = lambda: None,
) -> list[ReadSum]:
    """Have a model read every result of every sum; what the file holds is not read again.

    Args:
        backend: The model.
        sums: What to read.
        path: A file of JSON lines, new or of an earlier run with the same model and wordings.
        wordings: How questions are put.
        on_read: Called with each sum, those that the file holds first.

    Raises:
        InputError: The file was made by another model or with another wording, or is damaged.
        PromptError: A sum does not fit the context.

    """
    file = JsonLines(path)
    done = _begun(file, backend, wordings)
    found = []
    with backend.session() as session:
        for planted in sums:
            if planted.id not in done:
                traces = list(_traces(session, planted, wordings))
                stored = [json.loads(trace.to_json()) for trace in traces]
                file.append({"id": planted.id, "traces": stored})
                done[planted.id] = traces
            right, *wrong = done[planted.id]
            results = [trace.text.strip() for trace in (right, *wrong)]
            if results != [str(result) for result in (planted.right, *planted.wrong)]:
                raise InputError(
                    f"{path} has other results of the sum {planted.id}", "Give another --out."
                )
            found.append(ReadSum(planted, right, tuple(wrong)))
            on_read()
    return found


def _traces(session: Session, planted: PlantedSum, wordings: Wordings) -> Iterator[Trace]:
    row = Question(planted.id, "sums", planted.question, (str(planted.right),))
    wording = wordings[kind_of(row)]
    request = request_of(row, wording)
    blank = " " if wording.raw else ""  # a model goes on with a blank after "Answer:"
    for result in (planted.right, *planted.wrong):
        for event in session.replay([(request, f"{blank}{result}")], steps=False):
            if isinstance(event, Finished):
                yield event.trace


def _begun(file: JsonLines, backend: Backend, wordings: Wordings) -> dict[str, list[Trace]]:
    """Begin a file, or read what an earlier run left in it."""
    done = {}
    for number, data in go_on(file, _made_with(backend, wordings), "another wording"):
        try:
            traces = [Trace.from_json(json.dumps(each)) for each in data["traces"]]
        except (InputError, KeyError, TypeError) as error:
            raise file.wrong(number, "this is no sum with its numbers") from error
        if len(traces) != len(OFFSETS) + 1:
            raise file.wrong(number, f"{len(traces)} results are here, not {len(OFFSETS) + 1}")
        done[str(data.get("id"))] = traces
    return done


def _made_with(backend: Backend, wordings: Wordings) -> Mapping[str, Any]:
    info = backend.info
    return {
        "model": {"name": info.name, "fingerprint": info.fingerprint, "backend": info.backend},
        "wording": name_of(wordings),
        "offsets": [list(offsets) for offsets in OFFSETS],
    }
