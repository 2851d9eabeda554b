"""How far an answer rests on its passages: two passes over it, compared with each other."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard import Guard, load
from energy_guard.backends import Backend, Scripted
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.errors import ConfigError, EngineError
from energy_guard.fitted import DetectorTraining, FittedDetector, Term
from energy_guard.locate import Asked, Span
from energy_guard.log import TraceLog, read_log
from energy_guard.profile import Calibration, Profile
from energy_guard.request import CancelToken, Finished, Message, Request
from energy_guard.score import Score, Unscored
from energy_guard.support import with_support, without_passages
from energy_guard.support_features import (
    BY_ASKING,
    CONFIRMED,
    SUPPORT,
    WITH,
    WITHOUT,
    numbers_and_names_elsewhere,
    support_feature,
    support_of,
)
from energy_guard.trace import Trace

PASSAGE: Final = (
    "The mill on Bell Street in Harrowgate was built in 1822 by Jonas Reed, a clockmaker from "
    "Dunmore who had never seen one before. It burned down twice."
)
QUESTION: Final = "Who built the mill on Bell Street?"
ANSWER: Final = "Jonas Reed built the mill on Bell Street."


def asked(**options: Any) -> Request:
    return Request.chat(QUESTION, context=[PASSAGE], max_tokens=16, **options)


def by_support(**weights: float) -> FittedDetector:
    """A detector that goes by the support alone."""
    terms = [
        Term(feature=f"support.{name.replace('__', ':')}", centre=0, scale=1, weight=weight)
        for name, weight in weights.items()
    ]
    training = DetectorTraining(tasks=("t",), n=9, n_wrong=4)
    return FittedDetector(terms=terms, intercept=0, training=training)


def judged_by(detector: FittedDetector, backend: Backend) -> Guard:
    """A guard whose P(wrong) is the detector's own."""
    known = Calibration(slope=1, intercept=0, n=90, n_wrong=40, lowest=-100, highest=100)
    profile = Profile(
        model=backend.info.fingerprint,
        backend=backend.info.backend,
        mode=None,
        detector=detector.name,
        fitted=detector,
        locator="automatic",
        calibration=known,
        judged="every claim",
        p_wrong_from="other models",
    )
    return Guard(backend, profile=profile)


def test_both_passes_have_the_numbers_of_the_engine_read_afresh(demo: LlamaCpp) -> None:
    guard = Guard(demo, profile=None, support=True)
    result = guard.score(asked(), ANSWER)

    for name, request in ((WITH, asked()), (WITHOUT, Request.chat(QUESTION))):
        demo.engine.reset()
        fresh = guard.score(request, result.trace.ids.tolist(), fast=True).trace
        np.testing.assert_allclose(result.trace.extras[name], fresh.nll, rtol=0, atol=1e-4)


def test_with_the_passages_it_is_what_was_written_but_for_what_kernels_round(
    demo: LlamaCpp,
) -> None:
    trace = Guard(demo, profile=None, support=True).ask(asked()).trace

    assert len(trace) > 3
    np.testing.assert_allclose(trace.extras[WITH], trace.nll, rtol=0, atol=0.2)
    assert np.abs(trace.extras[WITHOUT] - trace.nll).max() > 1


def test_both_engines_say_the_same(demo: LlamaCpp, demo_transformers: Backend) -> None:
    gains = []
    for backend in (demo, demo_transformers):
        support = Guard(backend, profile=None, support=True).score(asked(), ANSWER).support
        assert support is not None and support.gain is not None
        gains.append(support.gain)

    # One engine has quantised weights, and the other has not.
    assert gains[0] == pytest.approx(gains[1], abs=0.5)
    assert min(gains) > 2


def test_an_answer_from_the_passage_gains_more_than_one_from_elsewhere(demo: LlamaCpp) -> None:
    guard = Guard(demo, profile=None, support=True)
    right, wrong = (
        guard.score(asked(), f"{name} built the mill on Bell Street.").support
        for name in ("Jonas Reed", "Albert Kline")
    )

    assert right is not None and right.gain is not None
    assert wrong is not None and wrong.gain is not None
    assert right.gain > wrong.gain + 1
    assert (right.elsewhere, wrong.elsewhere) == ((), ("Albert", "Kline"))


def test_the_conversation_goes_on_as_if_nothing_had_been_measured(demo: LlamaCpp) -> None:
    after = [
        Message("user", QUESTION),
        Message("assistant", ANSWER),
        Message("user", "And when?"),
    ]
    read, traces = [], []
    for support in (False, True):
        demo.engine.reset()
        demo.engine._ctx.kv_cache_clear()
        guard = Guard(demo, profile=None, support=support)
        first = Request.chat([Message("user", f"{PASSAGE} {QUESTION}")], max_tokens=12)
        kept = guard.ask(first).trace
        there = demo.engine.n_tokens
        next_one = Request.chat(
            [Message("user", f"{PASSAGE} {QUESTION}"), *after[1:]], max_tokens=12
        )
        traces.append((kept, guard.ask(next_one).trace))
        read.append(there)

    assert read[0] == read[1]
    for plain, measured in zip(*traces, strict=True):
        assert plain.ids.tolist() == measured.ids.tolist()
        assert plain.nll.tolist() == measured.nll.tolist()


def test_a_conversation_is_not_read_again_after_a_measurement(demo: LlamaCpp) -> None:
    request = Request.chat([Message("user", f"{PASSAGE} {QUESTION}")], max_tokens=4)
    longer = Request.chat([*request.turns(), Message("assistant", "Jonas."), *request.turns()])
    shared = 60  # tokens of the passage at the least

    Guard(demo, profile=None, support=True).ask(request)
    from llama_cpp import llama_perf_context

    before = llama_perf_context(demo.engine.ctx).n_p_eval
    trace = Guard(demo, profile=None).ask(replace(longer, max_tokens=2)).trace
    assert llama_perf_context(demo.engine.ctx).n_p_eval - before < trace.prompt_tokens - shared


def test_what_has_no_passages_has_no_support(demo: LlamaCpp) -> None:
    result = Guard(demo, profile=None, support=True).ask("What is 2 + 2?", max_tokens=8)

    assert result.support is None
    assert not {WITH, WITHOUT} & set(result.trace.extras)
    asked_for = Asked("What is the capital of France?")
    span = Span((0,), "Paris")
    assert [support_feature(name, result.trace, span, asked_for) for name in SUPPORT] == [
        0.0 for _ in SUPPORT
    ]


def test_a_passage_inside_the_question_counts(demo: LlamaCpp) -> None:
    inside = Request.chat(f"{PASSAGE}\n\nQuestion: {QUESTION}", max_tokens=16)
    alone = without_passages(inside)

    assert alone is not None
    assert alone.question == f"Question: {QUESTION}"
    support = Guard(demo, profile=None, support=True).score(inside, ANSWER).support
    assert support is not None and support.gain is not None and support.gain > 1


@pytest.mark.parametrize(
    "request_",
    [
        Request.chat(QUESTION),
        Request.raw(QUESTION),
        Request(ids=(1, 2, 3)),
        Request.chat("Tom has 12 apples and 3 pears, and eats 4 of each. How many are left?"),
    ],
    ids=["chat", "raw", "ids", "sum"],
)
def test_no_passages_are_seen_in(request_: Request) -> None:
    assert without_passages(request_) is None


def test_the_last_of_several_turns_loses_its_passage() -> None:
    turns = [
        Message("system", "Be brief."),
        Message("user", "Hello."),
        Message("assistant", "Hello!"),
        Message("user", f"{PASSAGE} {QUESTION}"),
    ]
    alone = without_passages(Request.chat(turns))

    assert alone is not None and alone.messages is not None
    assert [m.content for m in alone.messages] == ["Be brief.", "Hello.", "Hello!", QUESTION]


def test_a_cancelled_measurement_is_none(demo: LlamaCpp) -> None:
    trace = Guard(demo, profile=None).score(asked(), ANSWER).trace
    cancel = CancelToken()
    cancel.cancel()
    for late in (replace(asked(), cancel=cancel), replace(asked(), deadline=time.monotonic())):
        with demo.session() as session:
            assert with_support(session, late, trace) is trace


def test_what_was_not_measured_is_unscored_by_a_detector_that_needs_it(demo: LlamaCpp) -> None:
    trace = Guard(demo, profile=None).score(asked(), ANSWER).trace
    detector = by_support(gain__mean=-1.0)
    span = Span((0, 1), "Jonas Reed")
    known = Asked(QUESTION, passages=(PASSAGE,))

    missing = detector.score(trace, span, known)
    assert isinstance(missing, Unscored)
    assert missing.reason == "how far the passages support the answer was not measured"
    unasked = detector.score(trace, span)
    assert isinstance(unasked, Unscored)
    assert "what was asked is not known" in unasked.reason
    assert isinstance(detector.score(trace, span, Asked(QUESTION)), Score)


def test_a_detector_that_needs_support_has_it_measured(demo: LlamaCpp) -> None:
    guard = judged_by(by_support(gain__mean=-1.0), demo)
    result = guard.score(asked(), ANSWER)

    assert result.support is not None and result.support.gain is not None
    assert result.score == pytest.approx(-min(result.support.gain, 4.0), abs=1e-9)


def test_sentences_wait_for_a_detector_that_needs_support(demo: LlamaCpp) -> None:
    from energy_guard.events import Done, Text

    guard = judged_by(by_support(gain__mean=-1.0), demo)
    request = replace(asked(), max_tokens=40)
    events = list(guard.stream(request, release="sentence"))
    texts = [event for event in events if isinstance(event, Text)]
    done = events[-1]

    assert isinstance(done, Done) and done.result.shown
    assert "".join(text.text for text in texts) == done.result.text
    held = list(guard.stream(request, release="token"))
    assert [type(e) for e in events[1:]] == [Text] * len(texts) + [Done]
    assert len(held) >= len(events)


def test_a_server_is_refused_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Scripted.saying([("Paris", 0.9)])
    monkeypatch.setattr(type(backend), "replays", property(lambda _: False))
    with pytest.raises(ConfigError, match="support by passages cannot be measured"):
        Guard(backend, support=True)


def test_a_withheld_answer_is_not_quoted(demo: LlamaCpp) -> None:
    guard = judged_by(by_support(elsewhere=30.0), demo)
    result = guard.score(asked(), "Albert Kline built the mill on Bell Street.")

    assert not result.shown
    summary = json.dumps(result.to_dict("summary"))
    assert "Kline" not in summary
    assert result.to_dict("summary")["support"]["elsewhere"] is None
    assert result.to_dict("full")["support"]["elsewhere"] == ["Albert", "Kline"]


def test_a_log_is_scored_again_by_the_same_support(demo: LlamaCpp, tmp_path: Path) -> None:
    guard = judged_by(by_support(gain__mean=-1.0, elsewhere=1.0), demo)
    guard.log = TraceLog(tmp_path / "log.jsonl")
    result = guard.score(asked(), ANSWER)

    (entry,) = read_log(tmp_path / "log.jsonl")
    again = guard.judge.assess_stored(entry, relocate=False)
    assert isinstance(again.score, Score)
    assert again.score.value == result.score
    assert again.support == result.support


def test_the_terminal_says_it_in_words(demo: LlamaCpp) -> None:
    from energy_guard.report.terminal import remarks

    guard = Guard(demo, profile=None, support=True)
    result = guard.score(asked(), "Albert Kline built the mill on Bell Street.")
    assert result.support is not None and result.support.gain is not None
    assert result.support.confirmed is not None
    first, second, third = (line.plain for line in remarks(result.to_dict())[:3])

    times = f"{math.exp(result.support.gain):.2g}"
    assert first == f"support by the passages: each token of the answer is {times} times as likely"
    yes = 1 / (1 + math.exp(-result.support.confirmed))
    said = f"the model says yes with {yes:.2f}, no with {1 - yes:.2f}"
    assert second == f"asked whether the passages say so, {said}"
    assert third == "in no passage: Albert, Kline"


class TestAskedWhetherThePassagesSaySo:
    def test_it_is_what_the_engine_says_next_in_that_conversation(self, demo: LlamaCpp) -> None:
        result = Guard(demo, profile=None, support=True).score(asked(), ANSWER)
        turns = [
            Message("user", f"[1] {PASSAGE}\n\n{QUESTION}"),
            Message("assistant", ANSWER),
            Message("user", "Does the text above say this? Answer yes or no."),
        ]
        said = {}
        for reply in ("Yes", "No"):
            demo.engine.reset()
            read = Guard(demo, profile=None).score(Request.chat(turns, max_tokens=2), reply)
            said[reply] = -float(read.trace.nll[0])

        assert result.support is not None and result.support.confirmed is not None
        assert result.support.confirmed == pytest.approx(said["Yes"] - said["No"], abs=1e-3)
        assert result.support.confirmed == result.trace.extras[CONFIRMED][-1]

    def test_both_engines_say_the_same(self, demo: LlamaCpp, demo_transformers: Backend) -> None:
        said = []
        for backend in (demo, demo_transformers):
            support = Guard(backend, profile=None, support=True).score(asked(), ANSWER).support
            assert support is not None and support.confirmed is not None
            said.append(support.confirmed)

        assert said[0] == pytest.approx(said[1], abs=0.3)  # one has quantised weights

    def test_a_detector_that_goes_by_it_alone_has_nothing_else_measured(
        self, demo: LlamaCpp
    ) -> None:
        result = judged_by(by_support(confirmed=-1.0, asked=0.5), demo).score(asked(), ANSWER)

        assert result.support is not None and result.support.confirmed is not None
        assert result.support.gain is None
        assert result.score == pytest.approx(0.5 - result.support.confirmed)
        assert not {WITH, WITHOUT} & result.trace.extras.keys()

    @pytest.mark.parametrize("engine", ["demo", "demo_transformers"])
    def test_the_next_turn_has_the_numbers_that_it_would_have(
        self, engine: str, request: pytest.FixtureRequest
    ) -> None:
        """The turn that is not seen has the answer without its blanks; what goes on has them."""
        backend: Backend = request.getfixturevalue(engine)
        first = asked()
        after = Request.chat(
            [*first.turns(), Message("assistant", f"{ANSWER}  "), Message("user", "And when?")],
            max_tokens=6,
        )
        trace = Guard(backend, profile=None).score(first, f"{ANSWER}  ").trace
        numbers = []
        for asks in (False, True):
            with backend.session() as session:
                session.rewind([])
                session.next_row(after)
                if asks:
                    assert CONFIRMED in with_support(session, first, trace).extras
                (done,) = (e for e in session.generate([after]) if isinstance(e, Finished))
                numbers.append(done.trace.nll)

        assert numbers[0].tolist() == numbers[1].tolist()

    def test_who_is_out_of_time_waits_for_no_reply(self, demo: LlamaCpp) -> None:
        request = asked()
        trace = Guard(demo, profile=None).score(request, ANSWER).trace
        demo.engine.reset()
        demo.engine._ctx.kv_cache_clear()
        long = replace(request, context=(PASSAGE * 12,), deadline=time.monotonic() + 0.05)
        started = time.monotonic()
        with demo.session() as session:
            assert with_support(session, long, trace, BY_ASKING) is trace
        assert time.monotonic() - started < 1

    def test_of_a_choice_and_without_passages_nothing_is_asked(self, demo: LlamaCpp) -> None:
        guard = judged_by(by_support(confirmed=-1.0, asked=0.5), demo)
        chosen = guard.score(asked(choices=("Jonas Reed", "Albert Kline")), "Jonas Reed")
        free = guard.score(Request.chat(QUESTION), ANSWER)

        for result in (chosen, free):
            assert CONFIRMED not in result.trace.extras
            assert result.score == 0.0

    def test_what_somebody_tells_before_a_question_is_no_passage_to_be_asked_about(
        self, demo: LlamaCpp
    ) -> None:
        guard = judged_by(by_support(confirmed=-1.0, asked=0.5), demo)
        told = guard.score(Request.chat(f"{PASSAGE} {QUESTION}"), ANSWER)
        marked = guard.score(Request.chat(f"Context: {PASSAGE} Question: {QUESTION}"), ANSWER)

        assert CONFIRMED not in told.trace.extras and told.score == 0.0
        assert CONFIRMED in marked.trace.extras and marked.score != 0.0

    def test_what_could_not_be_asked_is_unscored(self, demo: LlamaCpp) -> None:
        guard = judged_by(by_support(confirmed=-1.0), demo)
        raw = Request.raw(f"Context: {PASSAGE} Question: {QUESTION} Answer:", max_tokens=16)
        result = guard.score(raw, " Jonas Reed.")

        assert "how far the passages support the answer was not measured" in result.reason
        assert not result.shown

    def test_without_room_for_the_question_the_answer_is_unscored_and_kept(self) -> None:
        small = load("demo", n_ctx=128, n_threads=1)
        guard = judged_by(by_support(confirmed=-1.0), small)
        result = guard.score(asked(), f"{ANSWER} It burned down twice, and he built it up again.")

        assert "how far the passages support the answer was not measured" in result.reason
        assert result.trace.text.startswith(ANSWER)

    def test_what_could_not_be_asked_is_judged_by_the_mean_if_that_is_known(
        self, demo: LlamaCpp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A raw prompt has no next turn in which the model could be asked."""
        blind = by_support(confirmed=-1.0, asked=0.5)
        mean = blind.terms[0].model_copy(update={"if_unknown": 0.25})
        guard = judged_by(blind.model_copy(update={"terms": (mean, blind.terms[1])}), demo)
        monkeypatch.setattr(Profile, "promise", lambda *_: "at most a quarter is wrong")
        raw = Request.raw(f"Context: {PASSAGE} Question: {QUESTION} Answer:", max_tokens=16)
        over, free = guard.score(raw, " Jonas Reed."), guard.score(Request.raw(QUESTION), " Reed.")

        assert over.score == pytest.approx(0.5 - 0.25)
        assert over.support is not None and over.support.confirmed is None
        assert any("could not be asked whether its passages say so" in n for n in over.notes)
        assert over.promise is None
        assert free.score == 0.0 and free.promise is not None
        assert not any("could not be asked" in note for note in free.notes)
        told = guard.score(asked(), ANSWER)
        assert told.support is not None and told.support.confirmed is not None
        assert told.score == pytest.approx(0.5 - told.support.confirmed)
        assert not any("could not be asked" in note for note in told.notes)

    def test_a_log_has_it(self, demo: LlamaCpp, tmp_path: Path) -> None:
        guard = judged_by(by_support(confirmed=-1.0), demo)
        guard.log = TraceLog(tmp_path / "log.jsonl")
        result = guard.score(asked(), ANSWER)

        (entry,) = read_log(tmp_path / "log.jsonl")
        again = guard.judge.assess_stored(entry, relocate=False)
        assert again.support == result.support
        assert isinstance(again.score, Score) and again.score.value == result.score


@pytest.mark.parametrize(
    ("gain", "times"), [(-0.5621, "0.57"), (0.0, "1"), (5.6, "270"), (99.0, "485,165,195")]
)
def test_how_much_likelier_is_said_in_plain_digits(gain: float, times: str) -> None:
    from energy_guard.report.terminal import support_lines

    lines = support_lines({"support": {"gain": gain, "elsewhere": []}})
    assert lines == [
        f"support by the passages: each token of the answer is {times} times as likely"
    ]
    unmeasured = support_lines({"support": {"gain": None, "elsewhere": ["1987"]}})
    assert unmeasured == ["support by the passages: not measured", "in no passage: 1987"]
    assert support_lines({"support": None}) == []


@pytest.mark.parametrize(
    ("text", "elsewhere"),
    [
        ("Jonas Reed", ()),
        ("It was built in 1822.", ()),
        ("It was built in 1,822.", ()),
        ("It was built in 1823.", ("1823",)),
        ("Reed came from Dunmore.", ()),
        ("Clockmakers built it.", ()),
        ("Somebody from Leeds did, in Harrowgate.", ("Leeds",)),
        ("The Bell Street mill was built by Reed and Reed's son Thomas.", ("Thomas",)),
        ("", ()),
    ],
)
def test_numbers_and_names_that_stand_elsewhere(text: str, elsewhere: tuple[str, ...]) -> None:
    assert numbers_and_names_elsewhere(text, Asked(QUESTION, passages=(PASSAGE,))) == elsewhere


@given(st.text(max_size=60))
def test_what_a_passage_says_never_stands_elsewhere(text: str) -> None:
    assert numbers_and_names_elsewhere(text, Asked("Why?", passages=(text,))) == ()


def test_no_support_is_said_of_what_was_not_asked(demo: LlamaCpp) -> None:
    trace = Trace.from_steps([])
    assert support_of(trace, Span((0,), "x"), Asked()) is None


def test_an_engine_that_is_closed_meanwhile_ends_in_an_error_and_not_the_process(
    tiny_path: Path,
) -> None:
    backend = load(str(tiny_path), n_ctx=256, n_threads=1, n_threads_batch=1)
    assert isinstance(backend, LlamaCpp)
    with backend.session() as session:
        with session.as_found():
            backend.engine.close()
        with pytest.raises(EngineError, match="closed"):
            session.rewind([1, 2, 3])


def test_a_failure_inside_leaves_the_next_answer_as_it_would_have_been(demo: LlamaCpp) -> None:
    guard = Guard(demo, profile=None)
    first = guard.ask(asked()).trace
    with demo.session() as session, pytest.raises(RuntimeError), session.as_found():
        list(session.replay([(Request.chat("Hello there!"), "Hi.")], fast=True))
        raise RuntimeError

    again = guard.ask(asked()).trace
    assert again.ids.tolist() == first.ids.tolist()
    assert again.nll.tolist() == first.nll.tolist()
