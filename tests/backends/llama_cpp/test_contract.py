from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backend_contract import Ask, BackendContract, finished

from energy_guard import load
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.locks import lock_of
from energy_guard.errors import InputError, PromptError
from energy_guard.request import Grammar, Request

OPTIONS = {"n_ctx": 256, "n_threads": 1, "n_threads_batch": 1, "type_k": 0, "type_v": 0}


@pytest.fixture(scope="module")
def loaded(tiny_path: Path) -> Iterator[Any]:
    backend = load(tiny_path, **OPTIONS)
    yield backend
    backend.engine.close()


class TestLlamaCpp(BackendContract):
    @pytest.fixture
    def backend(self, loaded: Any) -> Iterator[Any]:
        before = set(vars(loaded.engine))
        yield loaded
        assert set(vars(loaded.engine)) == before, "the user's engine is left as found"
        assert not lock_of(loaded.engine).locked

    @pytest.fixture
    def request_(self) -> Request:
        return Request.raw("the cat", max_tokens=8)

    @pytest.fixture
    def busy_ask(self, backend: Any) -> Ask:
        return LlamaCpp(backend.engine, wait_s=0.05).generate

    def fresh(self, backend: Any) -> None:
        backend.engine.reset()

    @pytest.mark.parametrize(
        "bad",
        [
            Request(ids=(10**6,)),
            Request.raw("x" * 300),
            Request.raw("x", constraint=Grammar("root ::= nowhere")),
        ],
        ids=["unknown id", "too long", "bad grammar"],
    )
    def test_a_bad_request_is_refused_before_any_work(
        self, backend: Any, request_: Request, bad: Request
    ) -> None:
        seen = []
        with pytest.raises(InputError):
            for event in backend.generate([request_, bad]):
                seen.append(event)
        assert seen == []
        self.assert_free(backend, request_)

    def test_the_answer_ends_where_the_context_does(self, backend: Any) -> None:
        request = Request.raw("x" * 250, max_tokens=100)
        trace = self.answer(backend, request)
        assert (len(trace), trace.finish_reason) == (6, "length")
        assert len(trace.log_partition) == 7, "there is room for the row after the last token"

    def test_an_answer_that_does_not_fit_is_not_replayed(self, backend: Any) -> None:
        with pytest.raises(PromptError):
            list(backend.replay(Request.raw("x" * 250), [120] * 7))
        assert len(finished(backend.replay(Request.raw("x" * 250), [120] * 6))) == 6

    def test_no_last_row_when_it_is_not_wanted(self, backend: Any, request_: Request) -> None:
        bare = LlamaCpp(backend.engine, last_row=False)
        trace = self.answer(bare, request_)
        whole = self.answer(backend, request_)
        assert len(trace.log_partition) == len(trace) == len(whole.log_partition) - 1
        assert trace.log_partition.tolist() == whole.log_partition[:-1].tolist()

    def test_the_seed_of_the_engine_is_put_back(self, backend: Any, request_: Request) -> None:
        before = backend.engine._seed
        self.answer(backend, request_)
        assert backend.engine._seed == before
