"""Answers of a session hold the numbers of transformers on the same weights. `make test-vllm`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

vllm = pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")

import torch  # noqa: E402
from tiny_models import VOCABULARY  # noqa: E402

from energy_guard import Guard, load  # noqa: E402
from energy_guard.backends.transformers.processors import processors  # noqa: E402
from energy_guard.backends.vllm import extension  # noqa: E402
from energy_guard.backends.vllm.params import read_at_once  # noqa: E402
from energy_guard.backends.vllm.steering import Steering  # noqa: E402
from energy_guard.energy import RowReducer  # noqa: E402
from energy_guard.errors import EngineBusyError, EngineError, InputError  # noqa: E402
from energy_guard.request import (  # noqa: E402
    CancelToken,
    Finished,
    Grammar,
    JsonSchema,
    Request,
    Sampling,
    Token,
)
from energy_guard.trace import Trace  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # vLLM's own
]

PROMPTS = ("The capital of France is", "thththth", "One", "".join(map(chr, range(40, 126))))
LIMIT = 1e-3
ROOT = str(Path(__file__).parents[3])
REQUESTS = [Request.raw(prompt, max_tokens=12) for prompt in PROMPTS * 3]
SCHEMA = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
PENALTIES = Sampling(repeat_penalty=1.4, presence_penalty=1.0, frequency_penalty=0.5)
CASES: dict[str, dict[str, Any]] = {
    "greedy, twelve at once": {},
    "temperature, top-k, top-p, min-p": {"sampling": Sampling(temperature=1.3, top_k=20)},
    "typical": {"sampling": Sampling(temperature=0.7, top_k=0, typical_p=0.6)},
    "penalties": {"sampling": PENALTIES},
    "bias and ban": {"sampling": Sampling(logit_bias={65: 40.0, 66: -float("inf")})},
    "stop string": {"stop": ("A", "e", "\x7f")},
    "grammar": {"constraint": Grammar('root ::= "Paris" | "Oslo, in winter"')},
    "schema": {"constraint": JsonSchema(SCHEMA)},
    "grammar, drawn": {
        "constraint": Grammar("root ::= [a-z]+"), "sampling": Sampling(temperature=2.0),
    },
    "inverse temperature": {"inverse_temperature": 0.5},
}  # fmt: skip


@pytest.fixture(scope="module")
def around(llm: Any) -> Any:
    return load(llm)


def traces(events: Any) -> dict[int, Trace]:
    return {event.sequence: event.trace for event in events if isinstance(event, Finished)}


def difference(model: Any, request: Request, trace: Trace, *, shift: int = 0) -> float:
    """By how much a trace is off; shift: read the row so many places away, which is wrong."""
    prompt = [*byte_ids(request)]
    ids = [*prompt, *trace.ids.tolist()]
    with torch.no_grad():
        rows = model(torch.tensor([ids])).logits[0].double().numpy()
    rows = rows * request.inverse_temperature
    reducer = RowReducer(VOCABULARY, np.float64)
    most = 0.0
    for t in range(len(trace.log_partition)):
        row = rows[len(prompt) - 1 + t + shift]
        expected, found = reducer.reduce(row), (trace.log_partition[t], trace.row_mean[t])
        most = max(most, *(abs(e - f) for e, f in zip(expected[:2], found, strict=True)))
        if t < len(trace):
            found = (trace.token_logit[t], trace.entropy[t], trace.margin[t])
            logit = reducer.token_logit(row, trace.ids[t])
            most = max(most, *np.abs(np.subtract((logit, *expected[2:]), found)))
    return most


def byte_ids(request: Request) -> Iterator[int]:
    """The prompt as the tokenizer of the tests reads it: a token a byte, and one for "th"."""
    text = request.text or ""
    at = 0
    while at < len(text):
        yield 256 if text[at : at + 2] == "th" else ord(text[at])
        at += 2 if text[at : at + 2] == "th" else 1


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_transformers(around: Any, model: Any, case: str) -> None:
    requests = [replace(request, **CASES[case]) for request in REQUESTS]
    found = traces(around.generate(requests))
    assert sorted(found) == [*range(len(requests))]
    with_next = 0
    for number, trace in found.items():
        assert difference(model, requests[number], trace) < LIMIT
        if len(trace) > 1:
            assert difference(model, requests[number], trace, shift=-1) > 0.1, "unnoticed"
        with_next += len(trace.log_partition) > len(trace)
        if trace.finish_reason != "eos":
            assert len(trace.log_partition) == len(trace) + 1, "the row after the last token"
    assert with_next or case == "grammar"


@pytest.mark.parametrize("fast", [True, False])
def test_replays_are_those_of_transformers(around: Any, model: Any, fast: bool) -> None:
    answers = [[*b"Paris. It is"], [*b"th"], [259, 65, 259, 7], [*range(100, 140)]]
    requests = [replace(REQUESTS[i], alternatives=2) for i in range(len(answers))]
    with around.session() as session:
        found = traces(session.replay(list(zip(requests, answers, strict=True)), fast=fast))
    for number, answer in enumerate(answers):
        trace = found[number]
        assert trace.ids.tolist() == answer, "an end token in the middle ends nothing"
        assert difference(model, requests[number], trace) < LIMIT
        assert difference(model, requests[number], trace, shift=-1) > 0.1
        assert trace.extras["likeliest_ids"].shape == (len(answer), 2)
        assert len(trace.log_partition) == len(answer) + (259 not in answer)


def test_grammars_are_followed(around: Any) -> None:
    constraint = Grammar('root ::= "Paris" | "Oslo, in winter"')
    found = traces(around.generate([replace(r, constraint=constraint) for r in REQUESTS[:4]]))
    assert {trace.text for trace in found.values()} <= {"Paris", "Oslo, in win"}
    with pytest.raises(InputError, match="grammar cannot be used"):
        next(around.generate([replace(REQUESTS[0], constraint=Grammar("root ::= x"))]))


def test_a_row_one_place_off_is_refused_at_the_start(
    llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted in the worker, which is this process: the numbers of the row before."""
    before: list[Any] = []
    right = extension._numbers_of

    def late(rows: Any) -> Any:
        before.append(right(rows))
        return before[max(0, len(before) - 2)][:1].expand(len(rows), -1)

    monkeypatch.setattr(extension, "_numbers_of", late)
    with pytest.raises(EngineError, match="the numbers of a row are"):
        load(llm)


def test_either_of_two_tokens_that_tie_is_right_and_a_less_likely_one_is_not(
    llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted in all rows of the worker, behind its choice: token 0 is as likely, or likelier."""
    above, right = 0.0, extension.with_numbers

    def planted(rows: Any, *others: Any) -> Any:
        rows = rows.clone()
        rows[:, 0] = rows.amax(-1) + above
        return right(rows, *others)

    monkeypatch.setattr(extension, "with_numbers", planted)
    load(llm)
    above = 0.01
    with pytest.raises(EngineError, match="its row's likeliest token"):
        load(llm)


def test_sampling_settings_are_those_of_the_other_engines() -> None:
    """What is left to draw from, and how likely each token of it is, for rows of a batch."""
    settings = [
        Sampling(),
        PENALTIES,
        Sampling(temperature=0.7),
        Sampling(temperature=1.5, top_k=0, top_p=0.8, min_p=0.0),
        Sampling(temperature=0.7, top_k=5, typical_p=0.5),
        Sampling(temperature=2.0, top_k=-1, top_p=1.0, min_p=0.3, logit_bias={3: 5.0}),
        replace(PENALTIES, temperature=0.7, logit_bias={9: -float("inf")}),
    ]
    written = [[*range(i, i + 20)] for i in range(len(settings))]
    torch.manual_seed(0)
    rows = 3 * torch.randn(len(settings), 300)
    steering = Steering(None, torch.device("cpu"), False)
    steering.update_state(
        vllm.v1.sample.logits_processor.BatchUpdate(
            batch_size=len(settings), removed=[], moved=[],
            added=[
                (i, vllm.SamplingParams(**asked(one)), None, written[i])
                for i, one in enumerate(settings)
            ],
        )
    )  # fmt: skip
    found = steering.apply(rows.clone())
    for i, one in enumerate(settings):
        expected = rows[i : i + 1]
        chain = processors([one], 0)
        for link in chain[:-2] if one.temperature else chain:  # temperature and draw are vLLM's
            expected = link(torch.tensor([written[i]]), expected)
        torch.testing.assert_close(found[i], expected[0])


def asked(sampling: Sampling) -> dict[str, Any]:
    from energy_guard.backends.vllm.params import written_by

    request = Request.raw("x", sampling=sampling)
    return written_by(request, 4, ends=[], size=300, grammar="", alternatives=0)


def test_a_batch_says_what_each_says_alone(around: Any) -> None:
    together = traces(around.generate(REQUESTS[:4]))
    for number, request in enumerate(REQUESTS[:4]):
        (alone,) = traces(around.generate([request])).values()
        assert alone.ids.tolist() == together[number].ids.tolist()
        np.testing.assert_allclose(alone.log_partition, together[number].log_partition, atol=LIMIT)


def test_one_of_a_batch_is_cancelled_and_closing_leaves_nothing(around: Any) -> None:
    cancel = CancelToken()
    whole = traces(around.generate(REQUESTS[:3]))
    heard, events = 0, around.generate([replace(REQUESTS[0], cancel=cancel), *REQUESTS[1:3]])
    found = {}
    for event in events:
        heard += isinstance(event, Token) and event.sequence == 0
        if heard == 3:
            cancel.cancel("stopped")
        found |= traces([event])
    assert (found[0].finish_reason, len(found[0])) == ("stopped", 3)
    assert [found[i].ids.tolist() for i in (1, 2)] == [whole[i].ids.tolist() for i in (1, 2)]
    events = around.generate(REQUESTS)
    next(events)
    assert around.engine.has_unfinished_requests()
    events.close()
    assert not around.engine.has_unfinished_requests()


def test_waves_are_vllms_batches(around: Any) -> None:
    guard = Guard(around, locator="whole")
    alone = [guard.ask(request).trace for request in REQUESTS[:6]]
    together = [result.trace for result in guard.ask_many(REQUESTS[:6], at_once=6)]
    for one, other in zip(alone, together, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        np.testing.assert_allclose(one.nll, other.nll, atol=LIMIT)


def test_requests_of_somebody_else_are_left_alone(around: Any) -> None:
    around.engine.add_request("mine", {"prompt_token_ids": [65]}, vllm.SamplingParams(max_tokens=2))
    with pytest.raises(EngineBusyError, match="not asked here"):
        next(around.generate(REQUESTS[:1]))
    outputs = []
    while around.engine.has_unfinished_requests():
        outputs += around.engine.step()
    assert outputs[-1].request_id == "mine" and outputs[-1].finished
    assert len(traces(around.generate(REQUESTS[:1]))) == 1


def test_a_request_that_somebody_else_drops_is_an_error_and_no_endless_wait(around: Any) -> None:
    def drop() -> bool:
        around.engine.abort_request(list(around.engine.output_processor.request_states), True)
        return False

    events = around.generate(REQUESTS[:2])
    next(events)
    drop()
    with pytest.raises(EngineError, match="somebody else has dropped"):
        list(events)
    with around.session() as session, pytest.raises(EngineError, match="somebody else has dropped"):
        session.engine.answer_of([65], read_at_once(0), drop)
    assert len(traces(around.generate(REQUESTS[:1]))) == 1


def test_a_long_prompt_is_given_up_between_its_parts(around: Any) -> None:
    """It is read in parts of 32 tokens: without a look between them it would be read whole."""
    cancel, parts = CancelToken(), 0
    right = around.engine.step

    def counted() -> Any:
        nonlocal parts
        parts += 1
        cancel.cancel("cancelled")
        return right()

    around.engine.step = counted
    try:
        request = Request.raw("x", cancel=cancel)
        with around.session() as session:
            found = traces(session.replay([(request, [*range(32, 127)] * 2)], fast=True))
    finally:
        around.engine.step = right
    assert (parts, found[0].finish_reason, len(found[0])) == (1, "cancelled", 0)


def test_seeds_need_prompts_that_are_read_whole(around: Any) -> None:
    drawn = replace(REQUESTS[0], sampling=Sampling(temperature=1.0, seed=7))
    with pytest.raises(InputError, match="a seed and its prompt is read in parts"):
        next(around.generate([drawn]))


@pytest.mark.parametrize("fast", [True, False])
def test_what_only_writing_cannot_do_is_no_matter_of_reading(around: Any, fast: bool) -> None:
    for sampling in (Sampling(temperature=1.0, seed=7), Sampling(mirostat_mode=2)):
        request = replace(REQUESTS[0], sampling=sampling)
        with pytest.raises(InputError):
            next(around.generate([request]))
        with around.session() as session:
            found = traces(session.replay([(request, [65, 66])], fast=fast))
        assert found[0].ids.tolist() == [65, 66]


def test_an_engine_in_processes_of_its_own_says_the_same(
    around: Any, folder: Path, small: dict[str, Any]
) -> None:
    """A program, as a second engine in this process would take the first one's state with it."""
    command = [sys.executable, str(Path(__file__).with_name("own_processes.py")), str(folder)]
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [*command, json.dumps(small)],
        capture_output=True, text=True, env=environment, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["fingerprint"] == around.info.fingerprint
    assert said["seeded"][0] == said["seeded"][1] != said["seeded"][2]
    expected = traces(around.generate(REQUESTS[:4]))
    for number, trace in expected.items():
        np.testing.assert_allclose(said["numbers"][number], trace.log_partition, atol=LIMIT)
