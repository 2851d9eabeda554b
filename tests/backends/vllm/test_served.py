"""vLLM's own server with our numbers, and the backend `remote`, held against transformers.

Needs an environment of its own: `make test-vllm`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")

import torch
from backend_contract import finished
from openai import AuthenticationError, BadRequestError, OpenAI
from tiny_models import VOCABULARY, byte_tokenizer, tiny_model

from energy_guard import Guard, Policy, load
from energy_guard.backends.remote import RemoteServer
from energy_guard.energy import RowReducer
from energy_guard.errors import ConfigError
from energy_guard.policy import EarlyStop
from energy_guard.request import Request, Sampling
from energy_guard.trace import SIGNALS, Trace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]
KEY = "of-this-test"
OPTIONS = [
    *("--dtype", "float32", "--enforce-eager", "--kv-cache-memory-bytes", str(64 * 2**20)),
    *("--max-model-len", "256", "--max-num-batched-tokens", "32", "--max-num-seqs", "8"),
    *("--served-model-name", "tiny", "--host", "127.0.0.1", "--api-key", KEY),
]
# Triton's interpreter does not run vLLM's own kernel for top-p.
TOP_P = 1.0 if "TRITON_INTERPRET" in os.environ else 0.99
SAMPLED = Sampling(temperature=1.5, top_k=0, top_p=TOP_P, min_p=0.0, repeat_penalty=1.3)
REQUESTS = {
    "chat": Request.chat("What is the capital of France?", max_tokens=12),
    "raw": Request.raw("The capital of France is", max_tokens=12),
    "ids": Request(ids=tuple(range(40, 140)), max_tokens=6),
    "sampled": Request.raw("thththth", max_tokens=60, sampling=SAMPLED),
}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("llama", head_dim=64)


@pytest.fixture(scope="module")
def url(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "energy_guard.backends.vllm.serve", "--model", str(folder)]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "VLLM_CPU_CI_ENV": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    log = folder / "log"
    with log.open("w") as told:
        server = subprocess.Popen(
            [*command, *OPTIONS, "--port", str(port)], env=environment, stdout=told, stderr=told
        )
        try:
            _wait_for(server, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(60)


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, log.read_text()[-4000:]
        time.sleep(1)
    pytest.fail(log.read_text()[-4000:])


@pytest.fixture(scope="module")
def backend(url: str) -> RemoteServer:
    return load(url, api_key=KEY)  # type: ignore[return-value]


def prompt_of(request: Request) -> list[int]:
    if request.ids is not None:
        return list(request.ids)
    if request.text is not None:
        return list(byte_tokenizer()(request.text).input_ids)
    turns = [{"role": turn.role, "content": turn.content} for turn in request.turns()]
    text = byte_tokenizer().apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return list(byte_tokenizer()(text).input_ids)


def rows_of(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()


def difference(model: Any, request: Request, trace: Trace, *, shift: int = 0) -> float:
    """By how much a trace is off; shift: read the rows so many places away, which is wrong."""
    prompt = prompt_of(request)
    rows = rows_of(model, [*prompt, *trace.ids.tolist()])[len(prompt) - 1 :]
    reducer = RowReducer(VOCABULARY, np.float64)
    reduced = [reducer.reduce(row) for row in rows]
    places = range(max(0, -shift), min(len(trace), len(trace) - shift))
    expected = [(rows[t + shift][trace.ids[t]], *reduced[t + shift]) for t in places]
    found = np.stack(
        [
            trace.token_logit,
            *(trace.log_partition[: len(trace)], trace.row_mean[: len(trace)]),
            *(trace.entropy, trace.margin),
        ]
    ).T
    off = np.abs(found[[*places]] - np.array(expected)).max()
    if len(trace.log_partition) > len(trace):
        last = reduced[len(trace) + shift] if shift <= 0 else reduced[-1]
        off = max(off, abs(trace.log_partition[-1] - last.log_partition))
    return float(off)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("steps", [True, False], ids=["stream", "whole"])
def test_all_numbers_are_those_of_the_raw_rows(
    backend: RemoteServer, model: Any, name: str, steps: bool
) -> None:
    request = REQUESTS[name]
    with backend.session() as session:
        trace = finished(session.generate([request], steps=steps))
    assert difference(model, request, trace) < 1e-3
    assert difference(model, request, trace, shift=-1) > 0.1, "it would not be noticed"
    whole = trace.finish_reason == "eos" or len(trace.log_partition) == len(trace) + 1
    assert whole and trace.prompt_tokens == len(prompt_of(request))
    assert b"".join(trace.pieces) == b"".join(map(piece, trace.ids.tolist()))


def piece(token: int) -> bytes:
    return bytes([token]) if token < 256 else b"th" if token == 256 else b""


def test_a_stop_string_ends_the_answer_and_leaves_the_row_after_it(
    backend: RemoteServer, model: Any
) -> None:
    request = REQUESTS["raw"]
    trace = finished(backend.generate([request]))
    at = next(t for t, piece in enumerate(trace.pieces) if t and piece.isascii())
    stopped = Request.raw(request.text or "", max_tokens=12, stop=(trace.pieces[at].decode(),))
    again = finished(backend.generate([stopped]))
    assert (again.finish_reason, len(again)) == ("stop", at + 1)
    assert again.log_partition == pytest.approx(trace.log_partition[: at + 2], abs=1e-4)


@pytest.mark.parametrize("name", ["chat", "raw", "ids"])
def test_an_answer_that_exists_has_the_numbers_that_it_had(
    backend: RemoteServer, name: str
) -> None:
    request = REQUESTS[name]
    live = finished(backend.generate([request]))
    again = finished(backend.replay(request, live.ids.tolist()))
    for signal in SIGNALS:
        np.testing.assert_allclose(again.signal(signal), live.signal(signal), rtol=0, atol=1e-3)
    assert (again.prompt_tokens, again.pieces) == (live.prompt_tokens, live.pieces)


def test_an_answer_is_scored_from_its_text(backend: RemoteServer, model: Any) -> None:
    request = Request.chat("Where is the Eiffel Tower?")
    trace = finished(backend.replay(request, "In Paris, près de là."))
    assert trace.text == "In Paris, près de là."
    assert difference(model, request, trace) < 1e-3
    policy = Policy(detector="spilled_energy:max", abstain=0.0)
    result = Guard(backend, policy).score(request, "In Paris.")
    assert result.verdict == "abstain" and np.isfinite(result.score or np.nan)


def test_other_clients_see_what_they_would_see_without_it(
    backend: RemoteServer, url: str, model: Any
) -> None:
    """Answers of both kinds are written in one batch."""
    client = OpenAI(base_url=url, api_key=KEY, max_retries=0)
    request = Request.raw("The capital of France is", max_tokens=24)

    def watched(_: int) -> Trace:
        return finished(load(url, api_key=KEY).generate([request]))

    def plain(_: int) -> Any:
        (choice,) = client.completions.create(
            model="tiny", prompt=request.text or "", max_tokens=24, temperature=0, logprobs=5,
            extra_body={"return_tokens_as_token_ids": True},
        ).choices  # fmt: skip
        return choice.logprobs

    with ThreadPoolExecutor(8) as pool:
        ours = pool.map(watched, range(4))
        theirs = list(pool.map(plain, range(4)))
    prompt = prompt_of(request)
    traces = list(ours)
    ids = traces[0].ids.tolist()
    rows = torch.tensor(rows_of(model, [*prompt, *ids])[len(prompt) - 1 : -1]).log_softmax(-1)
    assert all(difference(model, request, trace) < 1e-3 for trace in traces)
    for logprobs in theirs:
        assert logprobs.tokens == [f"token_id:{token}" for token in ids]
        best, at = rows.topk(5)
        for t, top in enumerate(logprobs.top_logprobs):
            assert list(top) == [f"token_id:{token}" for token in at[t].tolist()]
            assert list(top.values()) == pytest.approx(best[t].tolist(), abs=1e-3)


@pytest.mark.parametrize(
    "asked",
    [
        {"logprobs": 21},
        {"logprobs": "24"},
        {"logprobs": 25},
        {"prompt_logprobs": 25},
        {"use_beam_search": True, "n": 11},
        {"logprobs": 24, "energy_guard": True},
    ],
    ids=str,
)
def test_nobody_else_gets_our_numbers(url: str, asked: dict[str, Any]) -> None:
    client = OpenAI(base_url=url, api_key=KEY, max_retries=0)
    with pytest.raises(BadRequestError, match="greater than max allowed: 20") as caught:
        client.completions.create(model="tiny", prompt="a", max_tokens=1, extra_body=asked)
    assert caught.value.body["code"] == 400  # type: ignore[index]  # vLLM's own kind


def test_the_key_is_asked_for_before_a_body_is_looked_at(url: str) -> None:
    with pytest.raises(AuthenticationError):
        OpenAI(base_url=url, api_key="another", max_retries=0).completions.create(
            model="tiny", prompt="a", max_tokens=1, logprobs=25
        )


@pytest.mark.skipif(
    "TRITON_INTERPRET" in os.environ, reason="Triton's interpreter does not run vLLM's own grammars"
)
def test_rows_with_tokens_ruled_out_have_no_numbers(url: str) -> None:
    client = OpenAI(base_url=url, api_key=KEY, max_retries=0)
    asked = {"structured_outputs": {"choice": ["Paris", "Oslo"]}, "energy_guard": True}
    (choice,) = client.completions.create(
        model="tiny", prompt="a", max_tokens=1, logprobs=25,
        extra_body=asked | {"return_tokens_as_token_ids": True},
    ).choices  # fmt: skip
    assert list(choice.logprobs.top_logprobs[0].values())[-4:] == [-9999.0] * 4


def test_an_early_stop_leaves_the_server_as_it_was(backend: RemoteServer) -> None:
    policy = Policy(
        detector="spilled_energy:max", early_stop=EarlyStop(window=2, risk=0.0), abstain=99.0
    )
    result = Guard(backend, policy).ask(Request.chat("Why?", max_tokens=100))
    assert result.trace.finish_reason == "stopped" and len(result.trace) < 10
    assert len(finished(backend.generate([REQUESTS["raw"]]))) == 12


def test_the_vocabulary_is_told_to_who_has_the_key(url: str) -> None:
    with pytest.raises(ConfigError, match="401"):
        load(url, api_key="another", served_model="tiny")
    import httpx2

    assert httpx2.get(f"{url}/energy_guard").status_code == 401
