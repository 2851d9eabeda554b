"""What can go wrong while an answer is made and judged: none of it may end in showing it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from energy_guard import Guard, Policy, Profile, Request, Result
from energy_guard.backends import Script, Scripted
from energy_guard.backends.locks import lock_of
from energy_guard.errors import EnergyGuardError, EngineError, RowError
from energy_guard.events import Text
from energy_guard.policy import EarlyStop
from energy_guard.request import CancelToken

QUESTION = "What is the capital of France?"
VOCABULARY = (b"", b"Par", b"is", b"?")
END = 0


def rows(*tokens: int) -> np.ndarray:
    """Rows that are sure of these tokens."""
    return np.eye(len(VOCABULARY), dtype=np.float32)[list(tokens)] * 20


def spoilt(row: int, column: int, value: float) -> np.ndarray:
    """Rows of two tokens, the end token and what follows, with one entry wrong."""
    made = rows(1, 2, END, END)
    made[row, column] = value
    return made


def normalised() -> np.ndarray:
    raw = rows(1, 2, END).astype(np.float64)
    return raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))


LONGER = Script((1, 2, 1, 2, END), rows(1, 2, 1, 2, END))
GOOD = Script((1, 2, END), rows(1, 2, END))
BAD = Script((1, 2, END), rows(2, 1, END))  # nll 20 each

Drive = Callable[[Guard], Result | None]


def plainly(guard: Guard) -> Result | None:
    return guard.ask(QUESTION)


def asking(**options: Any) -> Drive:
    return lambda guard: guard.ask(QUESTION, **options)


def cancelled() -> CancelToken:
    token = CancelToken()
    token.cancel()
    return token


def cancelling(guard: Guard) -> Result | None:
    token = CancelToken()
    for event in guard.stream(QUESTION, cancel=token):
        if isinstance(event, Text):
            token.cancel()
    return event.result  # type: ignore[union-attr]


def raising(guard: Guard) -> Result | None:
    for event in guard.stream(QUESTION):
        if isinstance(event, Text):
            raise ZeroDivisionError
    return None


def dropping(guard: Guard) -> Result | None:
    stream = guard.stream(QUESTION)
    while not isinstance(next(stream), Text):
        pass
    del stream
    gc.collect()
    return None


def scoring(answer: Any, **options: Any) -> Drive:
    return lambda guard: guard.score(QUESTION, answer, **options)


@dataclass(frozen=True)
class Fault:
    """scripts: what the engine plays. outcome: a verdict, an error, or None for no result."""

    scripts: tuple[Script, ...]
    outcome: str | type[Exception] | None
    detector: str = "nll:max"
    drive: Drive = plainly
    policy: dict[str, Any] = field(default_factory=dict)
    profile: bool = False
    says: str = ""


def broken(made: np.ndarray) -> tuple[Script]:
    return (Script((1, 2, END), made),)


CUT = (Script((1, 2), rows(1, 2)),)
ENERGIES = ["spilled_energy:max", "marginal_energy:min", "scaled_spilled_energy:first"]
STOP = {"early_stop": EarlyStop(window=2, risk=-99.0)}

FAULTS: dict[str, Fault] = {
    "last row missing": Fault(CUT, "unscored", "spilled_energy:max", says="missing"),
    "last row missing, mean": Fault(CUT, "unscored", "marginal_energy:mean", says="missing"),
    "NaN in the first row": Fault(broken(spoilt(0, 3, np.nan)), RowError, says="nan"),
    "NaN half way": Fault(broken(spoilt(1, 3, np.nan)), RowError, says="nan"),
    "NaN in the row of the end": Fault(broken(spoilt(2, 3, np.nan)), RowError, says="nan"),
    "NaN in the row after a cut": Fault(
        broken(spoilt(2, 3, np.nan)), RowError, drive=asking(max_tokens=2), says="nan"
    ),
    "inf in a row": Fault(broken(spoilt(1, 3, np.inf)), RowError, says="inf"),
    "a row without mass": Fault(
        broken(np.full((4, 4), -np.inf, np.float32)), RowError, says="-inf"
    ),
    "-inf chosen": Fault(broken(spoilt(1, 2, -np.inf)), RowError, says="-inf"),
    "-inf chosen as end": Fault(broken(spoilt(2, 0, -np.inf)), RowError, says="-inf"),
    **{
        f"log-probabilities, {detector}": Fault(
            broken(normalised()), "unscored", detector, says="log-probabilities"
        )
        for detector in [*ENERGIES, "token_logit:min", "logit_energy:sum"]
    },
    "empty answer": Fault((Script((END,), rows(END)),), "unscored", says="empty"),
    "stopped by a stop string at once": Fault(
        (GOOD,), "unscored", drive=asking(stop=("Par",)), says="empty"
    ),
    "failure before the first token": Fault((Script(GOOD.ids, GOOD.rows, fail_at=0),), EngineError),
    "failure half way": Fault((Script(GOOD.ids, GOOD.rows, fail_at=1),), EngineError),
    "failure in a retry": Fault(
        (BAD, Script(GOOD.ids, GOOD.rows, fail_at=1)),
        EngineError,
        policy={"warn": 1.0, "abstain": 9.0, "retries": 1},
    ),
    "rows broken in a retry": Fault(
        (BAD, *broken(spoilt(1, 3, np.nan))),
        RowError,
        policy={"warn": 1.0, "abstain": 9.0, "retries": 2},
    ),
    "no script left": Fault((), EngineError, says="script"),
    "cancelled before": Fault((GOOD,), "unscored", drive=asking(cancel=cancelled())),
    "cancelled half way": Fault((GOOD,), "unscored", drive=cancelling, says="cancelled"),
    "cancelled half way, with retries": Fault(
        (GOOD,), "unscored", drive=cancelling, policy={"retries": 3}
    ),
    "deadline": Fault((GOOD,), "unscored", drive=asking(deadline=0.0), says="deadline"),
    "stopped": Fault((LONGER,), "abstain", policy=STOP, says="stopped early"),
    "stopped in a retry": Fault(
        (LONGER, LONGER), "abstain", policy=STOP | {"retries": 1}, says="stopped early"
    ),
    "outside the profile": Fault((BAD,), "unscored", profile=True, says="riskier than any"),
    "a consumer that raises": Fault((GOOD,), ZeroDivisionError, drive=raising),
    "a stream that is dropped": Fault((GOOD,), None, drive=dropping),
    "scored: another text": Fault((GOOD,), EngineError, drive=scoring("Rome")),
    "scored: a broken row": Fault(broken(spoilt(1, 3, np.nan)), RowError, drive=scoring("Paris")),
    "scored: failure": Fault(
        (Script(GOOD.ids, GOOD.rows, fail_at=1),), EngineError, drive=scoring("Paris")
    ),
    "scored: log-probabilities": Fault(
        broken(normalised()), "unscored", "spilled_energy:max", scoring("Paris")
    ),
    "scored: deadline": Fault(
        (GOOD,),
        "unscored",
        drive=lambda guard: guard.score(Request.chat(QUESTION, deadline=0.0), "Paris"),
    ),
}


def profile_of(backend: Scripted) -> Profile:
    calibration = {"slope": 0, "intercept": -9, "n": 9, "n_wrong": 1, "lowest": 0, "highest": 1}
    return Profile(
        model=backend.info.fingerprint,
        backend="scripted",
        mode="chat",
        detector="nll:max",
        locator="automatic",
        calibration=calibration,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_never_an_answer_and_the_next_question_is_answered(name: str) -> None:
    fault = FAULTS[name]
    backend = Scripted(VOCABULARY, fault.scripts, end=END)
    if fault.profile:
        guard = Guard(backend, profile=profile_of(backend))
    else:  # limits that show whatever has a score
        limits = {"detector": fault.detector, "warn": 1e9, "abstain": 1e9}
        guard = Guard(backend, Policy(**limits | fault.policy))
    said = ""
    if isinstance(fault.outcome, type):
        with pytest.raises(fault.outcome) as caught:
            fault.drive(guard)
        said = str(caught.value)
        assert issubclass(fault.outcome, EnergyGuardError | ZeroDivisionError)
    else:
        result = fault.drive(guard)
        assert (result and result.verdict) == fault.outcome
        if result is not None:
            assert not result.shown
            assert result.p_wrong is None
            assert result.text == guard.policy.abstention_text
            assert result.score is None or fault.profile
            said = result.reason
    assert fault.says in said.lower()
    assert not lock_of(backend).locked
    assert backend._played <= len(fault.scripts)
    backend._scripts[backend._played :] = [GOOD]
    assert Guard(backend).ask(QUESTION).verdict == "accept"


def test_the_same_scripts_without_a_fault_are_accepted() -> None:
    for detector in ("nll:max", *ENERGIES, "token_logit:min", "logit_energy:sum"):
        policy = Policy(detector=detector, warn=1e9, abstain=1e9)
        backend = Scripted(VOCABULARY, [GOOD, GOOD], end=END)
        assert Guard(backend, policy).ask(QUESTION).verdict == "accept"
        assert Guard(backend, policy).score(QUESTION, "Paris").verdict == "accept"


@pytest.mark.parametrize("name", [name for name, f in FAULTS.items() if f.outcome == "unscored"])
def test_a_policy_that_shows_unscored_answers_still_calls_them_unscored(name: str) -> None:
    fault = FAULTS[name]
    backend = Scripted(VOCABULARY, fault.scripts, end=END)
    if fault.profile:
        lax = Policy(on="p_wrong", warn=0.9, unscored="show")
        guard = Guard(backend, lax, profile=profile_of(backend))
    else:
        guard = Guard(backend, Policy(detector=fault.detector, warn=1e9, unscored="show"))
    result = fault.drive(guard)
    assert result is not None
    assert (result.verdict, result.p_wrong, result.shown) == ("unscored", None, True)
    assert result.text == result.answer
