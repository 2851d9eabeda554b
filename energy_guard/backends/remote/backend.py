"""Other people's servers as a backend: nll and margin of every token; of some all signals."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

import numpy as np
import numpy.typing as npt
from pydantic import Field

from energy_guard.arguments import Filled, NotNegative, Positive, checked
from energy_guard.backends.base import (
    Backend,
    EngineValue,
    ModelInfo,
    Pair,
    PromptSize,
    Session,
    heard,
)
from energy_guard.backends.locks import DEFAULT_WAIT_S, lock_of
from energy_guard.backends.recorder import Recorder
from energy_guard.backends.remote.body import body_of, path_of
from energy_guard.backends.remote.connection import Connection, connected
from energy_guard.backends.remote.existing import Reader
from energy_guard.backends.remote.failures import KEY_VARIABLE, Address
from energy_guard.backends.remote.full_rows import FullRows
from energy_guard.backends.remote.models import served_by
from energy_guard.backends.remote.numbers import ListedStep
from energy_guard.backends.remote.reading import AnswerReading
from energy_guard.backends.vllm.shared_numbers import LISTED
from energy_guard.energy import Row
from energy_guard.errors import ConfigError, EngineError, InputError
from energy_guard.likeliest import TOP_ENTROPY, TOP_SHARE
from energy_guard.request import Event, Finished, Request
from energy_guard.trace import SIGNALS, Step

DEFAULT_TOP: Final = 20
"""Likely tokens to list in each place: as many as servers give."""

DEFAULT_CONTEXT: Final = 4096
"""Tokens of context where nobody says: what several servers start with."""

_A_TURN: Final = 16
"""Tokens that a chat template may put around a turn."""


class RemoteServer(Backend):
    """A server with OpenAI's interface that gives `logprobs`: Ollama, llama-server, vLLM, others.

    url: its address, which mostly ends in /v1. served_model: the model's name there; not needed
    if there is one alone. api_key: what the server is shown; the variable
    ENERGY_GUARD_REMOTE_API_KEY unless given. top_logprobs: how many likely tokens are listed in
    each place. n_ctx: the context that the server was started with, for what asks whether a
    prompt fits. timeout_s: how long the server may be silent. wait_s: how long to wait while
    others ask. A request is sent once: whoever wants another answer asks again.

    vLLM with our extension (`energy_guard.backends.vllm.serve`) sends the numbers of whole rows:
    then top_logprobs is 20, n_ctx is the server's, and answers that exist can be read, too.

    Raises ConfigError for an address, a key or a model that cannot be one or is not there,
    EngineError if the server cannot be reached, MissingExtraError.
    """

    @checked
    def __init__(
        self,
        url: Filled,
        *,
        served_model: Filled | None = None,
        api_key: Filled | None = None,
        top_logprobs: Annotated[int, Field(ge=2, le=1000)] = DEFAULT_TOP,
        n_ctx: Annotated[int, Field(ge=1)] = DEFAULT_CONTEXT,
        timeout_s: Positive = 300.0,
        wait_s: NotNegative = DEFAULT_WAIT_S,
    ) -> None:
        _check_url(url)
        key = api_key or os.environ.get(KEY_VARIABLE) or None
        _check_key(key)
        self._address = Address(url, key)
        self._timeout_s = timeout_s
        self._top = top_logprobs
        self._context = n_ctx
        self._wait_s = wait_s
        self._lock = lock_of(self)
        self._pieces: dict[int, bytes] = {}
        with self._connected() as connection:
            self._model = served_by(connection, served_model)
            self._rows = FullRows.of(connection) if self._model.owner == "vllm" else None
            if self._rows is not None:
                self._top, self._context = LISTED, self._rows.context
                self._shake_hands(connection)

    @property
    def info(self) -> ModelInfo:
        """The fingerprint is that of what the server says it is, the model's name and k.

        Instead of k it has the vocabulary, if the server sends the numbers of whole rows. A server
        may have another model behind the same name tomorrow: nothing here would tell.
        """
        listed = self._top if self._rows is None else f"full rows {self._rows.digest}"
        parts = [self._model.owner, self._model.name, listed]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        engine: dict[str, EngineValue] = {"server": self._model.owner, "top_logprobs": self._top}
        if self._rows is not None:
            engine |= {"full_rows": True, **self._rows.engine}
        return ModelInfo(self._model.name, digest, backend="remote", engine=engine)

    @property
    def replays(self) -> bool:
        """Not over OpenAI's interface; only if the server sends the numbers of whole rows."""
        return self._rows is not None

    @property
    def exact_signals(self) -> frozenset[str]:
        """All, if the server sends whole rows' numbers; else what a list of k tokens gives."""
        return frozenset({"nll", "margin"} if self._rows is None else SIGNALS)

    def measure(self, request: Request) -> PromptSize:
        """Bound the tokens of the prompt by its bytes, which are never fewer.

        Only the server can count them, when it has been asked. It is asked in any case: that this
        bound fits the context is for whoever has to choose what to leave out.
        """
        if request.ids is not None:
            return PromptSize(len(request.ids), self._context)
        texts = [request.text or "", *(turn.content for turn in request.turns())]
        most = sum(len(text.encode()) + _A_TURN for text in texts)
        return PromptSize(most, self._context)

    @contextmanager
    def session(self, request: Request | None = None) -> Iterator[Session]:
        """Hold this backend, though not the server, which others may ask meanwhile."""
        with (
            self._lock.hold(self._wait_s, give_up=lambda: bool(request and request.interrupted)),
            self._connected() as connection,
        ):
            yield _Session(self, connection)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with connected(self._address, timeout_s=self._timeout_s) as connection:
            yield connection

    def _shake_hands(self, connection: Connection) -> None:
        """Ask for one token; EngineError unless the numbers of its row are there and add up."""
        for _ in self._run(0, Request.raw("The", max_tokens=1), connection, steps=False):
            pass

    def _run(
        self, number: int, request: Request, connection: Connection, *, steps: bool
    ) -> Generator[Event, None, None]:
        """Ask once. Without stop strings or listeners the answer comes whole.

        Servers list more of a whole answer than of a stream, if tokens split a character.
        """
        recorder = Recorder(number, 0, request.stop, request.max_tokens)
        reading = AnswerReading(self._top, request.alternatives, self._rows)
        kept: list[ListedStep] = []
        last_row: Row | None = None
        if not recorder.interrupted(request):
            with closing(self._listed(recorder, reading, request, connection, steps)) as answer:
                for listed, ends in answer:
                    if recorder.reason is not None and self._rows is not None:
                        last_row = listed.step.row  # of the token that is one too many
                        if recorder.reason == "stop":
                            break
                        continue
                    _check_length(recorder, listed)
                    kept.append(self._known(listed))
                    yield from recorder.add(listed.step, ends=ends)
                    enough = recorder.reason == "stop" and self._rows is None
                    if enough or (not ends and recorder.interrupted(request)):
                        break
        recorder.prompt_tokens = reading.prompt_tokens or 0
        *partition, finished = recorder.finish(last_row)
        yield from partition
        yield finished if self._rows is not None else _with_bounds(finished, kept)

    def _listed(
        self,
        recorder: Recorder,
        reading: AnswerReading,
        request: Request,
        connection: Connection,
        steps: bool,
    ) -> Generator[tuple[ListedStep, bool], None, None]:
        """Ask, and yield what is read, each step with whether it is an end token.

        Says why the answer ended, too, unless the recorder knows.
        """
        ask = connection.stream if steps or request.stop else connection.post
        answer = ask(path_of(request), self._body(request), lambda: request.interrupted)
        with closing(answer):
            for reply in answer:
                for listed in reading.take(reply):
                    yield listed, False
        full = self._rows is not None
        over = full and recorder.reason is not None  # all that is missing is the row after it
        if not (request.interrupted if over else recorder.interrupted(request)):
            yield from reading.finish()
            if not full or recorder.reason is None:
                _end(recorder, reading)

    def _body(self, request: Request) -> dict[str, object]:
        return body_of(request, model=self._model, top=self._top, full_rows=self._rows is not None)

    def _read(
        self, number: int, request: Request, answer: str | Sequence[int], connection: Connection
    ) -> Generator[Event, None, None]:
        """Read an answer that exists, all of it at once."""
        if self._rows is None:
            raise _not_here("judge an answer that exists already")
        reader = Reader(connection, self._model, self._rows, lambda: request.interrupted)
        body = self._body(request)
        prompt = request.ids or reader.prompt(path_of(request), body)
        ids = None if prompt is None else reader.answer(answer)
        recorder = Recorder(number, len(prompt or ()), max_tokens=len(ids or ()))
        steps: list[Step] = []
        last_row: Row | None = None
        if prompt is not None and ids is not None:
            steps, last_row = reader.steps(prompt, ids, request.alternatives)
        for at, step in enumerate(steps, 1):
            yield from recorder.add(step, ends=at == len(steps) and not step.piece)
        recorder.interrupted(request)
        yield from recorder.finish(last_row if recorder.wants_last_row else None)

    def _known(self, listed: ListedStep) -> ListedStep:
        self._pieces |= listed.pieces
        return listed


def _check_length(recorder: Recorder, listed: ListedStep) -> None:
    """Raise EngineError for text beyond max_tokens: it would be cut off, and pass for complete."""
    if recorder.reason == "length" and listed.step.piece:
        raise EngineError(
            "the server writes more tokens than it was asked for", "It has to take max_tokens."
        )


def _end(recorder: Recorder, reading: AnswerReading) -> None:
    """Say why the server ended the answer, unless a stop string among the last tokens did."""
    if recorder.reason != "stop":
        recorder.reason = "eos" if reading.finish_reason == "stop" else "length"


def _with_bounds(finished: Event, kept: Sequence[ListedStep]) -> Event:
    """The end of a sequence, whose trace has what the lists tell of the rows' entropies."""
    if not isinstance(finished, Finished) or not kept:
        return finished
    bounds = {
        TOP_ENTROPY: np.array([listed.top_entropy for listed in kept]),
        TOP_SHARE: np.array([listed.top_share for listed in kept]),
    }
    trace = replace(finished.trace, extras={**finished.trace.extras, **bounds})
    return replace(finished, trace=trace)


@dataclass(frozen=True, slots=True)
class _Session(Session):
    backend: RemoteServer
    connection: Connection

    def generate(
        self, requests: Sequence[Request], *, private: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        backend = self.backend
        for request in requests:
            backend._body(request)  # refused before any work
        for number, request in enumerate(requests):
            yield from heard(backend._run(number, request, self.connection, steps=steps), steps)

    def replay(
        self, pairs: Sequence[Pair], *, fast: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        for number, (request, answer) in enumerate(pairs):
            work = self.backend._read(number, request, answer, self.connection)
            yield from heard(work, steps)

    def next_row(self, request: Request) -> npt.NDArray[np.float32]:
        raise _not_here("show a row of logits")

    def tokens_of(self, text: str) -> list[int]:
        rows = self.backend._rows
        if rows is None:
            raise _not_here("tell the tokens of a text")
        found = Reader(self.connection, self.backend._model, rows).answer(text)
        return found or []  # nobody can interrupt it: there is no request

    def piece_of(self, token: int) -> bytes:
        if self.backend._rows is not None:
            return self.backend._rows.piece(token)
        if token not in self.backend._pieces:
            raise InputError(f"no answer of this server had the token {token}")
        return self.backend._pieces[token]


def _not_here(what: str) -> InputError:
    return InputError(
        f"a server with OpenAI's interface cannot {what}",
        "Load the model here for that: load(FILE), --model FILE.",
    )


def _check_url(url: str) -> None:
    parts = _parts(url)
    if parts is None:
        raise ConfigError(
            f"{url} is no address of a server", "For example: http://localhost:8080/v1"
        )
    if parts.username or parts.password:
        raise ConfigError(
            "the server's address has a name or password in it",
            f"Put the key into the variable {KEY_VARIABLE}.",
        )
    if parts.query or parts.fragment:
        raise ConfigError(f"{url} has more than an address", "It ends with the path, such as /v1.")


def _parts(url: str) -> SplitResult | None:
    """The parts of an address; None if no server can have it."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        whole = parts.scheme in ("http", "https") and host and parts.port != 0
    except ValueError:  # brackets, a port or a name that cannot be one
        return None
    return parts if whole else None


def _check_key(key: str | None) -> None:
    """Raise ConfigError, without the key, for one that no HTTP header can hold.

    The client's own errors would repeat it.
    """
    if key is not None and not all("!" <= character <= "~" for character in key):
        raise ConfigError(
            "the server's key has a blank, a line end or a character that no key has",
            "A file's last line end may have come with it: give the key alone.",
        )
