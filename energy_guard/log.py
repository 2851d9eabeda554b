"""A log of results with their traces, one JSON object a line, to score again without a model.

Each line: `schema`, `time` (UTC), `question` (null for token ids and in private logs), `choices`,
`locator`, `result` (the object of --json), `trace`, and `label`: null, for you to set to "right"
or "wrong". A private log has neither texts nor token ids: numbers and positions only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np

from energy_guard.act import Result
from energy_guard.errors import InputError, LogError
from energy_guard.locate import Located, NotLocated, Span
from energy_guard.request import Request
from energy_guard.trace import SCHEMA, Trace

LABELS: Final = ("right", "wrong", None)

_TEXTS: Final = ("text", "answer", "reason", "warning")


@dataclass(frozen=True)
class TraceLog:
    """A file to which results are appended; made where it does not exist.

    texts: False leaves out prompts, answers and token ids.

    >>> TraceLog(Path("answers.jsonl"), texts=False).texts
    False
    """

    path: Path
    texts: bool = True

    def append(self, request: Request, result: Result, locator: str) -> None:
        """Append one line; LogError where it cannot be written."""
        line = {
            "schema": SCHEMA,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "question": request.question if self.texts and request.ids is None else None,
            "choices": list(request.choices) if self.texts else [],
            "locator": locator,
            "result": _result(result, self.texts),
            "trace": json.loads((result.trace if self.texts else _bare(result.trace)).to_json()),
            "label": None,
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        except OSError as error:
            raise LogError(
                f"cannot write to the log {self.path}: {error.strerror}",
                "Make room, or give another file.",
            ) from error


@dataclass(frozen=True, eq=False)
class LogEntry:
    """One line of a log. located: where the answer was found when it was written."""

    question: str
    choices: tuple[str, ...]
    locator: str
    result: dict[str, Any]
    trace: Trace
    located: Located
    label: Literal["right", "wrong"] | None

    @property
    def has_texts(self) -> bool:
        """Whether texts were kept, so that another locator can be tried."""
        return bool(self.trace.content_bytes)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read one line; InputError where it is something else."""
        try:
            data = json.loads(line)
            if data["label"] not in LABELS:
                raise InputError(f"label is {data['label']!r}", 'Write "right", "wrong" or null.')
            span = data["result"]["span"]
            where = Span(tuple(span["tokens"]), span["text"] or "") if span else None
            return cls(
                question=data["question"] or "",
                choices=tuple(data["choices"]),
                locator=data["locator"],
                result=data["result"],
                trace=Trace.from_json(json.dumps(data["trace"])),
                located=where or NotLocated("no answer was found when this was logged"),
                label=data["label"],
            )
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(f"this is not a line of a log: {error!r}") from error


def read_log(path: str | Path) -> Iterator[LogEntry]:
    """Yield the entries of a log; InputError names the file and the line that is wrong."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the log {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield LogEntry.from_json(line)
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error.message}", error.hint) from error


def _result(result: Result, texts: bool) -> dict[str, Any]:
    data = result.to_dict()
    del data["tokens"]  # the trace has them
    if not texts:
        data |= dict.fromkeys(_TEXTS)
        data["span"] = data["span"] and data["span"] | {"text": None}
        data["sentences"] = [sentence | {"text": None} for sentence in data["sentences"]]
    return data


def _bare(trace: Trace) -> Trace:
    """The numbers of a trace without what was said."""
    return replace(
        trace,
        ids=np.full(len(trace), -1, dtype=np.int64),
        pieces=(b"",) * len(trace),
        content_bytes=0,
    )
