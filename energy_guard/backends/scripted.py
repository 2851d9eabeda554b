"""A backend that plays logits you wrote: for testing policies without a model.

No text is understood here: every request is answered with the next script. Of a prompt each
word counts as one token.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from typing import Annotated, Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from energy_guard.arguments import NotNegative, Several, check_fields, checked
from energy_guard.backends.base import Backend, ModelInfo, Pair, PromptSize, Session, heard
from energy_guard.backends.locks import DEFAULT_WAIT_S, lock_of
from energy_guard.backends.recorder import Recorder
from energy_guard.energy import RowReducer
from energy_guard.errors import EngineError, InputError, PromptTooLongError
from energy_guard.likeliest import likeliest
from energy_guard.request import Event, Request
from energy_guard.trace import SIGNALS, Step

DEFAULT_CONTEXT: Final = 4096


@dataclass(frozen=True, eq=False)
class Script:
    """One answer: token ids and the rows that chose them.

    ids: T token ids. rows: shape (T, vocabulary), or (T + 1, vocabulary) with the row after the
    last token. fail_at: the engine breaks before this token.

    >>> Script((1,), np.zeros((2, 4))).rows.shape
    (2, 4)
    """

    ids: tuple[Annotated[int, Field(ge=0)], ...]
    rows: npt.NDArray[Any]
    _: KW_ONLY
    fail_at: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.rows.ndim != 2 or len(self.rows) - len(self.ids) not in (0, 1):
            raise InputError(
                f"{len(self.ids)} tokens do not fit rows of shape {self.rows.shape}",
                "Give one row a token, and one more for the row after the last token.",
            )


class Scripted(Backend):
    """Plays scripts in order, one a request, over a vocabulary of byte pieces.

    end: the id of the end token. context: how many tokens prompt and answer may have together.
    Raises PromptTooLongError for a prompt that is longer, EngineError when no script is left.

    >>> backend = Scripted.saying([("Par", 0.9), ("is", 0.5)])
    >>> [event.step.piece for event in backend.generate([Request.chat("?")])
    ...  if hasattr(event, "step")]
    [b'Par', b'is', b'']
    """

    @checked
    def __init__(
        self,
        vocabulary: Annotated[Iterable[bytes], Several],
        scripts: Annotated[Iterable[Script], Several],
        *,
        end: int | None = None,
        wait_s: NotNegative = DEFAULT_WAIT_S,
        context: Annotated[int, Field(ge=1)] = DEFAULT_CONTEXT,
    ) -> None:
        self.vocabulary = tuple(vocabulary)
        self.end = end
        self.context = context
        self._scripts = list(scripts)
        self._played = 0
        self._wait_s = wait_s
        self._lock = lock_of(self)

    @classmethod
    @checked
    def saying(
        cls,
        *answers: Sequence[tuple[str, float]],
        context: Annotated[int, Field(ge=1)] = DEFAULT_CONTEXT,
    ) -> Self:
        """Play answers given as (piece, probability) pairs; each ends with an end token.

        Rows have the largest logit on the chosen token where its probability is above ½.
        """
        pieces = [b"", *sorted({text.encode() for answer in answers for text, _ in answer})]
        vocabulary = [*pieces, b"?"]  # always a token that could have been chosen instead
        scripts = []
        for answer in answers:
            chosen = [(pieces.index(text.encode()), p) for text, p in answer] + [(0, 0.99)]
            rows = np.stack([_row(len(vocabulary), token, p) for token, p in chosen])
            scripts.append(Script(tuple(token for token, _ in chosen), rows))
        return cls(vocabulary, scripts, end=0, context=context)

    @property
    def info(self) -> ModelInfo:
        """The fingerprint is that of the vocabulary."""
        digest = hashlib.sha256(b"\0".join(self.vocabulary)).hexdigest()[:32]
        return ModelInfo("scripted", digest, backend="scripted")

    @property
    def exact_signals(self) -> frozenset[str]:
        """All of them: the rows are given."""
        return frozenset(SIGNALS)

    @checked
    def measure(self, request: Request) -> PromptSize:
        """Count the words of the prompt."""
        if request.ids is not None:
            return PromptSize(len(request.ids), self.context)
        texts = [request.text or "", *(message.content for message in request.turns())]
        return PromptSize(sum(len(text.split()) for text in texts), self.context)

    @checked
    @contextmanager
    def session(self, request: Request | None = None) -> Iterator[Session]:
        """Hold this backend."""
        with self._lock.hold(self._wait_s, give_up=lambda: bool(request and request.interrupted)):
            yield _Session(self)

    def _next(self) -> Script:
        if self._played == len(self._scripts):
            raise EngineError("no script is left", "Give one script a request.")
        self._played += 1
        return self._scripts[self._played - 1]

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        beta, size = request.inverse_temperature, self.measure(request)
        limit = min(request.max_tokens, size.room)
        sequence = Recorder(number, size.tokens, request.stop, limit, beta)
        rows = np.asarray(script.rows)
        reducer = RowReducer(rows.shape[1], rows.dtype, beta)
        for t, (token, row) in enumerate(zip(script.ids, rows, strict=False)):
            if sequence.interrupted(request):
                break
            if t == script.fail_at:
                raise EngineError(f"the script breaks before token {t}")
            step = Step(
                token,
                self.vocabulary[token],
                reducer.token_logit(row, token),
                reducer.reduce(row),
                likeliest(row, request.alternatives, beta),
            )
            yield from sequence.add(step, ends=token == self.end)
            if sequence.reason is not None:
                break
        else:
            sequence.reason = "length"
        after = len(sequence)
        has_next = sequence.wants_last_row and after < len(rows)
        yield from sequence.finish(reducer.reduce(rows[after]) if has_next else None)


@dataclass(frozen=True, slots=True)
class _Session(Session):
    backend: Scripted

    def generate(
        self, requests: Sequence[Request], *, private: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        for request in requests:
            size = self.backend.measure(request)
            if size.room < 1:
                raise _too_long(size)
        for number, request in enumerate(requests):
            yield from heard(self.backend._play(number, request, self.backend._next()), steps)

    def replay(
        self, pairs: Sequence[Pair], *, fast: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        for number, (request, answer) in enumerate(pairs):
            script, backend = self.backend._next(), self.backend
            ids = [token for token in script.ids if token != backend.end]
            text = b"".join(backend.vocabulary[token] for token in ids).decode()
            if answer != text and list(answer) not in (ids, list(script.ids)):
                raise EngineError(f"the next script says {text!r}, not {answer!r}")
            whole = replace(request, stop=(), max_tokens=max(1, len(script.ids)))
            yield from heard(backend._play(number, whole, script), steps)

    def next_row(self, request: Request) -> npt.NDArray[np.float32]:
        size = self.backend.measure(request)
        if size.room < 1:
            raise _too_long(size)
        return np.asarray(self.backend._next().rows[0], np.float32).copy()

    def tokens_of(self, text: str) -> list[int]:
        piece, vocabulary = text.encode(), self.backend.vocabulary
        return [vocabulary.index(piece)] if piece in vocabulary else []

    def piece_of(self, token: int) -> bytes:
        return self.backend.vocabulary[token]


def _too_long(size: PromptSize) -> PromptTooLongError:
    return PromptTooLongError(
        f"the prompt has {size.tokens} words and the context holds {size.context}"
    )


def _row(size: int, token: int, probability: float) -> npt.NDArray[np.float32]:
    """A row in which `token` has this probability and the others share the rest."""
    if not 0 < probability < 1:
        raise InputError(f"{probability} is no probability between 0 and 1")
    row = np.full(size, math.log((1 - probability) / (size - 1)), np.float32)
    row[token] = math.log(probability)
    return row + np.float32(10.0)  # a partition of its own: these are logits, not log-probabilities
