"""A log of results with their traces, one JSON object a line, to score again without a model.

Each line: `schema`, `time` (UTC), `texts` (whether they are there), `question`, `choices`,
`context` (passages), `system_prompt` ("" if there was none, null if it is not known), `mode`,
`scoring`, `locator`, `nothing_to_check`, `stopped`, `unusable` (why nobody may act on the answer),
`claims` (the tokens of each doubted word), `result` (the object of --json without its tokens),
`trace`, and `label`: null, for you to set to "right" or "wrong".

A private log has neither texts nor the numbers of tokens, from which whoever has the model could
read the texts back: of each answer the verdict and its `scores`, rounded (see `private`). Private
logs of version 0.1 have exact numbers of every token: treat those like their texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, model_validator

from energy_guard.arguments import check_fields, checked
from energy_guard.backends.base import ModelInfo
from energy_guard.claims import doubted
from energy_guard.config import Config
from energy_guard.errors import InputError
from energy_guard.files import JsonLines
from energy_guard.locate import Asked, Located, NothingToCheck, NotLocated, Span
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.policy import Verdict
from energy_guard.private import KeptScore, kept_scores, private_result, without_tokens
from energy_guard.request import Request
from energy_guard.result import Result
from energy_guard.trace import SCHEMA, Trace

Scoring = Literal["token-by-token", "fast"]


@dataclass(frozen=True)
class TraceLog:
    """A file to which results are appended; made where it does not exist.

    texts: False makes a private log. It leaves out prompts, answers, and all that they could be
    read back from by means of the model; it can be scored again by the detector that was in use
    and by the default one, for any policy and profile of these. An answer of one or two tokens is
    mostly given away by its score all the same (docs/results.md): treat such logs like texts.

    >>> TraceLog(Path("answers.jsonl"), texts=False).texts
    False
    """

    path: Path
    texts: bool = True

    def __post_init__(self) -> None:
        check_fields(self)

    @checked
    def append(self, request: Request, result: Result, locator: str, scoring: Scoring) -> None:
        """Append one line, which is on disk when this returns; LogError if that fails."""
        kept = result.kept
        line = {
            "schema": SCHEMA,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "texts": self.texts,
            "question": request.question if self.texts and request.ids is None else None,
            "choices": list(request.choices) if self.texts else [],
            "context": list(request.context) if self.texts else None,
            "system_prompt": request.system_prompt if self.texts else None,
            "mode": request.mode,
            "scoring": scoring,
            "locator": locator if self.texts else locator.partition(":")[0],
            "nothing_to_check": isinstance(kept.located, NothingToCheck),
            "stopped": kept.stopped,
            "unusable": kept.unusable,
            **(_whole(result) if self.texts else _private(result)),
            "label": None,
        }
        JsonLines(self.path).append(line)

    def make(self) -> None:
        """Make the file if it does not exist; LogError if it cannot be written."""
        JsonLines(self.path).make()


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
    return value if isinstance(value, Trace) else Trace.from_json(json.dumps(value))


class LogEntry(Config):
    """One line of a log."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    schema_: Literal[1] = Field(alias="schema")
    time: str
    texts: bool
    question: str | None
    choices: tuple[str, ...]
    context: tuple[str, ...] | None = None
    system_prompt: str | None = None
    mode: Literal["chat", "raw"]
    scoring: Scoring
    locator: str
    nothing_to_check: bool
    stopped: str | None
    unusable: str | None = None
    claims: tuple[tuple[StrictInt, ...], ...] | None = None
    scores: tuple[KeptScore, ...] | None = None
    result: dict[str, Any]
    trace: Annotated[Trace, BeforeValidator(_trace)]
    label: Literal["right", "wrong"] | None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        found = [self.stored.span.tokens] if self.stored.span else []
        for tokens in (*found, *(self.claims or ())):
            if list(tokens) != [t for t in range(len(self.trace)) if t in set(tokens)]:
                raise ValueError("the span's tokens are not tokens of the trace, in order")
        if not all(self.claims or ()):
            raise ValueError("a doubted word has no tokens")
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
            return NothingToCheck("so it was found when this was logged")
        if self.stored.span is None:
            return NotLocated("there was none when this was logged")
        return Span(self.stored.span.tokens, self.stored.span.text or "")

    @property
    def asked(self) -> Asked:
        """What was asked, as far as the log says."""
        return Asked(self.question or "", self.choices, passages=self.context or ())

    @property
    def known(self) -> Asked:
        """What was asked if all of it is known: logs of older versions have no passages."""
        return NOTHING_ASKED if self.context is None else self.asked

    @property
    def unasked(self) -> bool:
        """Whether a score can only be one that needs no more than the tokens' numbers.

        A private log has scores that were made when it was known what was asked.
        """
        kept = any(score.detector.startswith("fitted:") for score in self.scores or ())
        return not self.known.question and not kept

    @property
    def doubted(self) -> list[Span] | None:
        """The words outside the exact answer that count; None if they are not known."""
        if self.claims is None:
            return None
        text = self.trace.text if self.texts else ""
        offsets = self.trace.alignment.offsets
        return [
            Span(tokens, text[offsets[tokens[0]][0] : offsets[tokens[-1]][1]])
            for tokens in self.claims
        ]


@dataclass(frozen=True)
class LogReader:
    """The entries of a log, read one after the other as often as they are iterated over.

    warnings: which lines were passed over, and why; complete when the last entry has been read.
    Iterating raises InputError, which names the file and the line, for a line that is no entry, and
    for a log without one whole entry.
    """

    path: Path
    warnings: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[LogEntry]:
        """Read the log from its beginning."""
        self.warnings.clear()
        file, cut = JsonLines(self.path), None
        is_empty = True
        for line in file.lines():
            if line.data is None:
                cut = cut or file.wrong(line.number, "this was not written to its end")
                self.warnings.append(f"{self.path}, line {line.number}: {_CUT}")
                continue
            try:
                yield LogEntry(**line.data)
            except InputError as error:
                raise file.wrong(line.number, error.message, error.hint) from error
            is_empty = False
        if is_empty and cut is not None:
            raise cut


_CUT: Final = "this was not written to its end, and is passed over"


@checked
def read_log(path: str | Path) -> LogReader:
    """Return a reader of the entries of a log.

    Args:
        path: A file that a `TraceLog` wrote, labels added or not.
    """
    return LogReader(Path(path))


def _whole(result: Result) -> dict[str, Any]:
    """All of an answer."""
    data = result.to_dict()
    del data["tokens"]  # the trace has them
    claims = [list(word.tokens) for word in doubted(result.kept.trace, result.kept.located)]
    return {"claims": claims, "result": data, "trace": json.loads(result.trace.to_json())}


def _private(result: Result) -> dict[str, Any]:
    """What of an answer does not give it away."""
    return {
        "claims": None,
        "scores": kept_scores(result, result.detector),
        "result": private_result(result),
        "trace": json.loads(without_tokens(result.trace).to_json()),
    }
