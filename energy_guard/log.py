"""A log of results with their traces, one JSON object a line, to score again without a model.

Each line: `schema`, `time` (UTC), `texts` (whether they are there), `question`, `choices`, `mode`,
`scoring`, `locator`, `nothing_to_check`, `stopped`, `result` (the object of --json without its
tokens), `trace`, and `label`: null, for you to set to "right" or "wrong". A private log has neither
texts nor token ids: numbers and positions only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, model_validator

from energy_guard.backends.base import ModelInfo
from energy_guard.config import Config
from energy_guard.errors import ConfigError, InputError, LogError
from energy_guard.locate import Located, NothingToCheck, NotLocated, Span
from energy_guard.policy import Verdict
from energy_guard.request import Request
from energy_guard.result import Result
from energy_guard.score import Unscored
from energy_guard.trace import SCHEMA, Trace

Scoring = Literal["token-by-token", "fast"]

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

    def append(self, request: Request, result: Result, locator: str, scoring: Scoring) -> None:
        """Append one line; LogError where it cannot be written."""
        kept = result.kept
        line = {
            "schema": SCHEMA,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "texts": self.texts,
            "question": request.question if self.texts and request.ids is None else None,
            "choices": list(request.choices) if self.texts else [],
            "mode": request.mode,
            "scoring": scoring,
            "locator": locator if self.texts else locator.partition(":")[0],
            "nothing_to_check": isinstance(kept.score, Unscored) and kept.score.nothing_to_check,
            "stopped": kept.stopped,
            "result": _result(result, self.texts),
            "trace": json.loads((result.trace if self.texts else _bare(result.trace)).to_json()),
            "label": None,
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                if self._broken_off():
                    file.write("\n")
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        except OSError as error:
            raise LogError(
                f"cannot write to the log {self.path}: {error.strerror}",
                "Make room, or give another file.",
            ) from error

    def _broken_off(self) -> bool:
        """Whether the last line was not written to its end."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"


class _StoredModel(BaseModel):
    name: str
    fingerprint: str
    backend: str


class _StoredSpan(BaseModel):
    tokens: tuple[StrictInt, ...] = Field(min_length=1)
    text: str | None


class _StoredResult(BaseModel):
    """What is needed of a stored result; the rest of it is passed on as it is."""

    model: _StoredModel
    verdict: Verdict
    span: _StoredSpan | None


def _trace(value: Any) -> Trace:
    return Trace.from_json(json.dumps(value))


class LogEntry(Config):
    """One line of a log."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    schema_: Literal[1] = Field(alias="schema")
    time: str
    texts: bool
    question: str | None
    choices: tuple[str, ...]
    mode: Literal["chat", "raw"]
    scoring: Scoring
    locator: str
    nothing_to_check: bool
    stopped: str | None
    result: dict[str, Any]
    trace: Annotated[Trace, BeforeValidator(_trace)]
    label: Literal["right", "wrong"] | None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        tokens = self.stored.span.tokens if self.stored.span else ()
        if list(tokens) != [t for t in range(len(self.trace)) if t in set(tokens)]:
            raise ValueError("the span's tokens are not tokens of the trace, in order")
        return self

    @cached_property
    def stored(self) -> _StoredResult:
        """The parts of the stored result that are used."""
        return _StoredResult.model_validate(self.result)

    @property
    def model_info(self) -> ModelInfo:
        """The model that answered."""
        return ModelInfo(**self.stored.model.model_dump())

    @property
    def located(self) -> Located:
        """Where the answer was found when it was written."""
        if self.nothing_to_check:
            return NothingToCheck("as it was when this was logged")
        if self.stored.span is None:
            return NotLocated("there was none when this was logged")
        return Span(self.stored.span.tokens, self.stored.span.text or "")


def read_log(path: str | Path) -> Iterator[LogEntry]:
    """Yield the entries of a log; InputError names the file and the line that is wrong."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # not at U+2028 and the like
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the log {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _entry(line)
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error.message}", error.hint) from error


def _entry(line: str) -> LogEntry:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError("this is not an object")
    return LogEntry(**data)


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
