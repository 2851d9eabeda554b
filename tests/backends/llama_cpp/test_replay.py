from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy_guard import Guard, Policy, Profile, Request, load
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp import evaluate as evaluate_module
from energy_guard.backends.locks import lock_of
from energy_guard.errors import MismatchError, PromptError
from energy_guard.trace import SIGNALS, Trace


def furthest(one: Trace, other: Trace) -> float:
    """The largest difference in any signal of any token."""
    assert one.ids.tolist() == other.ids.tolist()
    return max(float(np.max(np.abs(getattr(one, name) - getattr(other, name)))) for name in SIGNALS)


@pytest.fixture(scope="module")
def loaded(tiny_path: Path) -> Iterator[Any]:
    backend = load(tiny_path, n_ctx=512, n_threads=1, n_threads_batch=1, type_k=0, type_v=0)
    yield backend
    backend.engine.close()  # type: ignore[attr-defined]


@pytest.fixture
def tiny(loaded: Any) -> Iterator[Any]:
    before = set(vars(loaded.engine))
    loaded.engine.reset()
    yield loaded
    assert set(vars(loaded.engine)) == before
    assert not lock_of(loaded.engine).locked


def test_ids_are_taken_as_they_are_and_texts_are_tokenised_once(tiny: Any) -> None:
    guard = Guard(tiny)
    assert guard.score("cat", [ord("t"), ord("h")]).trace.ids.tolist() == [116, 104]
    assert guard.score("cat", "th").trace.ids.tolist() == [256]
    assert guard.score("cat", [116, 104]).answer == guard.score("cat", "th").answer == "th"


def test_arrays_of_ids_are_taken_too(tiny: Any) -> None:
    ids = np.array([116, 104, 101])
    assert Guard(tiny).score("cat", ids).trace.ids.tolist() == [116, 104, 101]


@pytest.mark.parametrize("fast", [False, True])
def test_control_tokens_in_an_answers_text_are_plain_text(tiny: Any, fast: bool) -> None:
    result = Guard(tiny).score("cat", "a<|im_end|>b", fast=fast)
    assert result.answer == "a<|im_end|>b"
    assert max(result.trace.ids) <= 256


@pytest.mark.parametrize("answer", ["", [], [-1], [10**6]])
def test_what_is_no_answer_is_refused(tiny: Any, answer: Any) -> None:
    with pytest.raises(PromptError):
        Guard(tiny).score("cat", answer)


def test_the_prompt_is_read_as_it_was_asked(tiny: Any) -> None:
    for request in (Request.raw("cat"), Request.chat("cat", context=("A cat.",))):
        live = Guard(tiny).ask(request, max_tokens=5)
        scored = Guard(tiny).score(request, live.trace.ids.tolist())
        assert scored.trace.prompt_tokens == live.trace.prompt_tokens
        assert furthest(scored.trace, live.trace) < 1e-5
        tiny.engine.reset()


def test_the_end_token_can_be_part_of_the_answer(tiny: Any) -> None:
    end = tiny.engine.token_eos()
    result = Guard(tiny).score("cat", [104, 105, end])
    assert (result.answer, result.trace.finish_reason) == ("hi", "eos")
    assert result.trace.content_end == 2


def test_fast_scoring_is_near_token_by_token_scoring(tiny: Any) -> None:
    answer = "the quick brown fox jumps over the lazy dog " * 3
    slow, fast = (Guard(tiny).score("cat", answer, fast=fast).trace for fast in (False, True))
    assert len(slow) > 96
    assert furthest(slow, fast) < 1e-4


@pytest.mark.parametrize("length", [1, 31, 32, 33, 65, 100])
def test_fast_scoring_holds_32_rows_at_the_most(
    tiny: Any, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    original = evaluate_module._decode_with_all_rows

    def noting(llm: Any, ids: list[int]) -> None:
        batches.append(len(ids))
        original(llm, ids)

    monkeypatch.setattr(evaluate_module, "_decode_with_all_rows", noting)
    assert len(Guard(tiny).score("cat", [97] * length, fast=True).trace) == length
    ones = length % 32 == 1
    assert sum(batches) + ones == length
    assert all(1 < batch <= 32 for batch in batches)
    assert len(batches) == -(-length // 32) - ones, "and no fewer than it could"


def test_a_live_answer_after_a_fast_score_has_the_numbers_of_a_fresh_engine(tiny: Any) -> None:
    guard = Guard(tiny)
    fresh = guard.ask("cat", max_tokens=9).trace
    tiny.engine.reset()
    guard.score("dog", "the lazy dog " * 8, fast=True)
    assert guard.ask("cat", max_tokens=9).trace.ids.tolist() == fresh.ids.tolist()
    guard.score("dog", "the lazy dog " * 8, fast=True)
    tiny.engine.reset()
    assert furthest(guard.ask("cat", max_tokens=9).trace, fresh) == 0


def test_a_profile_made_token_by_token_is_refused_for_fast_scoring(tiny: Any) -> None:
    calibration = {"slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 99}
    profile = Profile(
        model=tiny.info.fingerprint,
        backend="llama-cpp",
        mode="chat",
        detector="nll:max",
        locator="automatic",
        calibration=calibration,  # type: ignore[arg-type]
    )
    guard = Guard(tiny, profile=profile)
    with pytest.raises(MismatchError, match="scoring"):
        guard.score("cat", "th", fast=True)
    assert guard.score("cat", "th").p_wrong is not None
    fast = Guard(tiny, profile=profile.model_copy(update={"scoring": "fast"}))
    with pytest.raises(MismatchError, match="scoring"):
        fast.score("cat", "th")
    assert fast.score("cat", "th", fast=True).p_wrong is not None


QUESTIONS = [
    f"What is the {what} of {land}?"
    for what in ("capital", "largest river")
    for land in "France Japan Egypt Peru Norway India Kenya Chile Spain Canada".split()
]


@pytest.mark.slow
@pytest.mark.model
def test_scores_of_a_model_are_those_of_its_live_answers(demo: LlamaCpp) -> None:
    guard = Guard(demo, Policy(detector="spilled_energy:max", warn=0.0))
    assert len(QUESTIONS) == 20
    ended = []
    for question in QUESTIONS:
        demo.engine.reset()
        live = guard.ask(question, max_tokens=48)
        scored = guard.score(question, live.trace.ids.tolist())
        assert furthest(scored.trace, live.trace) < 1e-6
        assert scored.answer == live.answer
        if live.trace.finish_reason == "length":  # cut off; given to be scored it counts as whole
            continue
        ended.append((question, live))
        assert scored.score == pytest.approx(live.score, abs=1e-6)
        assert (scored.span, scored.verdict) == (live.span, live.verdict)
    assert len(ended) > 8
    question, live = ended[-1]
    by_text = guard.score(question, live.answer)
    assert by_text.trace.ids.tolist() == live.trace.ids[: live.trace.content_end].tolist()
    assert by_text.score == pytest.approx(live.score, abs=1e-6)


@pytest.mark.slow
@pytest.mark.model
def test_fast_scores_of_a_model_differ_a_little(demo: LlamaCpp, record_property: Any) -> None:
    answer = "The capital of France is Paris, and the largest river of France is the Loire."
    slow, fast = (
        Guard(demo).score("Tell me about France.", answer, fast=fast).trace
        for fast in (False, True)
    )
    assert slow.ids.tolist() == fast.ids.tolist()
    difference = float(np.max(np.abs(slow.nll - fast.nll)))
    record_property("largest difference in nll", difference)
    print(f"fast scoring: nll differs by up to {difference:.4f}")
    assert difference < 0.5
