"""Sampling settings mean on transformers what they mean in llama.cpp."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from backend_contract import finished
from hypothesis import assume, given
from hypothesis import strategies as st
from llama_cpp_sampling import probabilities
from tiny_models import tiny_model
from torch_reference import LONGER, SHORT, TOKENIZER, assert_teacher_forced, model_of, rows_of

from energy_guard.backends.transformers import Transformers
from energy_guard.backends.transformers.processors import processors
from energy_guard.errors import ConfigError, InputError
from energy_guard.request import Finished, Request, Sampling

ALL = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
SETTINGS = {
    "temperature": replace(ALL, temperature=0.7),
    "hot": replace(ALL, temperature=2.5),
    "top k": replace(ALL, top_k=5),
    "top p": replace(ALL, top_p=0.6),
    "min p": replace(ALL, min_p=0.15),
    "typical": replace(ALL, typical_p=0.7),
    "defaults": Sampling(temperature=0.8),
    "all of them": Sampling(1.3, top_k=60, top_p=0.9, min_p=0.02, typical_p=0.95),
    "bias": replace(ALL, temperature=0.5, logit_bias={7: 4.0, 9: -9.0}),
}


@pytest.fixture(scope="module")
def backend() -> Transformers:
    return Transformers(model_of("llama"), TOKENIZER, batch_size=250)


def chances(row: np.ndarray, answer: list[int], sampling: Sampling) -> np.ndarray:
    """What the chain leaves over for the draw, after a prompt of the very same tokens."""
    ids = torch.tensor([[*range(len(row)), *answer]])
    scores = torch.from_numpy(row.astype(np.float32))[None]
    *filters, draw = processors([sampling], len(row))
    for each in filters:
        scores = each(ids, scores)
    drawn = draw(ids, scores).argmax().item()
    weights = scores.double().softmax(-1)[0].numpy()
    assert weights[drawn] > 0
    return weights


ROWS = st.lists(st.integers(-60, 60), min_size=2, max_size=12, unique=True)
SHARES = st.sampled_from([0.05, 0.3, 0.5, 0.77, 0.95, 1.0])


@given(
    row=ROWS,
    temperature=st.sampled_from([1, 0.3, 1.7]),
    top_k=st.integers(-1, 14),
    top_p=SHARES,
    min_p=st.sampled_from([0.0, 0.01, 0.2, 1.0]),
    typical_p=SHARES,
    repeat=st.sampled_from([1.0, 1.3, 0.8]),
    frequency=st.sampled_from([0.0, 0.4]),
    presence=st.sampled_from([0.0, -0.7]),
    answer=st.lists(st.integers(0, 11), max_size=80),
    bias=st.dictionaries(st.integers(0, 11), st.sampled_from([-3.1, 2.3]), max_size=2),
)
def test_the_chain_leaves_what_llama_cpp_leaves(
    row: list[int],
    answer: list[int],
    repeat: float,
    frequency: float,
    presence: float,
    bias: dict[int, float],
    **settings: Any,
) -> None:
    logits = np.array(row) / 7
    answer = [token % len(row) for token in answer]
    sampling = Sampling(
        **settings,
        repeat_penalty=repeat,
        frequency_penalty=frequency,
        presence_penalty=presence,
        logit_bias={token % len(row): value for token, value in bias.items()},
    )
    expected = probabilities(logits, answer, sampling)
    assume(not on_the_edge(logits, answer, sampling, expected))
    np.testing.assert_allclose(chances(logits, answer, sampling), expected, atol=1e-5)


def on_the_edge(
    logits: np.ndarray, answer: list[int], sampling: Sampling, expected: np.ndarray
) -> bool:
    """Whether a filter's decision hangs on the last digits."""
    noise = np.random.default_rng(0).normal(0, 1e-5, (8, len(logits)))
    near = [probabilities(logits + by, answer, sampling) for by in noise]
    return any(((p > 0) != (expected > 0)).any() for p in near)


@pytest.mark.parametrize("name", SETTINGS)
def test_tokens_come_as_often_as_they_should(backend: Transformers, name: str) -> None:
    """A thousand seeds, drawn in batches from one prompt."""
    sampling, count = SETTINGS[name], 1000
    seeded = [replace(sampling, seed=seed) for seed in range(count)]
    requests = [Request(ids=tuple(SHORT), sampling=s, max_tokens=1) for s in seeded]
    traces = [e.trace for e in backend.generate(requests) if isinstance(e, Finished)]
    drawn = np.bincount([int(trace.ids[0]) for trace in traces], minlength=260)
    p = probabilities(rows_of(backend.engine, SHORT, [])[0], [], sampling)
    assert not drawn[p == 0].any(), "what is filtered out never comes"
    likely = p * count >= 5
    counts = np.append(drawn[likely], drawn[~likely].sum())
    expected = np.append(p[likely], p[~likely].sum()) * count
    parts = expected > 0
    squares = (counts - expected)[parts] ** 2 / expected[parts]
    degrees = parts.sum() - 1
    assert squares.sum() <= degrees + 4 * np.sqrt(2 * degrees) + 1, "chi-squared, four deviations"


def test_a_seed_gives_the_same_answer_alone_and_in_a_batch(backend: Transformers) -> None:
    prompts = [SHORT, LONGER, SHORT, LONGER[:7]]
    requests = [
        Request(ids=tuple(p), sampling=replace(SETTINGS["defaults"], seed=11 * i), max_tokens=9)
        for i, p in enumerate(prompts)
    ]
    random = torch.random.get_rng_state()
    events = list(backend.generate(requests))
    together = {e.sequence: e.trace for e in events if isinstance(e, Finished)}
    for i, request in enumerate(requests):
        alone = finished(backend.generate([request]))
        assert alone.ids.tolist() == together[i].ids.tolist()
        assert_teacher_forced(backend.engine, prompts[i], together[i])
    assert torch.equal(torch.random.get_rng_state(), random)
    assert together[0].ids.tolist() != together[2].ids.tolist()


def test_without_a_seed_answers_differ_and_the_callers_random_state_does_not_matter(
    backend: Transformers,
) -> None:
    answers = set()
    for _ in range(4):
        torch.manual_seed(0)
        request = Request(ids=tuple(SHORT), sampling=SETTINGS["hot"], max_tokens=8)
        answers.add(tuple(finished(backend.generate([request])).ids))
    assert len(answers) == 4


def test_settings_that_differ_are_not_mixed_in_a_batch(backend: Transformers) -> None:
    """Greedy, sampled and penalised requests in one call get what they get alone."""
    samplings = [
        Sampling(),
        replace(SETTINGS["top p"], seed=4),
        Sampling(repeat_penalty=1.8),
        Sampling(),
    ]
    requests = [Request(ids=tuple(LONGER), sampling=s, max_tokens=9) for s in samplings]
    events = list(backend.generate(requests))
    traces = {e.sequence: e.trace.ids.tolist() for e in events if isinstance(e, Finished)}
    alone = [finished(backend.generate([request])).ids.tolist() for request in requests]
    assert [traces[i] for i in range(4)] == alone
    assert len({tuple(ids) for ids in alone}) == 3


@pytest.mark.parametrize("sampling", [Sampling(), replace(SETTINGS["defaults"], seed=2)])
def test_options_of_generate_that_are_the_users_own(sampling: Sampling) -> None:
    """They act before the request's sampling; the rows are raw all the same."""
    backend = Transformers(
        model_of("llama"),
        TOKENIZER,
        generation={
            "min_new_tokens": 3,
            "bad_words_ids": [[5]],
            "prefix_allowed_tokens_fn": lambda _batch, _ids: [*range(90, 120), 259],
            "logits_processor": [lambda _ids, scores: scores.index_fill(1, torch.tensor([91]), 50)],
        },
    )
    trace = finished(backend.generate([Request(ids=tuple(SHORT), sampling=sampling, max_tokens=5)]))
    assert trace.ids.tolist() == [91] * 5
    assert_teacher_forced(backend.engine, SHORT, trace)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("pad_token_id", "tokenizer"),
        ("generation_config", "as an option"),
        ("attention_mask", "requests"),
        ("input_ids", "requests"),
        ("reptition_penalty", "typing error"),
    ],
)
def test_options_that_are_filled_in_here_and_that_there_are_not(name: str, way_out: str) -> None:
    with pytest.raises(ConfigError, match=name) as error:
        Transformers(model_of("llama"), TOKENIZER, generation={"min_new_tokens": 1, name: 2})
    assert way_out in error.value.hint


def test_options_of_the_model_itself() -> None:
    options = {"output_attentions": False, "logits_to_keep": 1, "use_cache": True}
    backend = Transformers(model_of("llama"), TOKENIZER, generation=options)
    assert len(finished(backend.generate([Request.raw("x", max_tokens=4)]))) > 0


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_stop_string_and_the_end_token_of_rows_in_one_batch(family: str, cache: str) -> None:
    model = tiny_model(family)
    backend = Transformers(model, TOKENIZER, generation={"cache_implementation": cache})
    bias = {t: -99.0 for t in range(260) if not 97 <= t < 123}
    letters = Sampling(logit_bias=bias)
    free = finished(backend.generate([Request(ids=tuple(SHORT), sampling=letters, max_tokens=9)]))
    requests = [
        Request(ids=tuple(SHORT), sampling=letters, max_tokens=9, stop=(free.text[3:5],)),
        Request(ids=tuple(LONGER), sampling=letters, max_tokens=9),
        Request(ids=tuple(LONGER), sampling=letters, max_tokens=2),
    ]
    events = list(backend.generate(requests))
    traces = {e.sequence: e.trace for e in events if isinstance(e, Finished)}
    assert [traces[i].finish_reason for i in range(3)] == ["stop", "length", "length"]
    assert traces[0].text == free.text[: free.text.index(free.text[3:5])]
    assert len(traces[2]) == 2
    for i, prompt in enumerate((SHORT, LONGER, LONGER)):
        assert_teacher_forced(model, prompt, traces[i])
        assert i == 1 or len(traces[i].log_partition) == len(traces[i]) + 1


def test_what_only_llama_cpp_has_is_refused(backend: Transformers) -> None:
    for request in (Request(ids=(1,), sampling=Sampling(mirostat_mode=2)),):
        with pytest.raises(InputError, match=r"llama\.cpp"):
            finished(backend.generate([request]))
