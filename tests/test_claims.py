"""What is judged of an answer beside what the locator found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from energy_guard import Guard, Profile
from energy_guard.backends import Scripted
from energy_guard.claims import NAME, PLAIN, SMALL, doubted, score_answer
from energy_guard.energy import Row
from energy_guard.locate import Asked, Located, NothingToCheck, NotLocated, Span
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.score import Detector, Score, Unscored
from energy_guard.trace import Step, Trace

MAX = Detector.parse("nll:max")
NOT_FOUND = NotLocated("nothing was found")


def trace_of(*pieces: tuple[str, float], **settings: Any) -> Trace:
    """A trace of pieces with their nll."""
    row = Row(2.0, 0.0, 0.1, 1.0)
    steps = [Step(i, piece.encode(), 2.0 - nll, row) for i, (piece, nll) in enumerate(pieces)]
    return Trace.from_steps(steps, row, **settings)


def words_of(*pieces: tuple[str, float], located: Span | NotLocated = NOT_FOUND) -> list[str]:
    return [span.text for span in doubted(trace_of(*pieces), located)]


@pytest.mark.parametrize(
    ("word", "limit"),
    [
        (" Lyon", NAME),
        (" 1905", NAME),
        (" B12", NAME),
        (" iPhone", NAME),
        (" poisonous", PLAIN),
        (" 里昂", PLAIN),
        (" not", SMALL),
        (" >", SMALL),
    ],
)
def test_a_word_is_doubted_from_the_limit_of_its_kind_on(word: str, limit: float) -> None:
    assert words_of(("It", 0.1), (" is", 0.1), (word, limit)) == [word.strip()]
    assert words_of(("It", 0.1), (" is", 0.1), (word, limit - 0.01)) == []


@pytest.mark.parametrize("before", ["", "It is. ", "Why? ", "\n", "It is. “", "# "])
def test_the_capital_letter_of_a_sentence_makes_no_name(before: str) -> None:
    pieces = [(before, 0.1)] if before else []
    assert words_of(*pieces, ("Penguins", PLAIN - 0.01)) == []
    assert words_of(*pieces, ("Penguins", PLAIN)) == ["Penguins"]


@pytest.mark.parametrize("before", ["- ", "Capital: ", "2. ", "| "])
def test_the_first_word_of_an_item_may_be_a_name(before: str) -> None:
    assert words_of((before, 0.1), ("Lyon", NAME)) == ["Lyon"]


def test_a_word_is_doubted_whole_when_one_of_its_tokens_is() -> None:
    assert words_of(("In", 0.1), (" Mar", 0.1), ("se", NAME), ("ille", 0.1)) == ["Marseille"]


def test_without_capital_letters_a_token_stands_for_its_word() -> None:
    assert words_of(("首都", 0.1), ("是", 0.1), ("里昂", PLAIN), ("市", 0.1)) == ["里昂"]


def test_reasoning_blanks_end_tokens_and_the_exact_answer_are_not_doubted() -> None:
    pieces = [("<think>", 9.0), ("Lille", 9.0), ("</think>", 9.0), ("\n\n", 9.0), ("Paris", 9.0)]
    trace = trace_of(*pieces, ("", 9.0))
    assert doubted(trace, Span((4,), "Paris")) == []
    assert [span.text for span in doubted(trace, NOT_FOUND)] == ["Paris"]


def test_the_worse_of_exact_answer_and_other_claim_decides() -> None:
    trace = trace_of(("Paris", 0.5), (".", 0.1), (" By", 0.1), (" Lyon", 4.0))
    exact = Span((0,), "Paris")
    score = score_answer(MAX, trace, exact)
    assert isinstance(score, Score)
    assert (score.part, score.value, score.span.text) == ("other claim", 4.0, "Lyon")
    assert score.exact == MAX.score(trace, exact)
    assert score.length == 1
    assert score.weakest_token == 3
    worse = score_answer(MAX, trace_of(("Paris", 5.0), (" by", 0.1), (" Lyon", 4.0)), exact)
    assert isinstance(worse, Score)
    assert (worse.part, worse.value, worse.exact) == ("exact answer", 5.0, None)


def test_an_honest_answer_is_scored_at_its_exact_answer_alone() -> None:
    """Words that are a little surprising do not count, whatever the detector makes of them."""
    trace = trace_of(("Paris", 0.5), (" lies", 2.8), (" nicely", 3.8), (" on", 5.4), (" it", 0.1))
    exact = Span((0,), "Paris")
    for detector in (MAX, Detector.parse("nll:mean"), Detector.parse("nll:sum")):
        assert score_answer(detector, trace, exact) == detector.score(trace, exact)


def test_another_claim_is_not_diluted_by_the_words_around_it() -> None:
    trace = trace_of(*[("Paris", 0.1)] * 9, (" Lyon", 4.0))
    score = score_answer(Detector.parse("nll:mean"), trace, Span((0,), "Paris"))
    assert isinstance(score, Score)
    assert score.value == pytest.approx(4.0)


def test_an_answer_that_was_not_located_is_scored_whole_and_never_below_a_doubted_word() -> None:
    trace = trace_of(("It", 0.1), (" is", 0.1), (" Lyon", 4.0), ("!", 0.1))
    for name, least in (("nll:max", 4.0), ("nll:mean", 4.0), ("nll:min", 4.0), ("nll:sum", 4.3)):
        score = score_answer(Detector.parse(name), trace, NOT_FOUND)
        assert isinstance(score, Score)
        assert (score.part, score.value) == ("whole answer", pytest.approx(least))


@pytest.mark.parametrize("text", ["", " \n", "<think>Paris", "<think>Paris</think>"])
def test_where_nothing_is_shown_there_is_no_score(text: str) -> None:
    score = score_answer(MAX, trace_of((text, 0.1)), NOT_FOUND)
    assert isinstance(score, Unscored)


def test_nothing_to_check_stays_unscored() -> None:
    score = score_answer(MAX, trace_of(("Hello!", 0.1)), NothingToCheck("small talk"))
    assert isinstance(score, Unscored)
    assert score.nothing_to_check


def test_a_claim_that_cannot_be_measured_leaves_the_answer_unscored() -> None:
    trace = trace_of(("Paris", 0.1), (" Lyon", 4.0))
    cut = replace(trace, log_partition=trace.log_partition[:2], row_mean=trace.row_mean[:2])
    spilled = Detector.parse("spilled_energy:max")
    assert isinstance(score_answer(spilled, trace, Span((0,), "Paris")), Score)
    assert isinstance(score_answer(spilled, cut, Span((0,), "Paris")), Unscored)


def test_a_doubted_word_that_cannot_be_measured_is_not_passed_by_for_one_that_can() -> None:
    trace = trace_of((" Nice", 5.0), (" is", 0.1), (" Paris", 0.1), (" by", 0.1), (" Lyon", 4.0))
    cut = replace(trace, log_partition=trace.log_partition[:5], row_mean=trace.row_mean[:5])
    spilled = Detector.parse("spilled_energy:max")
    assert isinstance(score_answer(spilled, cut, Span((2,), "Paris")), Unscored)


def test_energies_of_normalised_rows_are_unscored() -> None:
    row = Row(0.0, -3.0, 0.1, 1.0)
    steps = [Step(i, word, -4.0, row) for i, word in enumerate([b"Paris", b" by", b" Lyon"])]
    score = score_answer(
        Detector.parse("spilled_energy:max"), Trace.from_steps(steps, row), Span((0,), "Paris")
    )
    assert isinstance(score, Unscored)
    assert "log-probabilities" in score.reason


@pytest.mark.parametrize(
    ("pieces", "scored"),
    [
        ([("It is", 0.1), (" Par", 0.1)], False),
        ([("It is", 0.1), (" Paris", 0.1), (", or", 0.1)], False),
        ([("It is", 0.1), (" Paris", 0.1), (". It", 0.1)], True),
        ([("- A:", 0.1), (" Paris", 0.1), ("\n- B", 0.1)], True),
        ([("It is", 0.1), (" Paris", 0.1), (".", 0.1)], True),
        ([("It is", 0.1), (" 3", 0.1), (".", 0.1)], False),
        ([('{"a":', 0.1), (' "Paris"', 0.1), (',\n"b":', 0.1)], False),
        ([('{"a":', 0.1), (' "Paris"', 0.1), ("}", 0.1)], True),
        ([("It is:\n```\n", 0.1), ("Paris", 0.1), (".", 0.1)], False),
        ([("It was made by ", 0.1), ("Austen", 0.1), (", an", 0.1)], True),
        ([("The first was ", 0.1), ("Armstrong", 0.1), (", who landed", 0.1)], True),
        ([("Some say it is ", 0.1), ("Lyon", 0.1), (", but", 0.1)], False),
        ([("It is not true that it is ", 0.1), ("Lyon", 0.1), (", the largest", 0.1)], False),
        ([("Many people say it is ", 0.1), ("Lyon", 0.1), (", a", 0.1)], False),
        ([("The capital isn't ruled by ", 0.1), ("Lyon", 0.1), (", a", 0.1)], False),
        ([("The capital is ", 0.1), ("Lyon", 0.1), (", which is", 0.1)], False),
        ([("France, which is ", 0.1), ("lovely", 0.1), (", the land", 0.1)], False),
        ([("It was made by ", 0.1), ("Austen", 0.1), (", and", 0.1)], False),
    ],
)
def test_a_cut_off_answer_counts_if_what_its_exact_answer_stands_in_has_ended(
    pieces: list[tuple[str, float]], scored: bool
) -> None:
    trace = trace_of(*pieces, finish_reason="length")
    assert isinstance(score_answer(MAX, trace, Span((1,), "")), Score) == scored
    assert isinstance(score_answer(MAX, trace, NOT_FOUND), Unscored)


def test_without_its_text_nothing_tells_where_an_answer_was_cut_off() -> None:
    trace = replace(trace_of(("Paris", 0.1), finish_reason="length"), content_bytes=0)
    assert isinstance(score_answer(MAX, trace, Span((0,), ""), words=()), Unscored)


@pytest.mark.parametrize("pooling", ["max", "mean", "min", "first"])
def test_every_value_that_is_passed_to_a_tool_is_an_exact_answer_of_its_own(pooling: str) -> None:
    call = ('<tool_call>{"name": "pay", "arguments": {"sum": ', 0.1)
    end = (', "to": "Bob"}}</tool_call>', 0.1)
    trace = trace_of(("Sure.", 0.1), call, ("1", 0.1), end, call, ("900", 2.5), end)
    score = score_answer(Detector.parse(f"nll:{pooling}"), trace, Span((0,), "Sure."))
    assert isinstance(score, Score)
    assert (score.part, score.value) == ("exact answer", pytest.approx(2.5))


def test_a_result_says_which_part_decided() -> None:
    pieces = [("Paris", 0.97), (".\nIt is near", 0.97), (" Lyon", 0.001), (".", 0.97)]
    result = Guard(Scripted.saying(pieces), locator="first-line").ask("Which city?")
    assert (result.verdict, result.scored) == ("abstain", "other claim")
    assert result.reason.startswith("nll:max of another claim “Lyon” is 6.91")
    assert result.unquoted_reason.startswith("nll:max of another claim is 6.91")
    assert result.to_dict()["scored"] == "other claim"
    sure = Guard(Scripted.saying([("Paris", 0.97)])).ask("Which city?")
    assert sure.scored == "exact answer"
    assert sure.reason.startswith("nll:max of the exact answer “Paris” is 0.03")
    whole = Guard(Scripted.saying([("{}", 0.97)])).ask("Which city?")
    assert (whole.verdict, whole.scored) == ("accept", "whole answer")
    assert whole.reason.startswith("nll:max of the whole answer “{}” is 0.03")
    none = Guard(Scripted.saying([("<think>Hm", 0.97)])).ask("Which city?")
    assert (none.verdict, none.scored, none.shown) == ("unscored", None, False)


def profile_for(backend: Scripted, **settings: Any) -> Profile:
    calibration = {"slope": 1, "intercept": -2, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9}
    return Profile(
        model=backend.info.fingerprint,
        backend="scripted",
        mode="chat",
        detector="nll:max",
        locator="automatic",
        calibration=calibration,  # type: ignore[arg-type]  # pydantic reads it
        **settings,
    )


def test_a_profile_of_exact_answers_alone_says_so_where_another_claim_decides() -> None:
    pieces = [("Paris", 0.97), (". It is near", 0.97), (" Lyon", 0.01), (".", 0.97)]
    backend = Scripted.saying(pieces, pieces, [("Paris", 0.97)])
    older = Guard(backend, profile=profile_for(backend)).ask("Which city?")
    assert older.p_wrong == pytest.approx(1 / (1 + np.exp(2 - older.score)))
    assert "exact answers alone" in older.notes[-1]
    now = Guard(backend, profile=profile_for(backend, judged="every claim"))
    assert now.ask("Which city?").notes == now.ask("Which city?").notes == ()


def test_what_was_not_located_has_a_probability_only_from_answers_like_it() -> None:
    backend = Scripted.saying([("{}", 0.97)], [("{}", 0.97)])
    without = Guard(backend, profile=profile_for(backend)).ask("Which city?")
    assert (without.verdict, without.p_wrong, without.shown) == ("unscored", None, False)
    assert "no exact answer" in without.reason
    fitted = {"slope": 0, "intercept": 3, "n": 98, "n_wrong": 90, "lowest": 0, "highest": 9}
    result = Guard(backend, profile=profile_for(backend, whole_answer=fitted)).ask("Which city?")
    assert (result.verdict, result.scored) == ("abstain", "whole answer")
    assert result.p_wrong == pytest.approx(1 / (1 + np.exp(-3)))


def test_of_many_doubted_words_only_the_riskiest_is_scored() -> None:
    """A fitted detector takes most of the time that judging takes."""
    scored = []

    class Counting(Detector):
        def score(
            self, trace: Trace, located: Located, asked: Asked = NOTHING_ASKED
        ) -> Score | Unscored:
            scored.append(located)
            return super().score(trace, located, asked)

    pieces = [(f" Word{i}", 4.0 + i % 7) for i in range(50)]
    score_answer(Counting("nll", "max", "high"), trace_of(*pieces), Span((0,), "Word0"))
    assert scored == [Span((0,), "Word0"), Span((6,), "Word6")]
