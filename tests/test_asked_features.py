"""Features of what was asked: the kind of question, its passages, whose words an answer repeats."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from energy_guard import Guard, Request
from energy_guard.asked_features import ASKED, to_be_asked
from energy_guard.backends import Scripted
from energy_guard.energy import Row
from energy_guard.features import features
from energy_guard.fitted import DetectorTraining, FittedDetector, Term
from energy_guard.locate import Asked, Span
from energy_guard.locate.sentences import sentence_ranges
from energy_guard.log import TraceLog, read_log
from energy_guard.profile import Calibration, Profile
from energy_guard.score import Score, Unscored
from energy_guard.trace import Step, Trace

KINDS = ("who", "when", "where", "number", "which", "open", "yes_or_no", "choice", "sum")
PASSAGE = "The mill on Bell Street was built in 1822 by Jonas Reed. He sold it to a baker in 1832."
ROW = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)
TRACE = Trace.from_steps([Step(0, b"Jonas Reed", 1.5, ROW)], ROW)


def of(asked: Asked, text: str = "Jonas Reed") -> dict[str, float]:
    values = features(TRACE, Span((0,), text), ASKED, asked)
    return dict(zip(ASKED, values.tolist(), strict=True))


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (f"Context: {PASSAGE} Question: Who built it?", True),
        (f"Answer by the context. Context: {PASSAGE} Who built it?", True),
        (f"### Context:\n{PASSAGE}\n\nWho built it?", True),
        (f"[1] {PASSAGE}\n\nWho built it?", True),
        (f"{PASSAGE} Who built it?", False),
        ("Who built it?", False),
    ],
)
def test_a_passage_is_one_to_be_asked_about_if_it_is_called_so(question: str, told: bool) -> None:
    assert to_be_asked(Asked(question)) is told
    assert not to_be_asked(Asked(question, ("Jonas Reed", "a baker")))
    assert to_be_asked(Asked("Who built it?", passages=(PASSAGE,)))


@pytest.mark.parametrize(
    ("asked", "about_text"),
    [
        (Asked("Which bird cannot fly? Choose one: emu, owl.", ("emu", "owl")), False),
        (Asked('Is "Emma" a novel or a play?', ("novel", "play")), False),
        (Asked('Is "I was bored to tears" praise or blame?', ("praise", "blame")), True),
        (Asked("Is “Pride and Prejudice” a novel or a play?", ("novel", "play")), False),
        (Asked('Is "The Old Man and the Sea" a novel or a play?', ("novel", "play")), False),
        (Asked('Is "so good" praise or blame?', ("praise", "blame")), False),
        (Asked('Is "GREAT PRODUCT, WORKS FINE" praise or blame?', ("praise", "blame")), True),
        (Asked("Is “Loved it. Great!” praise or blame?", ("praise", "blame")), True),
        (Asked("“这部电影非常好看,我还想再看一遍”是褒是贬?", ("褒", "贬")), True),
        (Asked("Ann beat Eve as she is fast. Who is fast?", ("Ann", "Eve")), True),
        (Asked("Is it praise or blame?", ("praise", "blame"), passages=("Never again.",)), True),
        (Asked("Ann beat Eve as she is fast. Who is fast?"), False),
        (Asked("Who built it?", passages=(PASSAGE,)), False),
    ],
)
def test_a_choice_about_a_text_is_one_if_the_text_is_given(asked: Asked, about_text: bool) -> None:
    assert of(asked)["asked.choice_about_text"] == float(about_text)


@pytest.mark.parametrize(
    ("question", "answer", "claims", "agrees"),
    [
        ("Lyon is the capital of France, right?", "Yes", True, True),
        ("Lyon is the capital of France, right?", "No", True, False),
        ("Lyon is the capital of France, right?", "is the capital of France", True, True),
        ("Lyon is the capital of France, right?", "Paris", True, False),
        ("Lyon is the capital of France, right?", "not the capital", True, False),
        ("I can sing. Don't you agree?", "Of course, you have a great voice.", True, True),
        ("Lyon is the capital of France, right?", "Certainly not", True, False),
        ("Lyon is the capital of France, right?", "That's correct", True, True),
        ("Lyon is the capital of France, right?", "I agree", True, True),
        ("Bats are not blind, right?", "are blind", True, False),
        ("Bats are not blind, right?", "are not blind", True, True),
        ("Is Lyon the capital of France?", "Yes", False, False),
        ("Who built the mill?", "Jonas Reed", False, False),
    ],
)
def test_who_claims_something_may_be_agreed_with(
    question: str, answer: str, claims: bool, agrees: bool
) -> None:
    values = of(Asked(question), answer)
    assert (values["asked.claims"], values["span.agrees"]) == (claims, agrees)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (Asked("Who built the mill?"), "who"),
        (Asked("When was it built?"), "when"),
        (Asked("Where is the mill?"), "where"),
        (Asked("How many mills are there?"), "number"),
        (Asked("Which saint is it named after?"), "which"),
        (Asked("Why was it sold?"), "open"),
        (Asked("Was it sold?"), "yes_or_no"),
        (Asked("Who built it?", choices=("Reed", "Hill")), "choice"),
        (Asked("Tom has 3 apples and buys 4. How many apples has he?"), "sum"),
        (Asked("What is 17 + 26?"), "sum"),
        (Asked("What animal ate it?"), None),
        (Asked("What happened between 1914 and 1918?"), "open"),
    ],
)
def test_a_question_has_one_kind_or_none(asked: Asked, kind: str | None) -> None:
    found = [name for name in KINDS if of(asked)[f"asked.{name}"]]
    assert found == ([kind] if kind else [])


def test_of_an_answer_to_nothing_that_is_known_no_feature_is() -> None:
    assert all(math.isnan(value) for value in of(Asked()).values())


def test_a_passage_is_one_beside_the_question_or_before_it_in_the_prompt() -> None:
    question = "Who built the mill?"
    beside = of(Asked(question, passages=(PASSAGE,)))
    inside = of(Asked(f"{PASSAGE}\n\n{question}"))
    assert beside == inside
    assert beside["asked.passages"] == 1
    assert of(Asked(question))["asked.passages"] == 0


def test_worked_examples_before_a_question_are_no_passage() -> None:
    shots = "Answer with few words.\n\nQuestion: What is the capital of Norway, a kingdom in the "
    shots += "north of Europe?\nAnswer: Oslo\n\n"
    assert of(Asked(f"{shots}Question: Who built the mill?\nAnswer:"))["asked.passages"] == 0
    with_one = Asked(f"{shots}[1] {PASSAGE}\n\nQuestion: Who built the mill?\nAnswer:")
    assert of(with_one)["asked.passages"] == 1
    assert of(with_one)["asked.passage_words"] == pytest.approx(math.log1p(9), abs=0.3)


def test_numbers_in_worked_examples_make_no_sum_of_a_question() -> None:
    shots = "Q: When did the first war end?\nA: 1918\n\nQ: When did the second end?\nA: 1945\n\n"
    assert of(Asked(f"{shots}Q: What is the capital of France?\nA:"))["asked.sum"] == 0
    assert of(Asked(f"{shots}Q: What is 12 + 30?\nA:"))["asked.sum"] == 1


def test_passages_are_read_once_however_many_parts_of_an_answer_are_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    def counted(text: str) -> list[tuple[int, int]]:
        read.append(text)
        return sentence_ranges(text)

    monkeypatch.setattr("energy_guard.asked_features.sentence_ranges", counted)
    passage = f"{PASSAGE} Nobody else has read this one."
    asked = Asked("Who built the mill on Bell Street first?", passages=(passage,))
    for text in ("Jonas Reed", "a baker", "Emma Stone"):
        of(asked, text)
    assert read == [passage]


def test_shares_say_whose_words_an_answer_repeats() -> None:
    asked = Asked("Who built the mill?", passages=(PASSAGE,))
    assert of(asked)["span.in_passages"] == of(asked)["span.in_sentence"] == 1
    assert of(asked, "a baker")["span.in_passages"] == 1
    assert of(asked, "a baker")["span.in_sentence"] == 0
    assert of(asked, "Emma Stone")["span.in_passages"] == 0
    assert of(asked, "the mill")["span.in_question"] == 1
    assert of(asked)["asked.in_sentence"] == 1
    far = Asked("Who burnt the ferry?", passages=(PASSAGE,))
    assert of(far)["asked.in_passages"] == 0


def detector() -> FittedDetector:
    """One that goes by the passages alone."""
    terms = [
        Term(feature="span.nll:max", centre=0, scale=1, weight=0),
        Term(feature="asked.passages", centre=0, scale=1, weight=-2),
    ]
    training = DetectorTraining(tasks=("t",), n=9, n_wrong=4)
    return FittedDetector(terms=tuple(terms), intercept=1, training=training)


def test_a_detector_of_such_features_gives_no_score_if_nobody_says_what_was_asked() -> None:
    span = Span((0,), "Jonas Reed")
    asked = Asked("Who built the mill?", passages=(PASSAGE,))
    scored = detector().score(TRACE, span, asked)
    assert isinstance(scored, Score)
    assert scored.value == pytest.approx(-1)
    unscored = detector().score(TRACE, span)
    assert isinstance(unscored, Unscored)
    assert "what was asked" in unscored.reason


def test_the_guard_tells_its_detector_what_was_asked_and_a_log_keeps_it(tmp_path: Path) -> None:
    backend = Scripted.saying(*[[("Jonas", 0.9), (" Reed", 0.9)]] * 2)
    calibration = Calibration(slope=1, intercept=0, n=98, n_wrong=50, lowest=-3, highest=3)
    profile = Profile(
        model=backend.info.fingerprint,
        backend=backend.info.backend,
        mode="chat",
        detector=detector().name,
        fitted=detector(),
        locator="automatic",
        calibration=calibration,
        judged="every claim",
    )
    path = tmp_path / "log.jsonl"
    guard = Guard(backend, profile=profile, log=TraceLog(path))
    result = guard.ask(Request.chat("Who built the mill?", context=[PASSAGE]))
    assert result.p_wrong == pytest.approx(1 / (1 + np.exp(1)))
    alone = guard.ask(Request.chat("Who built the mill?"))
    assert alone.p_wrong == pytest.approx(1 / (1 + np.exp(-1)))
    entries = list(read_log(path))
    again = [guard.judge.assess_stored(entry, relocate=False).p_wrong for entry in entries]
    assert again == [result.p_wrong, alone.p_wrong]
    older = entries[0].model_copy(update={"context": None})
    assert isinstance(guard.judge.assess_stored(older, relocate=False).score, Unscored)
