"""The errors of the package travel: they are copied, and sent from one process to another."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest
from langchain_core.messages.tool import tool_call
from langchain_energy_guard import AnswerRetryError, AnswerWithheldError
from langchain_energy_guard.tools import ToolCalls

from energy_guard import Guard
from energy_guard.backends import Scripted
from energy_guard.decide import Again, Changes
from energy_guard.errors import EnergyGuardError


def withheld() -> AnswerWithheldError:
    result = Guard(Scripted.saying([("Lyon", 0.01)])).ask("Which city?")
    calls = ToolCalls(calls=(tool_call(name="go", args={"to": "Lyon"}, id="1"),))
    return AnswerWithheldError(result, structured=True, calls=calls)


def retry() -> AnswerRetryError:
    again = Again(Changes(temperature=0.7, fresh_seed=True), "withheld")
    return AnswerRetryError(withheld().result, again, calls=withheld().calls)


def fails(_: int) -> None:
    raise withheld()


@pytest.mark.parametrize("error", [withheld(), retry()])
@pytest.mark.parametrize(
    "copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy]
)
def test_a_copy_of_an_error_says_the_same(
    error: AnswerWithheldError, copied: Callable[[EnergyGuardError], AnswerWithheldError]
) -> None:
    error.add_note("on Monday")
    other = copied(error)
    assert type(other) is type(error)
    assert (str(other), other.args, other.hint) == (str(error), error.args, error.hint)
    assert (other.partial, other.structured) == ("Lyon", error.structured)
    assert other.result.to_dict() == error.result.to_dict()
    assert (len(other.calls.calls), other.calls) == (1, error.calls)
    assert "Lyon" not in str(other)
    assert other.__notes__[-1] == "on Monday"
    if isinstance(error, AnswerRetryError):
        assert isinstance(other, AnswerRetryError)
        assert other.changes == error.changes


def test_a_process_pool_hands_the_error_on() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        asked = pool.submit(fails, 1)
        with pytest.raises(AnswerWithheldError, match="the answer is withheld") as caught:
            asked.result(timeout=60)
    assert caught.value.partial == "Lyon"
