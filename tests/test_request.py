from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from energy_guard.errors import InputError, PromptError
from energy_guard.request import CancelToken, Message, Request, Sampling

SYSTEM = Message("system", "Be brief.")
FIRST, REPLY, SECOND = Message("user", "one?"), Message("assistant", "1"), Message("user", "two?")


@pytest.mark.parametrize("blank", ["", " ", "\n\t ", "\u3000"])
def test_an_empty_prompt_is_refused(blank: str) -> None:
    for make in (Request.chat, Request.raw):
        with pytest.raises(PromptError, match="empty"):
            make(blank)
    with pytest.raises(PromptError, match="empty"):
        Request.chat([FIRST, REPLY, Message("user", blank)])


@pytest.mark.parametrize("nothing", [{"messages": ()}, {"ids": ()}, {"text": ""}])
def test_an_empty_form_of_prompt_is_refused(nothing: dict[str, Any]) -> None:
    with pytest.raises(PromptError, match="empty"):
        Request(**nothing)


BAD = "caf\udcff"


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        (BAD, {}),
        ([Message("system", BAD), FIRST], {}),
        ([FIRST, Message("assistant", BAD), SECOND], {}),
        ("fine", {"context": ("fine", BAD)}),
        ("fine", {"choices": (BAD,)}),
        ("fine", {"stop": (BAD,)}),
    ],
    ids=["question", "system prompt", "earlier turn", "context", "choices", "stop"],
)
def test_text_that_is_not_utf_8_is_refused_with_its_place(
    prompt: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(PromptError, match="character 3"):
        Request.chat(prompt, **options)


def test_raw_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(PromptError, match="character 3"):
        Request.raw(BAD)


@pytest.mark.parametrize("given", [{}, {"text": "a", "ids": (1,)}, {"text": "a", "messages": ()}])
def test_a_request_has_exactly_one_prompt(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="exactly one"):
        Request(**given)
    with pytest.raises(InputError, match="exactly one"):
        Request.chat("question", text="text")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": ("ok", "")}, "stop string"),
        ({"inverse_temperature": 0.0}, "inverse_temperature"),
        ({"inverse_temperature": -1.0}, "inverse_temperature"),
        ({"inverse_temperature": math.nan}, "inverse_temperature"),
    ],
)
def test_limits_are_checked(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Request.chat("question", **options)


@pytest.mark.parametrize("temperature", [-0.1, -math.inf, math.nan])
def test_a_temperature_below_zero_or_nan_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        Sampling(temperature=temperature)


def test_greedy_and_one_token_are_allowed() -> None:
    request = Request.chat("question", sampling=Sampling(temperature=0.0), max_tokens=1)
    assert (request.sampling.temperature, request.max_tokens) == (0.0, 1)


@pytest.mark.parametrize(
    ("turns", "at"),
    [
        ([SECOND], 0),
        ([SYSTEM, FIRST, REPLY, SECOND], 3),
        ([SYSTEM, FIRST, REPLY], 1),
    ],
    ids=["one question", "the last of two", "an answer to continue"],
)
def test_passages_stand_before_the_last_user_message(turns: list[Message], at: int) -> None:
    request = Request.chat(turns, context=("Paris is big.", "Rome is old."))
    told = request.turns()
    asked = told[at]
    assert asked.role == "user"
    positions = [asked.content.index(text) for text in (*request.context, turns[at].content)]
    assert positions == sorted(positions)
    assert asked.content.endswith(turns[at].content)
    assert [*told[:at], *told[at + 1 :]] == [*turns[:at], *turns[at + 1 :]]
    assert request.question == turns[at].content


def test_without_passages_the_turns_are_as_given() -> None:
    assert Request.chat([SYSTEM, FIRST]).turns() == (SYSTEM, FIRST)


def test_passages_without_a_user_message_are_refused() -> None:
    with pytest.raises(InputError, match="user message"):
        Request.chat([SYSTEM], context=("Paris is big.",)).turns()


def test_the_question_and_mode_of_each_form() -> None:
    forms = [Request.chat("why?"), Request.raw("once"), Request(ids=(1, 2))]
    assert [(form.question, form.mode) for form in forms] == [
        ("why?", "chat"),
        ("once", "raw"),
        ("", "raw"),
    ]


def test_a_cancel_token_stays_cancelled() -> None:
    token = CancelToken()
    assert not token.cancelled
    token.cancel()
    token.cancel()
    assert token.cancelled


@pytest.mark.parametrize(
    "bias",
    [{"65": -100.0}, {65.0: 1.0}, {True: 1.0}, {65: "high"}, {65: math.nan}, {65: math.inf}, [65]],
)
def test_a_bias_that_an_engine_would_pass_over_is_refused(bias: Any) -> None:
    with pytest.raises(InputError, match="logit_bias"):
        Sampling(logit_bias=bias)


def test_a_bias_may_be_keyed_by_numpy_integers_and_ban_a_token() -> None:
    assert Sampling(logit_bias={np.int64(65): -math.inf}).logit_bias == {65: -math.inf}


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "typical_p", "repeat_penalty"])
@pytest.mark.parametrize("value", [math.nan, "1", None])
def test_a_sampling_setting_that_is_no_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is"):
        Sampling(**{name: value})


def test_a_deadline_that_never_comes_is_refused() -> None:
    with pytest.raises(InputError, match="deadline is NaN"):
        Request.raw("hi", deadline=math.nan)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64, 10**400, 1.5, True, "1"])
def test_a_seed_that_no_engine_takes_as_it_is_is_refused(seed: Any) -> None:
    with pytest.raises(InputError, match="seed is"):
        Sampling(seed=seed)
