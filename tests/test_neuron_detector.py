"""A probe on neurons as a guard's detector, alone and in a fitted one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neuron_probes import probe_of
from sklearn.metrics import roc_auc_score
from tiny_models import byte_tokenizer, tiny_model
from typer.testing import CliRunner

from energy_guard import Guard, Policy, Profile, load
from energy_guard.backends import Backend, Scripted
from energy_guard.backends.base import ModelInfo
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.transformers import Transformers
from energy_guard.calibrate.make_profile import make_profile
from energy_guard.cli.app import app
from energy_guard.cli.chosen_detector import chosen_detector, chosen_probe
from energy_guard.decide import Attempt
from energy_guard.energy import Row
from energy_guard.errors import ConfigError, InputError, MismatchError
from energy_guard.evaluate.paired_auroc import USUAL
from energy_guard.evaluate.summary import summarise
from energy_guard.events import AttemptStarted, Done, Text
from energy_guard.judge import Judge
from energy_guard.locate import NotLocated, Span
from energy_guard.log import TraceLog, read_log
from energy_guard.neuron_detector import NeuronDetector, scorer_named
from energy_guard.neurons import AnswerToRead, NeuronProbe, damped, read_contributions
from energy_guard.neurons.llama_cpp import column_norms as norms_module
from energy_guard.neurons.probe import WeighedNeuron
from energy_guard.questions.answered import Answered
from energy_guard.request import Finished, Request
from energy_guard.result import Result
from energy_guard.score import Unscored
from energy_guard.trace import Step, Trace

QUESTION = Request(ids=tuple(b"the cat sat on the mat and then"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms_module, "user_cache_path", lambda *_, **__: tmp_path / "cache")


@pytest.fixture(params=["llama-cpp", "transformers"])
def backend(request: pytest.FixtureRequest, tiny_path: Path) -> Iterator[Backend]:
    if request.param == "transformers":
        yield Transformers(tiny_model(), byte_tokenizer())
        return
    backend = load(tiny_path, n_ctx=512, n_threads=1, type_k=0, type_v=0)
    yield backend
    assert isinstance(backend, LlamaCpp)
    backend.engine.close()


def ended(backend: Backend, request: Request = QUESTION) -> Request:
    """The request with a stop string, such that its answer of some words is complete."""
    event = list(backend.generate([replace(request, max_tokens=40)]))[-1]
    assert isinstance(event, Finished)
    text = event.trace.text
    stop = next(letter for at, letter in enumerate(text) if at > 8 and text.find(letter) == at)
    return replace(request, max_tokens=40, stop=(stop,))


def guard(backend: Backend, **options: Any) -> Guard:
    given: dict[str, Any] = {"detector": probe_of(backend.info), "locator": "whole"}
    return Guard(backend, **(given | options))


def log_odds(backend: Backend, result: Result) -> float:
    """Of the exact answer, by a pass of its own."""
    assert result.span is not None
    answer = AnswerToRead(QUESTION, tuple(result.trace.ids.tolist()), result.span.tokens)
    [found] = read_contributions(backend, [answer])
    return probe_of(backend.info).log_odds(found)


def test_the_score_is_the_log_odds_of_the_exact_answer(backend: Backend) -> None:
    result = guard(backend).ask(ended(backend))
    assert result.detector == probe_of(backend.info).name
    kept = result.kept.score
    assert not isinstance(kept, Unscored)
    exact = kept.exact or kept
    assert exact.value == pytest.approx(log_odds(backend, result), rel=1e-4)


def test_every_way_of_asking_gives_the_same_score(backend: Backend) -> None:
    asking, question = guard(backend), ended(backend)
    result = asking.ask(question)
    *_, done = asking.stream(question)
    assert isinstance(done, Done)
    [many] = asking.ask_many([question])
    waved = list(asking.ask_many([question, question], at_once=2))
    ids = result.trace.ids[: result.trace.content_end].tolist()
    replayed = asking.score(question, ids)
    assert result.score is not None
    for other in (done.result, many, replayed, *waved):
        assert other.score == pytest.approx(result.score, rel=1e-5)


def test_a_sentence_is_not_let_go_before_its_neurons_are_known(backend: Backend) -> None:
    question = ended(backend)

    def texts(policy: Policy) -> list[Text]:
        events = guard(backend, policy=policy).stream(question, release="sentence")
        return [event for event in events if isinstance(event, Text)]

    assert texts(Policy(unscored="show"))
    assert not texts(limits(backend, abstain=-1e6, unscored="show"))


def limits(backend: Backend, **values: Any) -> Policy:
    return Policy(detector=probe_of(backend.info).name, **values)


def test_a_policy_may_have_limits_on_its_score(backend: Backend) -> None:
    question = ended(backend)
    assert guard(backend, policy=limits(backend, abstain=-1e6)).ask(question).verdict == "abstain"
    result = guard(backend, policy=limits(backend, warn=1e5, abstain=1e6)).ask(question)
    assert result.verdict == "accept"
    assert str(result)
    with pytest.raises(MismatchError, match="thresholds are for nll:max"):
        guard(backend, policy=Policy(detector="nll:max", abstain=2.0))


def test_without_limits_every_answer_has_a_warning(backend: Backend) -> None:
    assert guard(backend).ask(ended(backend)).verdict == "warn"


def test_an_answer_that_was_not_located_is_unscored_with_the_reason(backend: Backend) -> None:
    result = guard(backend, locator="regex:(NOWHERE)").ask(ended(backend))
    assert (result.verdict, result.score, result.shown) == ("unscored", None, False)
    assert "no answer found" in result.reason


def test_an_answer_that_was_not_watched_is_unscored_with_the_reason(backend: Backend) -> None:
    question = ended(backend)
    trace = guard(backend, detector="nll:max").ask(question).trace
    judge = Judge.assemble(detector=probe_of(backend.info), locator="whole", profile=None)
    attempt = judge.assess(trace, question)
    assert isinstance(attempt.score, Unscored)
    assert "what neurons contribute was not measured" in attempt.score.reason


def test_a_probe_of_another_model_is_refused(backend: Backend) -> None:
    with pytest.raises(MismatchError, match="made for the model 00ff"):
        guard(backend, detector=probe_of(backend.info, model="00ff"))


def test_a_backend_that_shows_no_neurons_is_refused() -> None:
    other = ModelInfo("tiny", "00ff", backend="llama-cpp")
    with pytest.raises(MismatchError, match="and this is"):
        guard(Scripted.saying(), detector=probe_of(other))


def test_a_probe_is_read_from_its_file(backend: Backend, tmp_path: Path) -> None:
    probe = probe_of(backend.info)
    probe.store(tmp_path / "probe.json")
    text = f"neurons:{tmp_path / 'probe.json'}"
    assert scorer_named(text) == NeuronDetector(probe)
    assert guard(backend, detector=text).detector.name == probe.name
    policy = Policy(detector=text, abstain=0.5)
    assert policy.detector == probe.name
    with pytest.raises(ConfigError, match="cannot read"):
        guard(backend, detector="neurons:nowhere.json")
    with pytest.raises(ConfigError, match="is the name of a probe"):
        guard(backend, detector=None, policy=policy)


def test_a_log_keeps_what_the_score_is_made_of(backend: Backend, tmp_path: Path) -> None:
    log = TraceLog(tmp_path / "log.jsonl")
    result = guard(backend, log=log).ask(ended(backend))
    [entry] = read_log(tmp_path / "log.jsonl")
    judge = Judge.assemble(detector=probe_of(backend.info), locator="whole", profile=None)
    again = judge.assess_stored(entry, relocate=False).score
    assert not isinstance(again, Unscored)
    assert again.value == result.score
    other = probe_of(backend.info, intercept=3.0)
    judge = Judge.assemble(detector=other, locator="whole", profile=None)
    assert isinstance(judge.assess_stored(entry, relocate=False).score, Unscored)


def test_the_command_line_takes_a_probe(tiny_path: Path, tmp_path: Path) -> None:
    backend = load(tiny_path, n_ctx=512, n_threads=1)
    probe = probe_of(backend.info)
    probe.store(tmp_path / "probe.json")
    [stop] = ended(backend, Request.chat("Where did the cat sit?")).stop
    options = ["--model", str(tiny_path), "--n-ctx", "512", "--n-threads", "1", "--json"]
    options += ["--detector", f"neurons:{tmp_path / 'probe.json'}", "--locator", "whole"]
    done = CliRunner().invoke(app, ["ask", "Where did the cat sit?", "--stop", stop, *options])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["detector"], found["verdict"]) == (probe.name, "warn")
    assert isinstance(found["score"], float)


def test_a_sentence_waits_also_if_unscored_answers_are_shown() -> None:
    class Counted(Scripted):
        written = 0

        def _play(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            for event in super()._play(*args, **kwargs):
                self.written += hasattr(event, "step")
                yield event

    said = [(word, 0.9) for word in ("It", " is", " Paris", ".", " It", " lies", " far", ".")]
    policy = Policy(unscored="show")
    judge = Judge.assemble(policy, detector=PROBE, profile=None)
    for unwatched, all_written in ((replace(judge, neurons=None), True), (None, False)):
        backend = Counted.saying(said)
        asking = Guard(backend, policy, detector="nll:max", profile=None)
        asking = asking.with_judge(unwatched) if unwatched else asking
        events = asking.stream("Which city?", release="sentence")
        next(event for event in events if isinstance(event, Text))
        assert (backend.written >= len(said)) == all_written
        events.close()


# Retries


def retrying(backend: Backend, **changes: Any) -> Guard:
    rules: dict[str, Any] = {"retries": 1, "retry": ("damp",), "retry_temperature": 1e-6}
    policy = limits(backend, **(rules | {"abstain": -1e6} | changes))
    return guard(backend, policy=policy)


def test_a_retry_is_written_with_the_h_neurons_switched_off(backend: Backend) -> None:
    question = replace(ended(backend), max_tokens=12, stop=())
    with damped(backend, probe_of(backend.info), 0):
        alone = guard(backend).ask(question)
    result = retrying(backend, unscored="withhold").ask(question)
    first, second = result.attempts
    assert first.trace.text == guard(backend).ask(question).trace.text
    assert second.trace.text == alone.trace.text
    np.testing.assert_allclose(second.trace.token_logit, alone.trace.token_logit, atol=1e-4)
    assert np.abs(second.trace.token_logit - first.trace.token_logit).max() > 0.01
    name = probe_of(backend.info).name
    kept = slice(0, 10)
    np.testing.assert_allclose(
        second.trace.extras[name][kept], alone.trace.extras[name][kept], rtol=1e-4
    )
    assert (second.trace.extras[name][kept] <= -0.5).all(), "only negative weights are left"


def test_after_a_damped_retry_the_model_is_as_it_was(backend: Backend) -> None:
    question = ended(backend)
    asking = retrying(backend)
    twice = list(asking.ask_many([question, question]))
    ids = [[attempt.trace.ids.tolist() for attempt in result.attempts] for result in twice]
    assert ids[0] == ids[1]
    assert ids[0][0] == guard(backend).ask(question).trace.ids.tolist()
    for result in asking.ask_many([question, question], at_once=2):
        assert [attempt.trace.ids.tolist() for attempt in result.attempts] == ids[0]
        name = probe_of(backend.info).name
        assert (result.attempts[1].trace.extras[name][:8] <= -0.5).all(), "it was damped"


def test_a_retry_that_nobody_waits_for_leaves_the_model_as_it_was(backend: Backend) -> None:
    question = ended(backend)
    before = guard(backend).ask(question).trace.token_logit
    events = retrying(backend).stream(question)
    for event in events:
        if isinstance(event, AttemptStarted) and event.attempt == 1:
            break
    next(event for event in events if isinstance(event, Text))
    events.close()
    np.testing.assert_array_equal(guard(backend).ask(question).trace.token_logit, before)


def test_without_a_probe_no_retry_damps(backend: Backend) -> None:
    policy = Policy(detector="nll:max", abstain=1.0, retries=1, retry=("damp",))
    with pytest.raises(ConfigError, match=r"there is no probe[\s\S]*neurons:FILE"):
        guard(backend, detector="nll:max", policy=policy)
    harmless = (WeighedNeuron(layer=0, index=1, weight=-1.0),)
    probe = probe_of(backend.info, neurons=harmless)
    policy = Policy(detector=probe.name, abstain=1.0, retries=1, retry=("damp",))
    with pytest.raises(ConfigError, match="the probe has none"):
        guard(backend, detector=probe, policy=policy)
    guard(backend, detector=probe, policy=policy.model_copy(update={"retries": 0}))


# Profiles

INFO = ModelInfo("tiny", "00ff", backend="llama-cpp")
PROBE = probe_of(INFO)


def answered(number: int, rng: np.random.Generator) -> Answered:
    """As sure as any other; its neurons tell whether it is wrong."""
    wrong = bool(rng.random() < 0.5)
    steps = [
        Step(65 + t, b"abc"[t : t + 1], 19.6, Row(20.0 + rng.normal(0, 0.05), 5.0, 0.5, 2.0))
        for t in range(3)
    ]
    values = rng.normal(1.0 if wrong else -1.0, 1.0, 3)
    trace = PROBE.with_log_odds(Trace.from_steps(steps, Row(20.0, 5.0, 0.1, 1.0)), values)
    attempt = Attempt(trace, Span((0, 1, 2), "abc"), Unscored("stored"))
    outcome: Any = "wrong" if wrong else "right"
    question = f"question {number}?"
    return Answered(str(number), "t", question, None, (), True, outcome, (attempt,))


@pytest.fixture(scope="module")
def answers() -> list[Answered]:
    rng = np.random.default_rng(0)
    return [answered(number, rng) for number in range(400)]


def test_a_profile_of_the_probe_alone(answers: list[Answered], tmp_path: Path) -> None:
    PROBE.store(tmp_path / "probe.json")
    text = f"neurons:{tmp_path / 'probe.json'}"
    made = make_profile(answers, INFO, locator="automatic", detector=text)
    assert made.profile.detector == PROBE.name
    assert made.auroc.value > 0.85 > made.baseline.value  # type: ignore[union-attr]
    again = Profile(**json.loads(made.profile.model_dump_json(by_alias=True)))
    assert again.scorer == NeuronDetector(PROBE)
    assert again.basis == made.profile.basis
    judge = Judge.assemble(profile=again)
    assert judge.neurons == PROBE
    p = {answered.wrong: made.profile.p_wrong(score_of(again, answered)) for answered in answers}
    assert p[True] is not None and p[False] is not None


def score_of(profile: Profile, answered: Answered) -> Any:
    return answered.scored_by(profile.scorer).score


def test_a_profile_of_a_fitted_detector_that_goes_by_neurons_too(answers: list[Answered]) -> None:
    blind = make_profile(answers, INFO, locator="automatic")
    made = make_profile(answers, INFO, locator="automatic", neurons=PROBE)
    assert made.auroc.value > 0.85 > blind.auroc.value  # type: ignore[union-attr]
    again = Profile(**json.loads(made.profile.model_dump_json(by_alias=True)))
    assert again.fitted is not None
    assert PROBE.name in again.fitted.names
    assert Judge.assemble(profile=again).neurons == PROBE
    assert Judge.assemble(profile=blind.profile).neurons is None
    bare = replace(answers[0].trace, extras={})
    unwatched = again.fitted.score(bare, Span((0, 1), "ab"), answers[0].asked)
    assert isinstance(unwatched, Unscored)
    assert "was not measured" in unwatched.reason
    lost = answers[0].attempts[0]
    lost = replace(lost, located=NotLocated("nowhere"))
    rescored = replace(answers[0], attempts=(lost,)).scored_by(again.fitted).score
    assert isinstance(rescored, Unscored)
    assert "no answer found" in rescored.reason


def test_an_evaluation_shows_the_probe_beside_the_others(answers: list[Answered]) -> None:
    results, without = summarise(answers, PROBE.name), summarise(answers)
    task = results["tasks"]["t"]
    found = [float(a.trace.extras[PROBE.name].mean()) for a in answers]
    expected = roc_auc_score([a.wrong for a in answers], found)
    assert task["auroc"][PROBE.name]["value"] == pytest.approx(expected, abs=1e-6)
    assert results["means"]["gain"][PROBE.name][USUAL]["low"] > 0.1
    guards = [each["pooled"]["one_for_all"] for each in (results, without)]
    assert guards[0]["coverage_at_risk"]["0.1"]["value"] > 0.3
    assert guards[1]["coverage_at_risk"]["0.1"]["value"] < 0.1, "by what neurons do not tell"
    unwatched = [answered(400, np.random.default_rng(1)), *answers]
    trace = replace(unwatched[0].trace, extras={})
    unwatched[0] = replace(unwatched[0], attempts=(replace(unwatched[0].attempts[0], trace=trace),))
    gap = summarise(unwatched, PROBE.name)["tasks"]["t"]
    assert gap["auroc"][PROBE.name]["value"] is None
    assert gap["guard"]["without_p_wrong"] > task["guard"]["without_p_wrong"]


def test_a_profile_has_the_very_probe_that_its_detector_is_of(answers: list[Answered]) -> None:
    profile = make_profile(answers, INFO, locator="automatic", neurons=PROBE).profile
    data = json.loads(profile.model_dump_json(by_alias=True))
    other = json.loads(probe_of(INFO, intercept=2.0).model_dump_json(by_alias=True))
    for wrong in (None, other):
        with pytest.raises(ConfigError, match="are not those of the detector"):
            Profile(**(data | {"neurons": wrong}))


def test_a_guard_with_a_profile_watches_its_neurons(tiny_path: Path, tmp_path: Path) -> None:
    backend = load(tiny_path, n_ctx=512, n_threads=1)
    probe = probe_of(backend.info)
    curve = {"slope": 1.0, "intercept": 0.0, "n": 90, "n_wrong": 40}
    profile = Profile(
        model=backend.info.fingerprint,
        backend=backend.info.backend,
        mode=None,
        detector=probe.name,
        neurons=probe,
        locator="whole",
        calibration=curve | {"lowest": -50, "highest": 50},
    )
    result = Guard(backend, profile=profile).ask(ended(backend))
    assert result.score is not None
    assert result.p_wrong == pytest.approx(1 / (1 + np.exp(-result.score)), rel=1e-6)


# The command that makes profiles


def test_a_probe_goes_with_a_fitted_detector_and_own_questions(tmp_path: Path) -> None:
    PROBE.store(tmp_path / "p.json")
    assert chosen_probe(tmp_path / "p.json", None, asks_quiz=False) == PROBE
    assert chosen_probe(None, None, asks_quiz=True) is None
    with pytest.raises(InputError, match="questions like yours"):
        chosen_probe(tmp_path / "p.json", None, asks_quiz=True)
    with pytest.raises(ConfigError, match="for a detector that is fitted"):
        chosen_probe(tmp_path / "p.json", "nll:max", asks_quiz=False)


def test_a_named_probe_stays_a_file_for_the_profile_to_be_made(tmp_path: Path) -> None:
    PROBE.store(tmp_path / "p.json")
    text = f"neurons:{tmp_path / 'p.json'}"
    assert chosen_detector(text, None) == text
    assert chosen_detector(text, Policy(detector=PROBE.name, abstain=1.0)) == text
    assert chosen_detector("margin:min:low", None) == "margin:min"
    with pytest.raises(ConfigError, match="is not the policy's"):
        chosen_detector(text, Policy(detector="nll:max", abstain=1.0))


def test_names_tell_probes_apart() -> None:
    names = {
        PROBE.name,
        probe_of(INFO, intercept=0.0).name,
        probe_of(INFO, model="00fe").name,
        probe_of(INFO, neurons=PROBE.neurons[:2]).name,
    }
    assert len(names) == 4
    assert NeuronProbe(**PROBE.model_dump(by_alias=True)).name == PROBE.name
