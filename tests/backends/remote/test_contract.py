"""The contract of backends, kept over HTTP by our own server with scripted answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from backend_contract import Ask, BackendContract, finished
from served import LAX, Served, served

from energy_guard import Guard, Policy
from energy_guard.backends.remote import RemoteServer
from energy_guard.backends.scripted import Scripted
from energy_guard.errors import EngineError, InputError
from energy_guard.request import Message, Request, Sampling

ANSWER = [("The", 0.9), (" cap", 0.6), ("ital", 0.8), (" is", 0.7), (" Par", 0.4), ("is", 0.99)]
TOP = 4


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(Guard(Scripted.saying(*[ANSWER] * 400), LAX), max_choices=1) as running:
        yield running


class TestRemoteServer(BackendContract):
    half_way_s = 2.0

    @pytest.fixture
    def backend(self, server: Served) -> RemoteServer:
        return RemoteServer(f"{server.url}/v1", top_logprobs=TOP)

    @pytest.fixture
    def request_(self) -> Request:
        return Request.chat("What is the capital of France?")

    @pytest.fixture
    def busy_ask(self, backend: Any) -> Ask:
        backend._wait_s = 0.05
        return backend.generate  # type: ignore[no-any-return]

    def engine(self, backend: Any) -> object:
        return backend

    def test_the_likeliest_tokens_are_in_the_trace_if_they_are_asked_for(
        self, backend: Any, request_: Request
    ) -> None:
        trace = self.answer(backend, replace(request_, alternatives=3))
        ids, logits = trace.extras["likeliest_ids"], trace.extras["likeliest_logits"]
        assert ids.shape == logits.shape == (len(trace), 3)
        assert ids[:, 0].tolist() == trace.ids.tolist(), "greedy: the likeliest one is chosen"
        assert logits[:, 0].tolist() == trace.token_logit.tolist()
        assert logits[:, 0] - logits[:, 1] == pytest.approx(trace.margin, abs=1e-5)
        with backend.session() as session:
            assert [session.piece_of(token) for token in ids[:, 0].tolist()] == list(trace.pieces)
            with pytest.raises(InputError, match="no answer of this server had the token 7"):
                session.piece_of(7)
        assert self.answer(backend, request_).extras.keys() == {"top_entropy", "top_share"}

    def test_a_prompt_is_measured_as_it_is_read(self, backend: Any, request_: Request) -> None:
        """Its bytes bound it; only the server can count."""
        size = backend.measure(request_)
        assert size.tokens >= self.answer(backend, request_).prompt_tokens > 0
        assert size.room == size.context - size.tokens > 0

    def test_room_is_what_decides_whether_a_prompt_is_taken(
        self, backend: Any, request_: Request
    ) -> None:
        """Not here: the bound may be far too high, and the server says itself what it takes."""
        long = Request.chat("word " * backend.measure(request_).context, max_tokens=4)
        assert backend.measure(long).room < 1
        with pytest.raises(InputError, match="says 400"):
            next(backend.generate([long]))
        assert len(self.answer(backend, request_)) == len(ANSWER)

    def test_inverse_temperature_multiplies_every_row(
        self, backend: Any, request_: Request
    ) -> None:
        """A list of the likeliest tokens cannot be scaled: it is refused."""
        with pytest.raises(InputError, match="inverse_temperature"):
            next(backend.generate([replace(request_, inverse_temperature=0.5)]))

    def test_replay_has_the_numbers_of_the_answer(self, backend: Any, request_: Request) -> None:
        """There is no replay."""
        with pytest.raises(InputError, match="cannot judge an answer that exists already"):
            next(backend.replay(request_, "The capital is Paris"))

    test_a_replay_that_is_dropped_frees_the_engine = None

    def test_the_next_row_is_the_one_that_chooses_the_first_token(
        self, backend: Any, request_: Request
    ) -> None:
        """There are no rows."""
        with backend.session() as session, pytest.raises(InputError, match="row of logits"):
            session.next_row(request_)

    test_the_next_row_is_raw_whatever_the_request_says_of_sampling = None
    test_a_row_stays_as_it_was_when_the_engine_goes_on = None
    test_there_is_no_next_row_after_a_prompt_that_does_not_fit = None

    def test_the_tokens_of_an_answer_are_found_again(self, backend: Any, request_: Request) -> None:
        """Nobody here knows the model's tokens."""
        with backend.session() as session, pytest.raises(InputError, match="tokens of a text"):
            session.tokens_of("Paris")

    def test_the_numbers_are_those_that_were_written(self, backend: Any, request_: Request) -> None:
        trace = self.answer(backend, request_)
        np.testing.assert_allclose(np.exp(-trace.nll), [p for _, p in ANSWER], rtol=1e-5)
        assert trace.normalised and np.isnan(trace.entropy).all()
        whole = finished(Scripted.saying(ANSWER).generate([request_]))
        assert trace.margin == pytest.approx(whole.margin[:-1], abs=1e-5)
        assert (trace.extras["top_entropy"] <= whole.entropy[:-1] + 1e-6).all()
        assert (trace.extras["top_share"] < 1).all() and (trace.extras["top_share"] > 0.4).all()
        assert trace.token_logit.max() <= 0

    def test_an_answer_that_comes_whole_is_the_same(self, backend: Any, request_: Request) -> None:
        streamed = self.answer(backend, request_)
        with backend.session() as session:
            (event,) = session.generate([request_], steps=False)
        assert event.trace.pieces == streamed.pieces
        assert event.trace.nll.tolist() == streamed.nll.tolist()
        assert event.trace.margin.tolist() == streamed.margin.tolist()
        assert (event.reason, event.trace.finish_reason) == ("eos", streamed.finish_reason)

    @pytest.mark.parametrize(
        "fields",
        [
            {"sampling": Sampling(logit_bias={1: 2.0})},
            {"sampling": Sampling(typical_p=0.5)},
            {"sampling": Sampling(mirostat_mode=2)},
            {"template_variables": {"enable_thinking": False}},
            {"tools": ('{"type": "function"}',)},
            {"alternatives": TOP + 1},
            {"messages": [Message("user", "A city?"), Message("assistant", "The city is")]},
        ],
        ids=lambda fields: "-".join(fields),
    )
    def test_what_a_server_would_pass_over_is_refused_before_anything_is_asked(
        self, backend: Any, server: Served, request_: Request, fields: dict[str, Any]
    ) -> None:
        left = server.service.guard.backend._played
        with pytest.raises(InputError, match="a server cannot be asked for"):
            next(backend.generate([request_, replace(request_, **fields)]))
        assert server.service.guard.backend._played == left


@pytest.mark.parametrize(
    ("stream", "says"), [("hold", "wrote 10 tokens"), ("live", "do not make up the text")]
)
def test_a_server_that_tries_again_is_refused(stream: Any, says: str) -> None:
    """It counts the tokens of all its attempts, and a live stream has their texts, too."""
    unsure = [("The capital is ", 0.99), ("Tim", 0.2), ("buktu", 0.99), (".", 0.99)]
    sure = [("The capital is ", 0.99), ("Par", 0.97), ("is", 0.99), (".", 0.99)]
    policy = Policy(detector="nll:max", warn=0.5, abstain=1.0, retries=1)
    asked = Request.chat("What is the capital of Mali?")
    with served(Guard(Scripted.saying(unsure, sure), policy), stream=stream) as server:
        backend = RemoteServer(f"{server.url}/v1", top_logprobs=TOP)
        with pytest.raises(EngineError, match=says):
            finished(backend.generate([asked]))
