"""Every way of generating token by token: the numbers are those of independent computations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, tiny_model
from torch_reference import (
    LONG,
    LONGER,
    PROMPTS,
    SHORT,
    TOKENIZER,
    assert_output_logits,
    assert_teacher_forced,
    captured,
    model_of,
    written,
)
from transformers import CompileConfig, LogitsProcessorList, StoppingCriteriaList

from energy_guard.backends.transformers.reduce import RowsReducer, rows_of

LETTERS = list(range(ord("a"), ord("z") + 1))
SAMPLED = {"do_sample": True, "top_k": 0}


def greedy(_model: Any) -> dict[str, Any]:
    return {}


def min_new_tokens(model: Any) -> dict[str, Any]:
    """The token that the model would begin with may not come for a while."""
    first = int(written(model, PROMPTS)[0, -10])
    return {"min_new_tokens": 4, "eos_token_id": first}


def ends_apart(model: Any) -> dict[str, Any]:
    """Each row but the last one has an end token of its own, at another place."""
    answers = written(model, PROMPTS)[:, -10:].tolist()
    ends = [next(t for t in answers[i][3 + i :] if t not in answers[2]) for i in (0, 1)]
    return {"eos_token_id": ends}


def bad_words(model: Any) -> dict[str, Any]:
    first, second, third = written(model, [SHORT])[0, -10:-7].tolist()
    return {"bad_words_ids": [[first], [second, third]], "suppress_tokens": [second]}


def own_processor(_model: Any) -> dict[str, Any]:
    def halved(_ids: Any, scores: Any) -> Any:
        return scores / 2 + torch.arange(scores.shape[1]) / 100

    return {"logits_processor": LogitsProcessorList([halved])}


def only_letters(_model: Any) -> dict[str, Any]:
    return {"prefix_allowed_tokens_fn": lambda _batch, _ids: LETTERS}


def stop_strings(model: Any) -> dict[str, Any]:
    """A stop string of two tokens, of letters that the first prompt is answered with."""
    letters = only_letters(model)
    answer = written(model, PROMPTS, **letters)[0, -10:].tolist()
    return {**letters, "tokenizer": TOKENIZER, "stop_strings": bytes(answer[4:6]).decode()}


def own_criterion(_model: Any) -> dict[str, Any]:
    return {"stopping_criteria": [lambda ids, _scores, **_: ids.shape[1] >= len(LONG) + 6]}


def own_criterion_of_each_row(_model: Any) -> dict[str, Any]:
    """Rows end after 4, 6 and 8 tokens; until all have, they go on to be written."""
    lengths = torch.tensor([4, 6, 8]) + len(LONG)

    def over(ids: Any, _scores: Any, **_options: Any) -> Any:
        return ids.shape[1] >= lengths

    return {"stopping_criteria": StoppingCriteriaList([over])}


def own_criterion_named_like_others(_model: Any) -> dict[str, Any]:
    class Own:
        eos_token_id = 3
        max_time = None

        def __call__(self, ids: Any, _scores: Any, **_options: Any) -> Any:
            return torch.full((len(ids),), ids.shape[1] >= len(LONG) + 5)

    return {"stopping_criteria": StoppingCriteriaList([Own()])}


def settings(**options: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda _model: options


MODES: dict[str, tuple[Callable[[Any], dict[str, Any]], set[str]]] = {
    "greedy": (greedy, {"length"}),
    "sampled": (settings(**SAMPLED), {"length"}),
    "temperature": (settings(**SAMPLED, temperature=0.6), {"length"}),
    "top k": (settings(do_sample=True, top_k=5), {"length"}),
    "top p": (settings(**SAMPLED, top_p=0.5), {"length"}),
    "min p": (settings(**SAMPLED, min_p=0.2), {"length"}),
    "typical": (settings(**SAMPLED, typical_p=0.5), {"length"}),
    "repetition penalty": (settings(repetition_penalty=1.6), {"length"}),
    "no repetition": (settings(no_repeat_ngram_size=1), {"length"}),
    "min new tokens": (min_new_tokens, {"length", "eos"}),
    "ends apart": (ends_apart, {"length", "eos"}),
    "bad words": (bad_words, {"length"}),
    "own processor": (own_processor, {"length"}),
    "prefix": (only_letters, {"length"}),
    "stop strings": (stop_strings, {"stop", "length"}),
    "out of time": (settings(max_time=0.0), {"deadline"}),
    "own criterion": (own_criterion, {"stop"}),
    "rows end apart": (own_criterion_of_each_row, {"stop"}),
    "own criterion with other names": (own_criterion_named_like_others, {"stop"}),
    "static cache": (settings(cache_implementation="static"), {"length"}),
    "no cache": (settings(use_cache=False), {"length"}),
    "prompt in chunks": (settings(prefill_chunk_size=11), {"length"}),
}
"""What `generate` is told, and the reasons for which rows of the batch may end."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_has_the_numbers_of_independent_passes(family: str, mode: str) -> None:
    model = model_of(family)
    options, reasons = MODES[mode]
    out, traces = captured(model, PROMPTS, **options(model))
    assert len(traces) == len(PROMPTS)
    assert {trace.finish_reason for trace in traces} <= reasons
    assert traces[0].finish_reason != "length" or "length" in reasons
    for row, (prompt, trace) in enumerate(zip(PROMPTS, traces, strict=True)):
        answer = out.sequences[row, len(LONG) :].tolist()
        assert trace.ids.tolist() == answer[: len(trace)]
        assert len(trace) == len(answer) or trace.finish_reason != "length"
        assert_output_logits(trace, out, row)
        assert_teacher_forced(model, prompt, trace)
        assert_last_row(trace, mode)


def assert_last_row(trace: Any, mode: str) -> None:
    """It is missing after an end token, out of time, and where a static cache is full."""
    full = mode == "static cache" and trace.finish_reason == "length"
    missing = full or trace.finish_reason in ("eos", "deadline")
    assert len(trace.log_partition) == len(trace) + (not missing)
    assert np.isnan(trace.spilled_energy).tolist() == [False] * (len(trace) - 1) + [missing]


@pytest.mark.parametrize("mode", ["ends apart", "stop strings", "rows end apart", "min new tokens"])
def test_rows_of_these_modes_do_end_at_different_places(mode: str) -> None:
    ends = set()
    for family in FAMILIES:
        model = model_of(family)
        _, traces = captured(model, PROMPTS, **MODES[mode][0](model))
        ends.add(tuple(len(trace) for trace in traces))
    assert any(len(set(lengths)) > 1 for lengths in ends)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_a_batch_are_those_of_the_prompts_alone(family: str) -> None:
    model = model_of(family)
    _, together = captured(model, PROMPTS)
    for prompt, trace in zip(PROMPTS, together, strict=True):
        (alone,) = captured(model, [prompt])[1]
        assert alone.ids.tolist() == trace.ids.tolist()
        for name in ("log_partition", "row_mean", "token_logit", "entropy", "margin"):
            np.testing.assert_allclose(
                getattr(trace, name), getattr(alone, name), rtol=0, atol=1e-4, err_msg=name
            )


@pytest.mark.parametrize("mode", ["sampled", "ends apart", "rows end apart", "static cache"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_are_reduced_on_the_device(
    family: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: what the processor does in NumPy is done in PyTorch."""

    def on_device(_self: Any, rows: Any, tokens: Any = None) -> Any:
        return rows_of(rows, tokens)

    monkeypatch.setattr(RowsReducer, "rows_of", on_device)
    model = model_of(family)
    out, traces = captured(model, PROMPTS, **MODES[mode][0](model))
    for row, (prompt, trace) in enumerate(zip(PROMPTS, traces, strict=True)):
        assert_output_logits(trace, out, row)
        assert_teacher_forced(model, prompt, trace)


@pytest.mark.parametrize("family", FAMILIES)
def test_several_answers_a_prompt(family: str) -> None:
    model = model_of(family)
    out, traces = captured(model, [LONGER, SHORT], **SAMPLED, num_return_sequences=3)
    assert len(traces) == len(out.sequences) == 6
    assert len({tuple(trace.ids) for trace in traces}) > 2
    for row, trace in enumerate(traces):
        assert trace.ids.tolist() == out.sequences[row, len(LONGER) :].tolist()
        assert_output_logits(trace, out, row)
        assert_teacher_forced(model, [LONGER, SHORT][row // 3], trace)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_processor_that_writes_into_its_scores(family: str) -> None:
    """What transformers keeps as raw rows is then not raw; the captured rows are."""

    def overwrite(_ids: Any, scores: Any) -> Any:
        scores *= 0.5
        scores[:, ::2] = -torch.inf
        return scores

    model = model_of(family)
    out, traces = captured(model, PROMPTS, logits_processor=[overwrite])
    for row, (prompt, trace) in enumerate(zip(PROMPTS, traces, strict=True)):
        assert_teacher_forced(model, prompt, trace)
        assert out.logits[0][row].isinf().any()


def test_penalties_and_filters_do_change_what_is_written() -> None:
    """Otherwise the modes above would be the greedy one again."""
    model = model_of("llama")
    plain = written(model, PROMPTS).tolist()
    same = [m for m in MODES if written(model, PROMPTS, **MODES[m][0](model)).tolist() == plain]
    assert same == ["greedy", "static cache", "no cache", "prompt in chunks"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_half_precision_is_reduced_in_float32(family: str, dtype: torch.dtype) -> None:
    model = tiny_model(family).to(dtype)
    out, traces = captured(model, PROMPTS)
    for row, trace in enumerate(traces):
        assert out.logits[0].dtype == torch.float32
        assert_output_logits(trace, out, row)
        assert_teacher_forced(model, PROMPTS[row], trace, within=0.3)


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral"])
def test_a_static_cache_with_room_gives_the_last_row(family: str) -> None:
    """But for one whose layers all slide: they do not tell a full window from a full cache."""
    model = model_of(family)
    options = {**own_criterion(model), "cache_implementation": "static"}
    _, traces = captured(model, PROMPTS, **options, return_dict_in_generate=False)
    for prompt, trace in zip(PROMPTS, traces, strict=True):
        assert len(trace.log_partition) == len(trace) + (family != "mistral")
        assert_teacher_forced(model, prompt, trace)


def test_a_static_cache_that_is_returned_is_not_written_to() -> None:
    model = model_of("llama")
    options = {**own_criterion(model), "cache_implementation": "static"}
    _, traces = captured(model, PROMPTS, **options)
    assert {len(trace.log_partition) - len(trace) for trace in traces} == {0}


def compiled_by_method(model: Any) -> dict[str, Any]:
    model.compile(backend="eager")
    return {}


def compiled_forward(model: Any) -> dict[str, Any]:
    model.forward = torch.compile(model.forward, backend="aot_eager")
    return {"cache_implementation": "static"}


def compiled_by_generate(_model: Any) -> dict[str, Any]:
    config = CompileConfig(backend="aot_eager", mode=None, fullgraph=False)
    config._compile_all_devices = True
    return {"cache_implementation": "static", "compile_config": config}


@pytest.mark.slow
@pytest.mark.parametrize("way", [compiled_by_method, compiled_forward, compiled_by_generate])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_compiled_forward_pass(family: str, way: Callable[..., dict[str, Any]]) -> None:
    model = tiny_model(family)
    prompts = [SHORT, LONGER]
    out, traces = captured(model, prompts, **way(model), max_new_tokens=4)
    for row, trace in enumerate(traces):
        assert_output_logits(trace, out, row)
        assert_teacher_forced(model_of(family), prompts[row], trace)
