"""From graded answers to a profile, on answers whose risk is known."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graded import INFO, answered, many

from energy_guard import Guard, Policy, Profile
from energy_guard.backends import Scripted
from energy_guard.calibrate import learn
from energy_guard.calibrate.learn import in_splits, learn_from_quiz, scored
from energy_guard.calibrate.make_profile import Wish, make_profile
from energy_guard.calibrate.make_profile_with_retries import asking_profile
from energy_guard.calibrate.split import split_of
from energy_guard.decide import Attempt
from energy_guard.energy import Row
from energy_guard.errors import ConfigError, InputError, MismatchError
from energy_guard.fitted import FittedDetector
from energy_guard.locate import Asked, Located, NothingToCheck, NotLocated, Span
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.policy import DEFAULT_DETECTOR, UNCALIBRATED
from energy_guard.profile.other_models import OwnTerms, other_models
from energy_guard.profile.store import find, store, user_path
from energy_guard.questions.answered import Answered
from energy_guard.questions.unsure import sure
from energy_guard.request import Message, Request
from energy_guard.score import Detector, Score, Unscored
from energy_guard.support_features import BY_READING, CONFIRMED, SUPPORT, WITH, WITHOUT
from energy_guard.trace import Step, Trace


def test_a_profile_knows_what_it_was_made_from() -> None:
    answers = many(600)
    made = make_profile(answers, INFO, locator="automatic", system_prompt="Be brief.")
    profile = made.profile
    assert (profile.model, profile.backend, profile.locator) == ("00ff", "scripted", "automatic")
    assert profile.detector.startswith("fitted:") and profile.fitted is not None
    assert profile.training is not None
    parts = profile.training.fit, profile.training.calibrate, profile.training.certify
    assert sum(parts) == 600 and sum(profile.training.tasks.values()) == 600
    assert profile.calibration.n <= profile.training.calibrate
    assert profile.system_prompt == "Be brief."
    assert made.auroc.value > 0.7  # type: ignore[union-attr]
    again = make_profile(answers, INFO, locator="automatic", system_prompt="Be brief.")
    assert again.profile == profile, "the same answers give the same profile"


@pytest.mark.parametrize("wish", [Wish(), Wish(max_risk=0.3)])
@pytest.mark.parametrize("detector", [None, "entropy:mean"])
def test_every_answer_is_scored_once(
    wish: Wish, detector: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[int] = Counter()
    kind = Detector if detector else FittedDetector
    score = kind.score

    def counting(
        self: Any, trace: Trace, located: Located, asked: Asked = NOTHING_ASKED
    ) -> Score | Unscored:
        if self.name != DEFAULT_DETECTOR:  # the baseline that rankings are compared with
            counted[id(trace)] += 1
        return score(self, trace, located, asked)

    monkeypatch.setattr(kind, "score", counting)
    answers = many(600)
    make_profile(answers, INFO, locator="automatic", detector=detector, wish=wish)
    assert counted == Counter(id(a.trace) for a in answers)


@pytest.mark.parametrize(
    "task",
    [
        lambda number, _: f"t{number}",
        lambda number, _: f"t{number // 3}",
        lambda _, wrong: str(wrong),
        lambda number, wrong: "both" if number < 4 else str(wrong),
        lambda number, wrong: "wrong" if wrong or number < 4 else "right",
    ],
    ids=["one each", "three each", "by outcome", "hardly one with both", "hardly any right"],
)
def test_whatever_the_tasks_are_called_there_is_something_to_learn(task: Any) -> None:
    answers = [replace(a, task=task(int(a.id), a.wrong)) for a in many(600)]
    made = make_profile(answers, INFO, locator="automatic")
    assert made.auroc.value > 0.7  # type: ignore[union-attr]
    assert made.profile.fitted is not None
    assert "other tasks" in made.profile.fitted.training.tasks


def test_probabilities_are_near_the_truth() -> None:
    profile = make_profile(many(3000), INFO, locator="automatic", detector="nll:max").profile
    for nll in (0.1, 0.5, 1.0, 1.5):
        p = profile.calibration.p_wrong(nll, 3)
        assert p == pytest.approx(1 - np.exp(-nll), abs=0.12)


def test_what_was_fitted_on_is_not_what_is_certified_on() -> None:
    """Labels of the certifying rows change the certificate, and nothing else."""
    answers = many(900)
    wish = Wish(max_risk=0.3)
    made = make_profile(answers, INFO, locator="automatic", wish=wish)
    flipped = [
        a if split_of(a.question) != "certify" else answered(int(a.id), not a.wrong, 0.5)
        for a in answers
    ]
    other = make_profile(flipped, INFO, locator="automatic", wish=wish)
    assert other.profile.fitted == made.profile.fitted
    assert other.profile.calibration == made.profile.calibration
    assert other.certificate != made.certificate


def test_a_promise_sets_the_limit() -> None:
    made = make_profile(many(3000), INFO, locator="automatic", wish=Wish(max_risk=0.3))
    assert made.certificate is not None and made.certificate.threshold is not None
    policy = made.profile.policy()
    assert policy.abstain == made.certificate.threshold
    assert made.profile.promise(policy) == made.certificate


def test_where_nothing_can_be_promised_nothing_is_shown() -> None:
    made = make_profile(many(300), INFO, locator="automatic", wish=Wish(max_risk=0.001))
    assert made.certificate is not None and made.certificate.threshold is None
    assert made.profile.abstain == 0.0
    assert "cannot be promised" in made.certificate.reason


def test_another_look_is_counted() -> None:
    answers = many(1500)
    first = make_profile(answers, INFO, locator="automatic", wish=Wish(max_risk=0.3))
    second = make_profile(
        answers,
        INFO,
        locator="automatic",
        wish=Wish(max_risk=0.25),
        earlier=first.profile.certificates,
    )
    assert second.certificate is not None and second.certificate.look == 2
    assert len(second.profile.certificates) == 2
    same = make_profile(
        answers,
        INFO,
        locator="automatic",
        wish=Wish(max_risk=0.3),
        earlier=first.profile.certificates,
    )
    assert len(same.profile.certificates) == 1, "the same look again is none"


def test_unsure_answers_are_counted_and_nothing_is_learnt_from_them() -> None:
    answers = many(600)
    unsure = [answered(i, False, 9.0, "unsure") for i in range(600, 700)]
    with_them = make_profile([*answers, *unsure], INFO, locator="automatic")
    without = make_profile(answers, INFO, locator="automatic")
    assert with_them.outcomes["unsure"] == 100
    assert with_them.profile == without.profile


def test_a_target_is_the_limit() -> None:
    profile = make_profile(many(600), INFO, locator="automatic", wish=Wish(target=0.75)).profile
    assert (profile.warn, profile.abstain) == (0.25, 0.25)


@pytest.mark.parametrize("wrong", [True, False])
def test_one_class_only(wrong: bool) -> None:
    answers = [answered(i, wrong, 0.5) for i in range(200)]
    with pytest.raises(InputError, match="too few") as caught:
        make_profile(answers, INFO, locator="automatic")
    assert f"{'easier' if wrong else 'harder'} ones (20 more" in caught.value.hint
    assert "--resume" in caught.value.hint


def test_what_the_model_declined_is_neither_right_nor_wrong() -> None:
    answers = many(600) + [answered(i, False, 9.0, "refused") for i in range(600, 700)]
    profile = make_profile(answers, INFO, locator="automatic", detector="nll:max").profile
    assert profile.training is not None and profile.training.declined == 100
    assert profile.calibration.highest < 9.0


def test_what_was_not_located_is_not_fitted_on() -> None:
    answers = many(600)
    lost = Attempt(answers[0].trace, NotLocated("nothing there"), Unscored("stored"))
    answers += [
        Answered(f"x{i}", "t", f"lost {i}?", None, (), True, "wrong", (lost,)) for i in range(50)
    ]
    profile = make_profile(answers, INFO, locator="automatic").profile
    assert profile.training is not None and profile.training.not_located == 50


def lost(answered: Answered) -> Answered:
    """The same answer, with nothing located in it."""
    [attempt] = answered.attempts
    return replace(answered, attempts=(replace(attempt, located=NotLocated("as if")),))


def test_what_was_not_located_has_a_curve_of_its_own_if_there_is_enough_of_it() -> None:
    def made(n_lost: int) -> Profile:
        answers = [lost(a) if int(a.id) < n_lost else a for a in many(600)]
        return make_profile(answers, INFO, locator="automatic", detector="nll:max").profile

    some, few = made(300), made(30)
    assert some.judged == few.judged == "every claim"
    assert few.whole_answer is None
    assert some.whole_answer is not None
    learnt = [a for a in many(600) if split_of(a.question, None) != "fit"]
    assert some.whole_answer.n == sum(int(a.id) < 300 for a in learnt)
    assert some.calibration.n == sum(int(a.id) >= 300 for a in learnt)
    [whole] = lost(answered(0, wrong=False, nll=0.5)).scored_by(some.scorer).attempts
    assert isinstance(whole.score, Score)
    assert some.p_wrong(whole.score) == some.whole_answer.p_wrong(whole.score.value)
    assert few.p_wrong(whole.score) is None


def test_a_question_counts_once_however_it_is_written() -> None:
    """Copies in capitals, or with blanks, are no further evidence."""
    answers = many(600)
    loud = [replace(a, id=f"u{a.id}", question=a.question.upper()) for a in answers]
    blank = [replace(a, id=f"b{a.id}", question=f"  {a.question}") for a in answers]
    wish = Wish(max_risk=0.3)
    once = make_profile(answers, INFO, locator="automatic", detector="nll:max", wish=wish)
    thrice = make_profile(
        [*answers, *loud, *blank], INFO, locator="automatic", detector="nll:max", wish=wish
    )
    assert thrice.certificate == once.certificate


def test_a_promise_of_before_is_not_one_of_the_new_profile() -> None:
    answers = many(900)
    wish = Wish(max_risk=0.3)
    first = make_profile(answers, INFO, locator="whole", detector="nll:max", wish=wish).profile
    assert first.promise(first.policy()) is not None
    turned = [replace(a, outcome="right" if a.wrong else "wrong") for a in answers]
    later = make_profile(
        turned, INFO, locator="automatic", detector="nll:max", earlier=first.certificates
    ).profile
    assert later.certificates == first.certificates, "the looks stay"
    assert later.promise(first.policy()) is None


def test_p_wrong_is_for_answers_like_those_that_were_seen() -> None:
    """Every feature of a fitted detector has a range, and a row of another kind is out of it."""
    answers = many(600)
    profile = make_profile(answers, INFO, locator="whole").profile
    inside = [
        profile.p_wrong(score)
        for _, score in scored([a.scored_by(profile.scorer) for a in answers])
    ]
    assert None not in inside
    trace = answers[0].trace
    rows = [Row(*numbers) for numbers in zip(*_rows_of(trace), strict=True)]
    steps = [
        Step(i, piece, logit - 100, row)
        for i, piece, logit, row in zip(
            trace.ids.tolist(), trace.pieces, trace.token_logit.tolist(), rows, strict=False
        )
    ]
    shifted = profile.scorer.score(
        Trace.from_steps(steps, rows[-1]), Span((0, 1, 2), "abc"), answers[0].asked
    )
    assert isinstance(shifted, Score)
    assert profile.p_wrong(shifted) is None
    assert profile.why_not(shifted) == "the answer is unlike any that the profile was made from"


def _rows_of(trace: Trace) -> list[list[float]]:
    rows = (trace.log_partition, trace.row_mean, trace.entropy, trace.margin)
    return [[*row.tolist(), 0.0][: len(trace) + 1] for row in rows]


def test_an_answer_with_nothing_to_check_is_shown_and_so_it_counts() -> None:
    answers = many(900)
    certifying = [a for a in answers if split_of(a.question) == "certify"]
    nothing = Attempt(answers[0].trace, NothingToCheck("small talk"), Unscored("stored"))
    chatted = {a.id: replace(a, attempts=(nothing,), outcome="wrong") for a in certifying[:20]}
    chatted |= {a.id: replace(a, attempts=(nothing,), outcome="refused") for a in certifying[20:25]}
    rows = [chatted.get(a.id, a) for a in answers]
    made = make_profile(
        rows, INFO, locator="automatic", detector="nll:max", wish=Wish(max_risk=0.3)
    )
    assert made.certificate is not None
    for tested in made.certificate.tested:
        risks = [(a, made.profile.calibration.p_wrong(nll_of(a))) for a in certifying[25:]]
        below = [a for a, p in risks if p is not None and p < tested.threshold]
        assert tested.answered == 20 + len(below)
        assert tested.wrong == 20 + sum(a.wrong for a in below)


def nll_of(a: Answered) -> float:
    return float(a.trace.nll.max())


@pytest.mark.parametrize(
    "options", [{"max_risk": 0}, {"max_risk": 1.5}, {"confidence": 1}, {"target": -1}]
)
def test_wishes_that_cannot_be(options: Any) -> None:
    with pytest.raises(InputError):
        Wish(**options)
    with pytest.raises(InputError):
        Wish(max_risk=0.1, target=0.5)


@pytest.fixture
def own_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


def test_a_stored_profile_is_found_by_its_model(own_profiles: Path) -> None:
    backend = Scripted.saying([("yes", 0.9)])
    made = make_profile(many(600), backend.info, locator="whole")
    assert find(backend.info) is None
    store(made.profile, user_path(backend.info))
    assert find(backend.info) == made.profile
    assert find(INFO) is None
    guard = Guard(backend)
    assert guard.judge.profile == made.profile
    assert guard.policy.on == "p_wrong"
    assert Guard(backend, profile=None).judge.profile is None
    assert Guard(backend, detector="nll:max").judge.profile is None
    own = Policy(detector="nll:max", warn=1.0)
    assert Guard(backend, own).judge.profile is None


def test_a_profile_that_was_found_is_left_out_where_it_does_not_fit(own_profiles: Path) -> None:
    backend = Scripted.saying(*[[("yes", 0.9)]] * 4)
    made = make_profile(many(600), backend.info, locator="whole", system_prompt="Be brief.")
    store(made.profile, user_path(backend.info))
    guard = Guard(backend)
    asked = guard.ask("Really?")
    assert asked.detector == made.profile.detector
    assert "system prompt" in asked.notes[0]
    assert guard.ask([Message("system", "Be brief."), Message("user", "Really?")]).notes == ()
    raw = guard.ask(Request.raw("Really?"))
    assert (raw.detector, raw.p_wrong) == (DEFAULT_DETECTOR, None)
    assert "mode 'chat'" in raw.notes[0] and "not used" in raw.notes[0]
    assert raw.to_dict()["notes"] == [*raw.notes, UNCALIBRATED]
    assert guard.score("Really?", "yes", fast=True).notes != ()
    for settings in ({"profile": made.profile}, {"policy": made.profile.policy()}):
        with pytest.raises(MismatchError, match="mode"):
            Guard(backend, **settings).ask(Request.raw("Really?"))


def test_what_is_promised_stands_in_every_result(own_profiles: Path) -> None:
    backend = Scripted.saying(*[[("yes", 0.9)]] * 2)
    made = make_profile(many(2000), backend.info, locator="whole", wish=Wish(max_risk=0.4))
    assert made.certificate is not None and made.certificate.threshold is not None
    result = Guard(backend, profile=made.profile).ask("Really?")
    assert result.promise == made.certificate
    assert result.to_dict()["promise"] == {"max_risk": 0.4, "confidence": 0.95}
    laxer = made.profile.policy().model_copy(update={"abstain": 0.999, "warn": 0.999})
    assert Guard(backend, laxer, profile=made.profile).ask("Really?").promise is None


def test_a_profile_for_retries_does_not_judge_an_answer_that_is_there(own_profiles: Path) -> None:
    backend = Scripted.saying([("yes", 0.9)], [("yes", 0.9)])
    made = make_profile(many(600), backend.info, locator="whole", detector="nll:max").profile
    again = made.model_copy(update={"retries": 1})
    store(again, user_path(backend.info))
    assert Guard(backend).policy.retries == 1
    result = Guard(backend).score("Is it?", "yes")
    assert result.p_wrong is None
    assert "retries 1, and this is 0: it is not used" in result.notes[0]
    with pytest.raises(MismatchError, match="retries"):
        Guard(backend, profile=again).score("Is it?", "yes")


def test_options_of_the_engine_are_recorded() -> None:
    info = replace(INFO, engine={"flash_attn": True})
    assert make_profile(many(600), info, locator="automatic").profile.engine == {"flash_attn": True}
    assert make_profile(many(600), INFO, locator="automatic").profile.engine is None
    asking = asking_profile(many(600), info, locator="automatic", policy=Policy(retries=1))
    assert asking.engine == {"flash_attn": True}


def test_a_profile_is_readable_json(own_profiles: Path) -> None:
    path = own_profiles / "p.json"
    made = make_profile(many(600), INFO, locator="automatic", wish=Wish(max_risk=0.3))
    store(made.profile, path)
    assert Profile.read(path) == made.profile
    assert json.loads(path.read_text())["detector"] == made.profile.detector
    assert list(own_profiles.iterdir()) == [path]


def test_a_broken_profile_of_ones_own_is_named(own_profiles: Path) -> None:
    backend = Scripted.saying([("yes", 0.9)])
    path = user_path(backend.info)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(ConfigError, match=path.name):
        Guard(backend)


@pytest.mark.parametrize("promised", [False, True])
def test_the_quiz_gives_the_level_of_a_model_and_elsewhere_is_harder(promised: bool) -> None:
    unscored = in_splits(sure(many(600)))
    learnt = learn_from_quiz(unscored, promised=promised)
    at_home = learnt.calibration.shifted(-learnt.harder)
    p = [at_home.p_wrong(score.value) for _, score in learnt.calibrating]
    wrong = [answered.wrong for answered, _ in learnt.calibrating]
    known = [value for value in p if value is not None]
    assert len(known) > 0.9 * len(p)
    assert sum(known) / len(known) == pytest.approx(sum(wrong) / len(wrong), abs=0.03)
    assert learnt.harder == other_models().elsewhere > 0
    assert learnt.scorer == other_models().fitted
    left = 0 if not promised else len(unscored["certify"])
    assert len(learnt.calibrating) + left <= sum(map(len, unscored.values()))


def test_what_is_known_of_a_model_from_its_own_answers_elsewhere_is_taken() -> None:
    known = other_models()
    assert len(known.own) == 6  # four models, two of them on both engines
    passage = "The mill on Bell Street was built in 1822 by Jonas Reed."
    plain = replace(answered(999, True, 0.3), context=passage)
    trace = replace(plain.trace, extras={CONFIRMED: np.full(3, 1.0)})
    asked = replace(plain, attempts=(replace(plain.attempts[0], trace=trace),))
    asking = 0
    for model, own in known.own.items():
        for about, is_told in ((asked, True), (plain, not own.terms)):
            unscored = in_splits([*many(400), about])
            learnt = learn_from_quiz(unscored, promised=False, model=model)
            assert isinstance(learnt.scorer, FittedDetector)
            assert learnt.harder == (own.elsewhere if is_told else known.elsewhere)
            assert learnt.flatter == (own.slope if is_told else 1)
            terms = own.terms if is_told else ()
            assert learnt.scorer.terms == (*known.fitted.terms, *terms)
            assert learnt.scorer.needs_support == {term.feature for term in terms}
        asking += bool(own.terms)
    assert asking == 1  # the largest one alone


def test_where_to_be_sure_means_less_a_curve_is_flatter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the kinds of the quiz P(wrong) is told as it is there, and a file says what was done."""
    answers = many(600)
    own = {INFO.fingerprint: OwnTerms(elsewhere=0.5, slope=0.8)}
    plain = other_models().model_copy(update={"own": {INFO.fingerprint: OwnTerms(elsewhere=0.0)}})
    monkeypatch.setattr(learn, "other_models", lambda: plain)
    at_home = make_profile(answers, INFO, locator="automatic", quiz=True)
    flat = plain.model_copy(update={"own": own})
    monkeypatch.setattr(learn, "other_models", lambda: flat)
    made = make_profile(answers, INFO, locator="automatic", quiz=True)
    before, after = at_home.profile.calibration, made.profile.calibration
    assert before.slope is not None and before.intercept is not None
    assert after.slope == pytest.approx(0.8 * before.slope)
    assert after.intercept == pytest.approx(0.8 * before.intercept + 0.5)
    for there, here in zip(made.kinds, at_home.kinds, strict=True):
        assert there.mean_p == pytest.approx(here.mean_p)
    told = made.profile.model_dump()
    assert (told["elsewhere"], told["elsewhere_slope"]) == (0.5, 0.8)
    assert "elsewhere_slope" not in at_home.profile.model_dump()


def test_a_profile_from_the_quiz_is_at_the_level_of_other_peoples_questions() -> None:
    """The kinds of the quiz are compared at its own level, and not at that."""
    answers = many(600)
    made = make_profile(answers, INFO, locator="automatic", quiz=True)
    assert made.profile.fitted == other_models().fitted
    assert made.profile.training is not None
    assert made.profile.training.fit == 0
    single = make_profile(answers, INFO, locator="automatic", detector="nll:max", quiz=True)
    assert single.profile.detector == "nll:max"
    scores = [score for _, score in scored([a.scored_by(made.profile.scorer) for a in answers])]
    p = [p for score in scores if (p := made.profile.p_wrong(score)) is not None]
    wrong = [answered.wrong for answered in answers]
    assert sum(p) / len(p) > sum(wrong) / len(wrong) + 0.03
    means = [figures.mean_p for figures in made.kinds if figures.mean_p is not None]
    assert np.mean(means) < sum(p) / len(p)


def over_passages(n: int) -> list[Answered]:
    """Answers as sure as each other, of which those that gain less by their passage are wrong."""
    rng, passage = np.random.default_rng(1), "The mill was built in 1822 by Jonas Reed."
    found = []
    for number in range(n):
        plain = answered(number, bool(rng.random() < 0.5), 0.4)
        gain = rng.normal(0.5 if plain.wrong else 2.5, 1.0, 3)
        extras = {WITH: np.full(3, 0.4), WITHOUT: np.maximum(0.4 + gain, 0.0)}
        trace = replace(plain.trace, extras=extras)
        attempt = replace(plain.attempts[0], trace=trace)
        found.append(replace(plain, context=passage, attempts=(attempt,)))
    return found


def test_a_profile_may_go_by_the_support_of_passages() -> None:
    answers = over_passages(500)
    blind = make_profile(answers, INFO, locator="automatic")
    made = make_profile(answers, INFO, locator="automatic", support=True)
    assert made.profile.fitted is not None
    weights = {term.feature: term.weight for term in made.profile.fitted.terms}
    assert set(BY_READING) == set(SUPPORT) & weights.keys()  # nobody was asked back
    assert made.auroc.value > 0.85 > blind.auroc.value  # type: ignore[union-attr]
    assert made.profile.scorer.needs_support and not blind.profile.scorer.needs_support


def test_without_passages_support_changes_nothing() -> None:
    answers = many(600)
    plain = make_profile(answers, INFO, locator="automatic")
    made = make_profile(answers, INFO, locator="automatic", support=True)
    assert made.auroc.value == pytest.approx(plain.auroc.value, abs=0.02)  # type: ignore[union-attr]
