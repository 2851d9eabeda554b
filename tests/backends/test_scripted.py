from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backend_contract import Ask, BackendContract, finished

from energy_guard.backends.locks import lock_of
from energy_guard.backends.scripted import Script, Scripted
from energy_guard.errors import EngineError
from energy_guard.request import Request

ANSWER = [("The", 0.9), (" cap", 0.6), ("ital", 0.8), (" is", 0.7), (" Par", 0.4), ("is", 0.99)]


class TestScripted(BackendContract):
    @pytest.fixture
    def backend(self) -> Scripted:
        return Scripted.saying(*[ANSWER] * 8)

    @pytest.fixture
    def request_(self) -> Request:
        return Request.chat("What is the capital of France?")

    @pytest.fixture
    def busy_ask(self, backend: Any) -> Ask:
        backend._wait_s = 0.05
        return backend.generate  # type: ignore[no-any-return]

    def engine(self, backend: Any) -> object:
        return backend

    def test_an_engine_that_breaks_is_free_again(self, request_: Request) -> None:
        rows = np.zeros((3, 4), np.float32)
        backend = Scripted([b"a", b"b", b"c", b"d"], [Script((1, 2), rows, fail_at=1)] * 2)
        with pytest.raises(EngineError):
            list(backend.generate([request_]))
        assert not lock_of(backend).locked
        with pytest.raises(EngineError, match="breaks before token 1"):
            list(backend.generate([request_]))

    def test_without_scripts_left_it_says_so(self, request_: Request) -> None:
        backend = Scripted.saying(ANSWER)
        assert finished(backend.generate([request_])).text == "The capital is Paris"
        with pytest.raises(EngineError, match="no script is left"):
            list(backend.generate([request_]))

    def test_the_probabilities_are_those_that_were_written(self, request_: Request) -> None:
        trace = finished(Scripted.saying(ANSWER).generate([request_]))
        chosen = [probability for _, probability in ANSWER]
        np.testing.assert_allclose(np.exp(-trace.nll[:-1]), chosen, rtol=1e-5)
        assert not trace.normalised
