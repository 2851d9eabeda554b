"""What replaces the function of vLLM's V2 model runner, in plain PyTorch. `make test-vllm`.

The runner itself needs Triton: `make test-vllm-v2` runs the other tests of this folder on it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

vllm = pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")

import torch  # noqa: E402
from vllm.v1.outputs import LogprobsTensors  # noqa: E402
from vllm.v1.worker.gpu.sample import logprob, prompt_logprob  # noqa: E402
from vllm.v1.worker.gpu.sample.logits_processor import (  # noqa: E402
    LogitsContext,
    LogitsProcRequestState,
)
from vllm.v1.worker.gpu.states import RequestState  # noqa: E402

from energy_guard.backends.vllm import extension, shared_numbers  # noqa: E402
from energy_guard.backends.vllm.columns import NUMBERS  # noqa: E402
from energy_guard.backends.vllm.handshake import check_workers  # noqa: E402
from energy_guard.backends.vllm.params import forced_to, written_by  # noqa: E402
from energy_guard.backends.vllm.second_runner import (  # noqa: E402
    ROWS_AT_ONCE,
    SCORES,
    multiply,
    replace_scores,
)
from energy_guard.backends.vllm.steering import Steering  # noqa: E402
from energy_guard.energy import RowReducer  # noqa: E402
from energy_guard.errors import EngineError  # noqa: E402
from energy_guard.request import Request, Sampling  # noqa: E402

import_module("vllm.v1.worker.cpu.shm")  # as vLLM's worker does on a CPU

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # vLLM's own
]


def numbers_of(row: torch.Tensor) -> tuple[float, ...]:
    return tuple(RowReducer(len(row), np.float64).reduce(row.double().numpy()))


def rows_of(count: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (5 * torch.randn(count, width, generator=torch.Generator().manual_seed(0))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(3, 150_001), (2 * ROWS_AT_ONCE + 1, 260)], ids=str)
def test_numbers_are_those_of_the_row(shape: tuple[int, int], dtype: torch.dtype) -> None:
    count, width = shape
    rows = rows_of(count, width, dtype)
    rows[1, 7] = -torch.inf
    chosen = torch.tensor([0, width - 1] + [5] * (count - 2))
    found = logprob.compute_topk_scores(rows, NUMBERS + 2, chosen, [1, 2, 3], logits_mode=True)
    assert found.logprobs.shape == (count, 1 + 2 + NUMBERS)
    assert found.logprobs.dtype == torch.float32
    assert found.logprob_token_ids.dtype == torch.int64, "vLLM packs them as such"
    assert found.cu_num_generated_tokens == [1, 2, 3]
    for at in range(count):
        ids, values = found.logprob_token_ids[at], found.logprobs[at]
        assert ids[0] == chosen[at] and ids[-NUMBERS:].eq(0).all()
        assert values[:3].tolist() == rows[at, ids[:3]].tolist()
        assert values[1:3].tolist() == rows[at].float().topk(2).values.tolist()
        assert found.selected_token_ranks[at] == (rows[at] >= values[0]).sum()
        if at == 1:
            assert values[-NUMBERS:].isnan().all(), "tokens were ruled out"
            continue
        np.testing.assert_allclose(values[-NUMBERS:], numbers_of(rows[at]), rtol=1e-4, atol=1e-4)
        other = numbers_of(rows[(at + 2) % count])
        assert not np.allclose(values[-NUMBERS:], other, rtol=1e-4, atol=1e-4), "one place off"


def test_what_is_sent_goes_vllms_own_ways() -> None:
    """Copied, joined, and taken apart by request, as its runner and its scheduler do it."""
    rows, chosen = rows_of(4, 300), torch.tensor([3, 1, 4, 1])
    boundaries = torch.tensor([0, 1, 4])
    sent = logprob.compute_topk_scores(rows, NUMBERS, chosen, boundaries, logits_mode=True)
    assert sent.cu_num_generated_tokens is None
    second = sent.to_cpu_nonblocking().tolists().slice_request(1, 3)
    assert second.logprob_token_ids[:, 0].tolist() == [1, 4, 1]
    np.testing.assert_allclose(second.logprobs[2, 1:], numbers_of(rows[3]), atol=1e-4)
    parts = [
        logprob.compute_topk_scores(rows[part], NUMBERS, chosen[part], logits_mode=True)
        for part in (slice(0, 1), slice(1, 4))
    ]
    assert LogprobsTensors.cat(parts).logprobs.equal(sent.logprobs)


def test_rows_of_a_prompt_are_reduced_a_part_at_a_time() -> None:
    """By vLLM's own loop over a long prompt, which hands over a thousand rows."""
    hidden, ids = rows_of(1030, 8), torch.arange(1030) % 300
    head = rows_of(8, 300)
    _, values, _ = prompt_logprob.compute_prompt_logprobs_with_chunking(
        ids, hidden, lambda part: part @ head, NUMBERS, "raw_logits"
    )
    for at in (0, 127, 128, 1023, 1024, 1029):
        row = hidden[at] @ head
        assert values[at, 0] == pytest.approx(row[ids[at]].item(), abs=1e-3)
        np.testing.assert_allclose(values[at, 1:], numbers_of(row), rtol=1e-4, atol=1e-3)


def test_the_servers_numbers_are_those_of_the_logits() -> None:
    rows, chosen = rows_of(3, 300, torch.bfloat16), torch.tensor([0, 299, 5])
    rows[1, 7] = -torch.inf
    ids, values, _ = shared_numbers.of_logits(rows.float(), shared_numbers.ASKED, chosen)
    assert ids.shape == values.shape == (3, 1 + shared_numbers.ASKED)
    listed = rows.float().log_softmax(-1).topk(shared_numbers.LISTED).values
    assert values[:, 1 : 1 + shared_numbers.LISTED].allclose(listed)
    numbers = values[:, -1 - NUMBERS : -1]
    np.testing.assert_allclose(numbers[0], numbers_of(rows[0]), rtol=1e-4, atol=1e-4)
    assert numbers[1].isneginf().all()


def test_the_function_is_ours_wherever_it_is_imported() -> None:
    """In the modules that name it today; each takes it by name, when it is imported."""
    root = Path(vllm.__file__).parent
    named = {
        file.relative_to(root.parent).with_suffix("").as_posix().replace("/", ".")
        for file in root.rglob("*.py")
        if f"import {SCORES}" in (text := file.read_text()) or f"    {SCORES}," in text
    }
    of_runner = {
        "vllm.v1.worker.gpu.sample.sampler",
        "vllm.v1.worker.gpu.sample.prompt_logprob",
        "vllm.v1.worker.gpu.spec_decode.rejection_sampler",
    }
    assert named == of_runner | {"vllm.model_executor.models.diffusion_gemma"}
    ours = vars(logprob)[SCORES]
    assert ours.__module__ == replace_scores.__module__
    assert all(vars(import_module(name))[SCORES] is ours for name in of_runner)


def test_a_function_of_another_signature_is_left_alone_and_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compute_topk_scores(logits: Any, num_logprobs: Any, token_ids: Any) -> str:
        return "vLLM's"

    newer = ModuleType("newer")
    vars(newer)[SCORES] = compute_topk_scores
    monkeypatch.setitem(sys.modules, "newer", newer)
    found = replace_scores(newer, None, lambda *_: True, lambda *_: None)  # type: ignore[arg-type]
    assert vars(newer)[SCORES] is compute_topk_scores
    monkeypatch.setattr(extension._here, "second", found)
    runner = SimpleNamespace(use_v2_model_runner=True, device=torch.device("cpu"))
    state = extension.RowNumbers.energy_guard_state(runner)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=r"compute_topk_scores\(logits, num_logprobs, token_ids"):
        check_workers([state])


def test_a_batch_with_scores_of_named_tokens_stays_vllms(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute_topk_scores(
        logits: Any, num_logprobs: Any, sampled_token_ids: Any, cu_num_logits: Any = None,
        logprob_token_ids_state: Any = None, expanded_idx_mapping: Any = None,
        max_per_req_token_ids: int = 0, logits_mode: bool = False,
    ) -> Any:  # fmt: skip
        return "vLLM's", num_logprobs, max_per_req_token_ids, logits_mode

    known = ModuleType("known")
    vars(known)[SCORES] = compute_topk_scores
    monkeypatch.setitem(sys.modules, "known", known)
    wanted = lambda count, logits: logits and count >= NUMBERS  # noqa: E731
    assert replace_scores(known, tuple, wanted, lambda *_: None) == ""  # type: ignore[arg-type]
    replaced = vars(known)[SCORES]
    assert replaced is not compute_topk_scores
    rows, chosen = rows_of(1, 300), torch.tensor([1])
    for count, named, logits_mode in ((4, 2, True), (3, 0, True), (4, 0, False)):
        found = replaced(rows, count, chosen, None, "state", None, named, logits_mode)
        assert found == ("vLLM's", count, named, logits_mode)


class Runner:
    """As a V2 runner does, which gathers its rows in this method."""

    def sample_tokens(self, rows: torch.Tensor) -> float:
        found = logprob.compute_topk_scores(rows, NUMBERS, rows.argmax(-1), logits_mode=True)
        return float(found.logprobs[0, 1])


def test_the_rows_of_one_runner_are_multiplied_and_no_others() -> None:
    one, other, rows = Runner(), Runner(), rows_of(1, 300)
    worker: Any = SimpleNamespace(use_v2_model_runner=True, model_runner=one)
    extension.RowNumbers.energy_guard_multiply(worker, 0.5)
    assert one.sample_tokens(rows) == pytest.approx((rows / 2).logsumexp(-1).item(), abs=1e-4)
    assert other.sample_tokens(rows) == pytest.approx(rows.logsumexp(-1).item(), abs=1e-4)
    multiply(one, 0.25)
    assert one.sample_tokens(rows) == pytest.approx((rows / 4).logsumexp(-1).item(), abs=1e-4)
    multiply(one, 1.0)
    assert one.sample_tokens(rows) == other.sample_tokens(rows)


def test_answers_are_steered_as_in_the_other_runner() -> None:
    """Requests keep their places in vLLM's table, and are in another order in a batch."""
    samplings = [
        Sampling(),
        Sampling(repeat_penalty=1.4, presence_penalty=1.0, temperature=0.7),
        Sampling(temperature=0.7, top_k=5, typical_p=0.5),
        Sampling(logit_bias={3: 5.0, 9: -float("inf")}),
    ]
    asked = [
        written_by(Request.raw("x", sampling=one), 4, ends=[], size=300, grammar="", alternatives=0)
        for one in samplings
    ]
    params = [vllm.SamplingParams(**each) for each in [*asked, forced_to([7, 8, 9], 0), {}]]
    states = RequestState(
        max_num_reqs=8, max_model_len=64, max_num_batched_tokens=64, num_speculative_steps=0,
        vocab_size=300, device=torch.device("cpu"),
    )  # fmt: skip
    table = LogitsProcRequestState.from_request_state(states)
    places, prompt = [6, 0, 3, 1, 7, 2], 3
    second, first = Steering(None, table), Steering(None, torch.device("cpu"), False)
    changed = [second.add_request(place, one) for place, one in zip(places, params, strict=True)]
    assert changed == [False, True, True, True, True, False]
    written: list[list[int]] = [[] for _ in params]
    first.update_state(
        vllm.v1.sample.logits_processor.BatchUpdate(
            batch_size=len(params), removed=[], moved=[],
            added=[(i, one, None, written[i]) for i, one in enumerate(params)],
        )
    )  # fmt: skip
    states.prompt_len.np[:] = prompt
    for step in range(3):
        rows = rows_of(len(params), 300) + step
        at = torch.tensor(places)
        context = LogitsContext(
            expanded_idx_mapping=at, idx_mapping=at, idx_mapping_np=np.array(places),
            expanded_local_pos=torch.zeros_like(at), input_ids=at, pos=at,
            seq_lens_upper_bound_np=np.array(places),
        )  # fmt: skip
        found = second.apply(rows.clone(), context)
        expected = first.apply(rows.clone())
        torch.testing.assert_close(found, expected)
        assert found[4].argmax() == 7 + step, "the next one that is forced"
        assert found[5].equal(rows[5]), "somebody else's"
        for i, place in enumerate(places):
            token = int(expected[i].argmax())
            written[i].append(token)
            states.all_token_ids.gpu[place, prompt + step] = token
        states.total_len.gpu[:] = prompt + step + 1
    second.add_request(7, vllm.SamplingParams())
    assert second.apply(rows.clone(), context)[4].equal(rows[4]), "its place has gone to another"
