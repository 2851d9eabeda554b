from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.backends import PromptSize
from energy_guard.decide import (
    Abstain,
    Accept,
    Again,
    Attempt,
    Changes,
    Move,
    NotScored,
    Policy,
    Warn,
    next_move,
)
from energy_guard.energy import Row
from energy_guard.locate import NotLocated, Span
from energy_guard.request import Message, Request, Sampling
from energy_guard.score import Detector, Score, Unscored
from energy_guard.trace import FinishReason, Step, Trace

NLL_MAX = Detector.parse("nll:max")


def attempt(
    risk: float | None,
    *,
    p_wrong: float | None = None,
    finish: FinishReason = "eos",
    weak: str = " Paris",
) -> Attempt:
    """An answer of three tokens, the middle one the riskiest; unscored where risk is None."""
    row = Row(10.0, 0.0, 0.1, 1.0)
    pieces = ["It is", weak, " surely"]
    steps = [Step(i, piece.encode(), 9.0, row) for i, piece in enumerate(pieces)]
    trace = Trace.from_steps(steps, row, finish_reason=finish)
    if risk is None:
        reason = "the answer is empty"
        return Attempt(trace, NotLocated(reason), Unscored(reason), None)
    span = Span((0, 1, 2), trace.text)
    return Attempt(trace, span, Score(risk, NLL_MAX, span, (risk - 2, risk, risk - 1)), p_wrong)


def policy(**changes: object) -> Policy:
    return Policy(**({"detector": "nll:max", "warn": 1.0, "abstain": 2.0} | changes))


@pytest.mark.parametrize(
    ("risk", "move"),
    [
        (0.999, Accept),
        (1.0, Warn),
        (1.999, Warn),
        (2.0, Abstain),
        (50.0, Abstain),
        (-3.0, Accept),
    ],
)
def test_thresholds_count_from_their_own_value_on(risk: float, move: type[Move]) -> None:
    assert type(next_move(policy(), [attempt(risk)])) is move


@pytest.mark.parametrize(
    ("changes", "risk", "move"),
    [
        ({"warn": None}, 0.0, Warn),
        ({"warn": None}, 2.0, Abstain),
        ({"abstain": None}, 0.0, Accept),
        ({"abstain": None}, 99.0, Warn),
        ({"warn": None, "abstain": None}, 0.0, Warn),
        ({"warn": None, "abstain": None}, 99.0, Warn),
        ({"warn": 2.0}, 1.9, Accept),
        ({"warn": 2.0}, 2.0, Abstain),
    ],
)
def test_without_a_threshold(changes: dict[str, object], risk: float, move: type[Move]) -> None:
    assert type(next_move(policy(**changes), [attempt(risk)])) is move


@pytest.mark.parametrize(("unscored", "show"), [("withhold", False), ("show", True)])
def test_an_unscored_answer_is_never_accepted(unscored: str, show: bool) -> None:
    move = next_move(policy(unscored=unscored), [attempt(None)])
    assert move == NotScored(0, "the answer is empty", show)


def test_a_retry_says_what_it_changes() -> None:
    move = next_move(policy(retries=1, retry_temperature=0.4), [attempt(3.0)])
    assert isinstance(move, Again)
    assert (move.changes.temperature, move.changes.fresh_seed) == (0.4, True)


@pytest.mark.parametrize(
    ("risk", "unscored", "again"),
    [
        (1.9, "withhold", False),
        (2.0, "withhold", True),
        (None, "withhold", True),
        (None, "show", False),
    ],
)
def test_only_what_would_be_withheld_is_tried_again(
    risk: float | None, unscored: str, again: bool
) -> None:
    move = next_move(policy(retries=1, unscored=unscored), [attempt(risk)])
    assert isinstance(move, Again) == again


def test_retries_are_bounded() -> None:
    limit = policy(retries=2)
    history = [attempt(3.0)]
    while isinstance(next_move(limit, history), Again):
        history.append(attempt(3.0))
    assert len(history) == 3


@pytest.mark.parametrize(
    ("risks", "kept", "move"),
    [
        ([5.0, 3.0, 4.0], 1, Abstain),
        ([5.0, 3.0, 0.5], 2, Accept),
        ([3.0, None], 0, Abstain),
        ([None, 3.0], 1, Abstain),
        ([3.0, 3.0], 0, Abstain),
        ([None, None], 1, NotScored),
    ],
)
def test_the_least_risky_attempt_is_kept(
    risks: list[float | None], kept: int, move: type[Move]
) -> None:
    made = next_move(policy(retries=len(risks) - 1), [attempt(risk) for risk in risks])
    assert type(made) is move
    assert not isinstance(made, Again)
    assert made.attempt == kept


@pytest.mark.parametrize("finish", ["cancelled", "deadline", "closed"])
def test_an_interrupted_answer_is_not_tried_again(finish: FinishReason) -> None:
    move = next_move(policy(retries=3), [attempt(None, finish=finish)])
    assert isinstance(move, NotScored)
    assert not move.show


@pytest.mark.parametrize("finish", ["eos", "stop", "length"])
def test_a_complete_answer_is_tried_again(finish: FinishReason) -> None:
    assert isinstance(next_move(policy(retries=3), [attempt(None, finish=finish)]), Again)


def on_p_wrong(**changes: object) -> Policy:
    return Policy(**({"on": "p_wrong", "warn": 0.25, "abstain": 0.5} | changes))


@pytest.mark.parametrize(("p_wrong", "move"), [(0.24, Accept), (0.25, Warn), (0.5, Abstain)])
def test_a_policy_on_p_wrong_goes_by_the_probability(p_wrong: float, move: type[Move]) -> None:
    assert type(next_move(on_p_wrong(), [attempt(99.0, p_wrong=p_wrong)])) is move


def test_a_score_without_probability_is_not_scored() -> None:
    far = replace(attempt(0.0, p_wrong=None), uncalibrated="the score is outside the range")
    unknown = "how often such answers are wrong was not measured"
    told = f"{unknown}: the score is outside the range"
    assert next_move(on_p_wrong(), [far]) == NotScored(0, told, False)
    shown = next_move(on_p_wrong(unscored="show"), [attempt(0.0, p_wrong=None)])
    assert shown == NotScored(0, unknown, True)


HISTORIES: list[tuple[Policy, list[Attempt]]] = [
    (policy(), [attempt(0.5)]),
    (policy(), [attempt(1.5)]),
    (policy(), [attempt(2.5)]),
    (policy(warn=None), [attempt(0.5)]),
    (on_p_wrong(), [attempt(0.5, p_wrong=0.9)]),
    (on_p_wrong(), [attempt(0.5)]),
    (policy(), [attempt(None)]),
    (policy(retries=1), [attempt(2.5)]),
]


@pytest.mark.parametrize(("chosen", "attempts"), HISTORIES)
def test_the_reason_is_one_sentence(chosen: Policy, attempts: Sequence[Attempt]) -> None:
    reason = next_move(chosen, attempts).reason
    assert reason
    assert "\n" not in reason
    assert not reason.endswith(".")
    assert ". " not in reason


@pytest.mark.parametrize(
    ("risk", "told"),
    [
        (0.247, "is 0.247, below the warning limit of 0.25"),
        (0.2499996, "is 0.2499996, below the warning limit of 0.25"),
        (0.243, "is 0.24, below the warning limit of 0.25"),
        (0.25, "is 0.25, at or above the warning limit of 0.25"),
        (0.497, "is 0.497, at or above the warning limit of 0.25"),
        (0.5, "is 0.50, at or above the limit of 0.5"),
    ],
)
def test_no_reason_rounds_a_risk_to_the_other_side_of_a_limit(risk: float, told: str) -> None:
    move = next_move(on_p_wrong(), [attempt(9.0, p_wrong=risk)])
    assert move.reason.endswith(told)


@pytest.mark.parametrize("risk", [0.5, 1.5, 2.5])
def test_the_reason_names_the_detector_the_answer_and_its_weak_token(risk: float) -> None:
    reason = next_move(policy(), [attempt(risk)]).reason
    assert "nll:max" in reason
    assert "“It is Paris surely”" in reason
    assert "“Paris”" in reason
    assert f"{risk:.2f}" in reason


def test_a_weak_token_with_a_line_break_keeps_the_reason_on_one_line() -> None:
    assert "\n" not in next_move(policy(), [attempt(1.5, weak=" a\nb")]).reason


def test_the_weak_token_is_the_one_on_the_riskier_side() -> None:
    low = Detector.parse("margin:min")
    good = attempt(1.0)
    assert isinstance(good.located, Span)
    weak = Attempt(good.trace, good.located, Score(-0.1, low, good.located, (0.1, 5.0, 9.0)))
    reason = next_move(policy(detector="margin:min"), [weak]).reason
    assert "weakest at “It is”" in reason


RISKS = st.floats(-5, 5)
POLICIES = st.builds(
    lambda limits, drop_warn, drop_abstain, unscored, retries: policy(
        warn=None if drop_warn else min(limits),
        abstain=None if drop_abstain else max(limits),
        unscored=unscored,
        retries=retries,
    ),
    st.tuples(RISKS, RISKS),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["withhold", "show"]),
    st.integers(0, 3),
)
SEVERITY = {Accept: 0, Warn: 1, Abstain: 2, Again: 2}


@given(
    chosen=POLICIES, count=st.integers(1, 5), finish=st.sampled_from(["eos", "length", "cancelled"])
)
def test_nothing_scored_never_ends_in_accepting_or_warning(
    chosen: Policy, count: int, finish: FinishReason
) -> None:
    move = next_move(chosen, [attempt(None)] * (count - 1) + [attempt(None, finish=finish)])
    assert isinstance(move, NotScored | Again)


@given(chosen=POLICIES, risk=RISKS, more=st.floats(0, 5), before=st.lists(RISKS, max_size=3))
def test_more_risk_never_makes_the_move_milder(
    chosen: Policy, risk: float, more: float, before: list[float]
) -> None:
    history = [attempt(one) for one in before]
    mild = next_move(chosen, [*history, attempt(risk)])
    severe = next_move(chosen, [*history, attempt(risk + more)])
    assert SEVERITY[type(severe)] >= SEVERITY[type(mild)]


ASKED = Request.chat("Which city?", context=("Paris is big.",), sampling=Sampling(seed=2**32 - 1))
TOLD = Changes(feedback="Are you sure?")


def test_a_retry_with_feedback_ends_with_the_last_answer_and_the_feedback() -> None:
    again = TOLD.apply(ASKED, [attempt(3.0), attempt(3.0, weak=" Nice")])
    assert again.messages is not None
    assert again.turns() == again.messages, "the passages do not move to the feedback"
    assert again.messages == (
        *ASKED.turns(),
        Message("assistant", "It is Nice surely"),
        Message("user", "Are you sure?"),
    )


@pytest.mark.parametrize("request_", [Request.raw("Once"), Request(ids=(1, 2))])
def test_feedback_leaves_a_prompt_that_is_no_chat_as_it_is(request_: Request) -> None:
    assert TOLD.apply(request_, [attempt(3.0)]) == request_


@pytest.mark.parametrize(("retry", "seed"), [(1, 0), (2, 1), (3, 2)])
def test_the_seed_of_a_retry_counts_on_from_the_given_one(retry: int, seed: int) -> None:
    again = Changes(fresh_seed=True).apply(ASKED, [attempt(3.0)] * retry)
    assert again == replace(ASKED, sampling=Sampling(seed=seed))


@pytest.mark.parametrize("changes", [Changes(), Changes(temperature=0.5), TOLD])
def test_a_retry_keeps_the_seed_unless_a_fresh_one_is_wanted(changes: Changes) -> None:
    assert changes.apply(ASKED, [attempt(3.0)]).sampling.seed == 2**32 - 1


def test_without_a_given_seed_a_retry_has_none_either() -> None:
    changes = Changes(temperature=0.5, fresh_seed=True)
    again = changes.apply(Request.chat("?"), [attempt(3.0)])
    assert again.sampling == Sampling(temperature=0.5, seed=None)


@pytest.mark.parametrize(("room", "kept"), [(1, True), (0, False), (-1, False)])
def test_feedback_is_left_out_if_the_context_has_no_room_for_it(room: int, kept: bool) -> None:
    changes = Changes(temperature=0.5, fresh_seed=True, feedback="Are you sure?")

    def measure(request: Request) -> PromptSize:
        assert request.messages is not None
        assert request.messages[-1].content == "Are you sure?", "the whole retry is measured"
        return PromptSize(tokens=100 - room, context=100)

    found = changes.that_fit(ASKED, [attempt(3.0)], measure=measure)
    assert found == (changes if kept else replace(changes, feedback=None))
