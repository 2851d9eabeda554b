"""Answers that exist: beams and drafts, replays token by token, and fast scoring."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backend_contract import finished
from tiny_models import END, FAMILIES, tiny_model
from torch_reference import (
    LONG,
    LONGER,
    PROMPTS,
    SHORT,
    TOKENIZER,
    assert_teacher_forced,
    model_of,
    padded,
    written,
)
from transformers import DynamicCache

from energy_guard import Trace, capture
from energy_guard.backends.transformers import Transformers, fast
from energy_guard.errors import InputError, PromptError
from energy_guard.request import CancelToken, Finished, Request, Sampling
from energy_guard.trace import SIGNALS

LETTERS = list(range(ord("a"), ord("z") + 1))

REPLAYED: dict[str, tuple[list[list[int]], dict[str, Any]]] = {
    "beams": (PROMPTS, {"num_beams": 3}),
    "several beams each": (PROMPTS, {"num_beams": 4, "num_return_sequences": 2}),
    "beams that end apart": (PROMPTS, {"num_beams": 3, "eos_token_id": [*range(0, 256, 9)]}),
    "sampled beams": (PROMPTS, {"num_beams": 3, "do_sample": True}),
    "prompt lookup": ([[*SHORT, *LONGER, *SHORT]], {"prompt_lookup_num_tokens": 3}),
    "assisted": ([LONG], {}),
    "assisted and sampled": ([LONG], {"do_sample": True}),
}


ASSISTANT = tiny_model(seed=1)


@pytest.mark.parametrize("mode", REPLAYED)
@pytest.mark.parametrize("family", FAMILIES)
def test_final_sequences_are_replayed(family: str, mode: str) -> None:
    model = model_of(family)
    prompts, options = REPLAYED[mode]
    if "assisted" in mode:
        options = {**options, "assistant_model": ASSISTANT}
    plain = written(model, prompts, **options)
    with capture((model, TOKENIZER)) as traces:
        out = written(model, prompts, **options)
    assert out.tolist() == plain.tolist()
    assert len(traces) == len(out)
    for row, trace in enumerate(traces):
        answer = out[row, max(map(len, prompts)) :].tolist()
        assert trace.ids.tolist() == answer[: len(trace)]
        assert {*answer[len(trace) :]} <= {0, END}
        assert len(trace.log_partition) == len(trace) + (trace.finish_reason != "eos")
        assert_teacher_forced(model, prompts[row * len(prompts) // len(out)], trace)


def test_beams_that_a_stop_string_or_a_criterion_ends() -> None:
    model = model_of("llama")
    letters = {"prefix_allowed_tokens_fn": lambda _batch, _ids: LETTERS, "num_beams": 3}
    answer = written(model, PROMPTS, **letters)[0, -10:].tolist()
    stop = {"stop_strings": bytes(answer[3:5]).decode(), "tokenizer": TOKENIZER}
    with capture((model, TOKENIZER)) as stopped:
        written(model, PROMPTS, **letters, **stop)
    assert "stop" in {trace.finish_reason for trace in stopped}

    def every_fourth(ids: Any, _scores: Any, **_options: Any) -> Any:
        return ids[:, -1] % 4 == 0

    own = {"num_beams": 3, "num_return_sequences": 3, "stopping_criteria": [every_fourth]}
    with capture((model, TOKENIZER)) as ended:
        out = written(model, [SHORT], **own)
    assert (out == -1).any(), "some are filled up to the length of the others"
    assert "stop" in {trace.finish_reason for trace in ended}
    for trace, prompt in zip([*stopped, *ended], [*PROMPTS, *[SHORT] * 3], strict=True):
        assert_teacher_forced(model, prompt, trace)


@pytest.mark.parametrize("options", [{"num_beams": 2}, {"prompt_lookup_num_tokens": 2}])
def test_on_step_is_refused_before_anything_is_written(options: dict[str, Any]) -> None:
    model, passes = model_of("llama"), []
    handle = model.register_forward_pre_hook(lambda *_: passes.append(1))
    with pytest.raises(InputError, match="on_step"), capture(model, lambda _step: True):
        written(model, [SHORT], **options)
    handle.remove()
    assert passes == []


def test_drafts_of_the_same_model_are_no_answers() -> None:
    model = model_of("llama")
    with capture((model, TOKENIZER)) as traces:
        written(model, [LONG], assistant_model=model)
        out = written(model, [LONG], assistant_early_exit=1)
    assert [trace.ids.tolist() for trace in traces] == [out[0, len(LONG) :].tolist()] * 2
    assert_teacher_forced(model, LONG, traces[1])


@pytest.mark.parametrize("given", ["input_ids", "cache"])
def test_a_prompt_that_cannot_be_replayed_is_refused(given: str) -> None:
    model = model_of("llama")
    inputs = padded([SHORT])
    if given == "input_ids":
        inputs = {"inputs_embeds": model.get_input_embeddings()(inputs["input_ids"]).detach()}
    else:
        cache = DynamicCache(config=model.config)
        with torch.no_grad():
            model(torch.tensor([LONGER]), past_key_values=cache)
        inputs |= {"past_key_values": cache, "attention_mask": torch.ones(1, len(LONGER) + 3)}
    with pytest.raises(InputError, match=given), capture(model):
        model.generate(**inputs, num_beams=2, max_new_tokens=3)


def test_beams_of_a_model_in_half_precision() -> None:
    model = tiny_model().to(torch.bfloat16)
    with capture((model, TOKENIZER)) as traces:
        written(model, PROMPTS, num_beams=2)
    for prompt, trace in zip(PROMPTS, traces, strict=True):
        assert_teacher_forced(model, prompt, trace, within=0.3)


def test_contrastive_and_other_ways_from_the_hub_are_not_hidden() -> None:
    """Transformers itself refuses them without trust_remote_code; nothing is recorded."""
    model = model_of("llama")
    with pytest.raises((ValueError, OSError)), capture(model) as traces:
        written(model, [SHORT], penalty_alpha=0.6, top_k=4)
    assert traces == []


def asked(prompt: list[int], **options: Any) -> Request:
    return Request(ids=tuple(prompt), **{"max_tokens": 12, **options})


SAMPLED = Sampling(temperature=1.0, seed=3)


@pytest.fixture(params=FAMILIES)
def backend(request: pytest.FixtureRequest) -> Transformers:
    return Transformers(model_of(request.param), TOKENIZER)


def assert_same_numbers(mine: Trace, theirs: Trace, within: float) -> None:
    assert mine.ids.tolist() == theirs.ids.tolist()
    assert mine.finish_reason == theirs.finish_reason
    for name in SIGNALS:
        ours, other = mine.signal(name), theirs.signal(name)
        np.testing.assert_allclose(ours, other, rtol=within, atol=within, err_msg=name)


def test_a_replay_is_the_live_answer_again(backend: Transformers) -> None:
    for prompt in PROMPTS:
        live = finished(backend.generate([asked(prompt, sampling=SAMPLED)]))
        again = finished(backend.replay(asked(prompt), live.ids.tolist()))
        assert_same_numbers(again, live, 1e-6)
        assert_teacher_forced(backend.engine, prompt, again)


def test_fast_scoring_has_the_numbers_of_one_whole_pass(backend: Transformers) -> None:
    for prompt in PROMPTS:
        live = finished(backend.generate([asked(prompt, sampling=SAMPLED)]))
        trace = finished(backend.replay(asked(prompt), live.ids.tolist(), fast=True))
        assert len(trace.log_partition) == len(trace) + (trace.finish_reason != "eos")
        assert_teacher_forced(backend.engine, prompt, trace)


def pairs_of(backend: Transformers) -> list[tuple[Request, list[int]]]:
    answers = [[(11 * i + 5) % 251 for i in range(n)] for n in (1, 40, 7, 2, 90, 13, 3, 30, 1)]
    answers[3][-1] = END
    return [(asked(PROMPTS[i % 3]), answer) for i, answer in enumerate(answers)]


@pytest.mark.parametrize("is_fast", [False, True])
def test_many_pairs_at_once_are_the_same_as_one_by_one(
    backend: Transformers, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of eight, padded on both sides, read a few columns at a time."""
    monkeypatch.setattr(fast, "_SLICE", 8 * 260 * 5)
    pairs = pairs_of(backend)
    with backend.session() as session:
        events = list(session.replay(pairs, fast=is_fast))
    traces = {e.sequence: e.trace for e in events if isinstance(e, Finished)}
    assert sorted(traces) == list(range(len(pairs)))
    for number, (request, answer) in enumerate(pairs):
        trace = traces[number]
        assert trace.ids.tolist() == answer
        alone = finished(backend.replay(request, answer, fast=is_fast))
        assert_same_numbers(trace, alone, 1e-4)
        assert_teacher_forced(backend.engine, list(request.ids or ()), trace)


@pytest.mark.parametrize("is_fast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_replays_in_half_precision(dtype: torch.dtype, is_fast: bool) -> None:
    backend = Transformers(tiny_model("gemma2").to(dtype), TOKENIZER)
    trace = finished(backend.replay(asked(LONG), LONGER, fast=is_fast))
    assert_teacher_forced(backend.engine, LONG, trace, within=0.3)


def test_inverse_temperatures_of_a_batch(backend: Transformers) -> None:
    """Each sequence has its own, live, replayed and fast."""
    requests = [
        asked(prompt, inverse_temperature=beta)
        for prompt, beta in zip(PROMPTS, (1.0, 0.5, 2.0), strict=True)
    ]
    live = [e.trace for e in backend.generate(requests) if isinstance(e, Finished)]
    with backend.session() as session:
        pairs = [(r, t.ids.tolist()) for r, t in zip(requests, live, strict=True)]
        scored = [e.trace for e in session.replay(pairs, fast=True) if isinstance(e, Finished)]
    for request, *traces in zip(requests, live, scored, strict=True):
        beta = request.inverse_temperature
        for trace in traces:
            assert trace.inverse_temperature == beta
            plain = finished(
                backend.replay(replace(request, inverse_temperature=1.0), trace.ids.tolist())
            )
            np.testing.assert_allclose(trace.token_logit, beta * plain.token_logit, atol=1e-4)
            np.testing.assert_allclose(trace.margin, beta * plain.margin, atol=1e-4)
            np.testing.assert_allclose(trace.row_mean, beta * plain.row_mean, atol=1e-4)


def test_a_prompt_that_begins_like_the_last_one_reuses_its_cache(backend: Transformers) -> None:
    """And the numbers are those of a fresh start: with other ends, shorter, longer, the same."""
    read: list[int] = []
    prompts = [LONGER, LONGER, [*LONGER[:9], 1, 2], [*LONGER, *SHORT], LONGER[:4], SHORT]
    handle = backend.engine.register_forward_pre_hook(
        lambda _model, _args, given: read.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    with backend.session() as session:
        for prompt in prompts:
            trace = finished(session.generate([asked(prompt, max_tokens=5)]))
            assert_teacher_forced(backend.engine, prompt, trace)
    handle.remove()
    prefills = [n for n in read if n not in (1, *(len(p) + 5 for p in prompts))]
    assert prefills[0] == len(LONGER)
    assert 1 < len(prefills) < len(prompts), "the second prompt was in the cache but for a token"


class CancelledLater(CancelToken):
    """Cancelled when it was looked at some times: in the middle of a prompt."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    @property
    def reason(self) -> Any:
        self._looks -= 1
        return "cancelled" if self._looks < 0 else None


@pytest.mark.parametrize("looks", range(1, 6))
def test_a_prompt_that_was_read_in_part_is_not_reused(backend: Transformers, looks: int) -> None:
    with backend.session() as session:
        cancelled = asked(LONGER, cancel=CancelledLater(looks))
        assert finished(session.generate([cancelled])).finish_reason == "cancelled"
        trace = finished(session.generate([asked(LONGER)]))
    assert_teacher_forced(backend.engine, LONGER, trace)


def test_up_to_the_last_position_of_a_model() -> None:
    backend = Transformers(model_of("gpt2"), TOKENIZER)
    context = backend.measure(asked(SHORT)).context
    prompt = [t % 251 for t in range(context - 6)]
    for trace in (
        finished(backend.generate([asked(prompt, max_tokens=99)])),
        finished(backend.replay(asked(prompt), [1, 2, 3, 4, 5, 6])),
        finished(backend.replay(asked(prompt), [1, 2, 3, 4, 5, 6], fast=True)),
    ):
        assert len(trace) == 6
        assert_teacher_forced(backend.engine, prompt, trace)
    with pytest.raises(PromptError):
        finished(backend.replay(asked(prompt), [1] * 7))
    with capture((backend.engine, TOKENIZER)) as traces:
        written(backend.engine, [prompt], max_new_tokens=6)
    assert_teacher_forced(backend.engine, prompt, traces[0])


@pytest.mark.slow
def test_a_long_answer_at_a_large_vocabulary_takes_less_than_a_gigabyte() -> None:
    script = Path(__file__).parents[2] / "fast_scoring_memory.py"
    paths = f"{script.parents[1]}:{script.parent}"
    done = subprocess.run(
        [sys.executable, str(script), "4000", "262144"],
        env={"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    assert float(done.stdout) < 1024
