"""The numbers that vLLM sends are those of the raw rows, held against transformers.

Needs an environment of its own: `make test-vllm`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

vllm = pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")

import torch  # noqa: E402
from tiny_models import VOCABULARY, byte_tokenizer  # noqa: E402

from energy_guard.backends.transformers.vocabulary import Vocabulary  # noqa: E402
from energy_guard.backends.vllm.columns import ASKED, NUMBERS  # noqa: E402
from energy_guard.backends.vllm.extension import RowNumbers  # noqa: E402
from energy_guard.backends.vllm.traces import trace_of  # noqa: E402
from energy_guard.energy import RowReducer  # noqa: E402
from energy_guard.errors import EngineError, InputError  # noqa: E402
from energy_guard.trace import Trace  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # vLLM's own
]

PROMPTS = [[*b"The capital of France is"], [*b"thththth"], [*b"One"], [*range(40, 140)]] * 2
# Without seeds of their own: those crash the engine of a CPU if prompts are read in parts.
CASES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "temperature, top-k, top-p, min-p": {
        "temperature": 1.3, "top_k": 20, "top_p": 0.9, "min_p": 0.01,
    },
    "penalties": {
        "temperature": 0.0, "repetition_penalty": 1.4, "presence_penalty": 1.0,
        "frequency_penalty": 0.5,
    },
    "bias, allowed ids, least tokens": {
        "temperature": 0.0, "logit_bias": {65: 40.0}, "min_tokens": 5,
        "allowed_token_ids": [*range(60, 90)],
    },
    "three answers": {"temperature": 1.0, "n": 3},
}  # fmt: skip


def asked(llm: Any, **settings: Any) -> Iterator[tuple[list[int], Any]]:
    parameters = vllm.SamplingParams(max_tokens=12, detokenize=False, **ASKED, **settings)
    outputs = llm.generate(
        [{"prompt_token_ids": prompt} for prompt in PROMPTS], parameters, use_tqdm=False
    )
    for output in outputs:
        for answer in output.outputs:
            yield list(output.prompt_token_ids), answer


def difference(model: Any, prompt: list[int], trace: Trace, *, shift: int = 0) -> float:
    """By how much a trace is off; shift: read the row so many places away, which is wrong."""
    ids = [*prompt, *trace.ids.tolist()]
    with torch.no_grad():
        rows = model(torch.tensor([ids])).logits[0].double().numpy()
    reducer = RowReducer(VOCABULARY, np.float64)
    most = 0.0
    for t, token in enumerate(trace.ids.tolist()):
        row = rows[len(prompt) - 1 + t + shift]
        expected = (reducer.token_logit(row, token), *reducer.reduce(row))
        found = (trace.token_logit, trace.log_partition, trace.row_mean, trace.entropy)
        found = (*found, trace.margin)
        most = max(most, *(abs(e - f[t]) for e, f in zip(expected, found, strict=True)))
    return most


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_the_raw_rows(llm: Any, model: Any, case: str) -> None:
    if "top_k" in CASES[case] and "TRITON_INTERPRET" in os.environ:
        pytest.skip("Triton's interpreter does not run vLLM's own kernel for top-k")
    vocabulary = Vocabulary(byte_tokenizer())
    answers = list(asked(llm, **CASES[case]))
    assert len(answers) == len(PROMPTS) * CASES[case].get("n", 1)
    for prompt, answer in answers:
        trace = trace_of(answer, vocabulary.piece, prompt_tokens=len(prompt))
        assert trace.ids.tolist() == list(answer.token_ids)
        assert difference(model, prompt, trace) < 1e-3
        if len(trace) > 1:
            assert difference(model, prompt, trace, shift=-1) > 0.1, "it would not be noticed"


@pytest.mark.skipif(
    "TRITON_INTERPRET" in os.environ, reason="Triton's interpreter does not run vLLM's own grammars"
)
def test_a_grammar_leaves_no_numbers_instead_of_wrong_ones(llm: Any) -> None:
    from vllm.sampling_params import StructuredOutputsParams

    only = StructuredOutputsParams(choice=["Paris", "Oslo"])
    _, answer = next(asked(llm, temperature=0.0, structured_outputs=only))
    with pytest.raises(EngineError, match="tokens ruled out"):
        trace_of(answer, Vocabulary(byte_tokenizer()).piece)


def test_what_is_not_marked_is_refused(llm: Any) -> None:
    _, answer = next(asked(llm, temperature=0.0))
    flat = answer.logprobs
    foreign = SimpleNamespace(
        token_ids=[id or 7 for id in flat.token_ids], logprobs=list(flat.logprobs)
    )
    fake = SimpleNamespace(token_ids=answer.token_ids, logprobs=foreign, finish_reason="stop")
    with pytest.raises(EngineError, match="other tokens' log-probabilities") as caught:
        trace_of(fake, bytes)
    assert "ENGINE_ARGUMENTS" in caught.value.hint
    fake.logprobs = None
    with pytest.raises(EngineError, match="no numbers"):
        trace_of(fake, bytes)
    trace = trace_of(answer, Vocabulary(byte_tokenizer()).piece)
    with pytest.raises(InputError, match="no model can have given"):
        replace(trace, log_partition=trace.log_partition - 100)


def test_two_engines_of_a_process_do_not_touch_each_other(llm: Any) -> None:
    """Their samplers, each in a thread, as much at once as they can be; one of them multiplied."""
    from vllm.v1.sample.sampler import Sampler

    samplers, spreads, betas = (Sampler(), Sampler()), (1.0, 5.0), (0.5, 1.0)
    runner = SimpleNamespace(sampler=samplers[0])
    worker = SimpleNamespace(use_v2_model_runner=False, model_runner=runner)
    RowNumbers.energy_guard_multiply(worker, betas[0])  # type: ignore[arg-type]
    torch.manual_seed(0)
    tables = [spread * torch.randn(4, 50_000) for spread in spreads]

    def wrong(at: int) -> int:
        rows, several = tables[at], 0
        expected = (rows * betas[at]).logsumexp(-1)
        for _ in range(60):
            found = samplers[at].gather_logprobs(rows, NUMBERS, rows.argmax(-1)).logprobs
            several += not torch.allclose(found[:, -NUMBERS], expected, atol=1e-3)
        return several

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(wrong, (0, 1))) == [0, 0]
