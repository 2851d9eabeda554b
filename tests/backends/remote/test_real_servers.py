"""The embedded model behind two real servers: the numbers are those that it has here."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_contract import finished
from langchain_energy_guard import ChatEnergyGuard
from served import LAX, Served, served
from typer.testing import CliRunner

from energy_guard import Guard, Policy, load
from energy_guard.backends import Backend
from energy_guard.backends.demo_model import demo_path
from energy_guard.backends.remote import RemoteServer
from energy_guard.cli.app import app
from energy_guard.errors import EngineError, InputError
from energy_guard.policy import EarlyStop
from energy_guard.request import Finished, Request, Sampling
from energy_guard.trace import Trace

pytestmark = pytest.mark.model

QUESTION = "What is the capital of France?"
REQUESTS = [
    Request.chat(QUESTION, max_tokens=24),
    Request.chat("Say hello in Chinese.", max_tokens=24),
    Request.raw("The capital of France is", max_tokens=12),
    Request.raw("One, two, three,", max_tokens=24, stop=("six",)),
]


@pytest.fixture(scope="module")
def server(demo: Backend) -> Iterator[Served]:
    with served(Guard(demo, LAX)) as running:
        yield running


@pytest.fixture(scope="module")
def remote(server: Served) -> RemoteServer:
    return load(f"{server.url}/v1")  # type: ignore[return-value]


def answers(backend: Backend, request: Request, *, steps: bool) -> Trace:
    with backend.session() as session:
        return finished(session.generate([request], steps=steps))


def assert_same_numbers(theirs: Trace, ours: Trace, atol: float = 1e-4) -> None:
    count = theirs.content_end
    assert count > 0 and theirs.text == ours.text
    assert theirs.pieces[:count] == ours.pieces[:count]
    np.testing.assert_allclose(theirs.nll[:count], ours.nll[:count], atol=atol)
    np.testing.assert_allclose(theirs.margin[:count], ours.margin[:count], atol=atol)
    entropy, share = (theirs.extras[name][:count] for name in ("top_entropy", "top_share"))
    assert (entropy <= ours.entropy[:count] + atol).all()
    assert (entropy[share > 0.9999] > ours.entropy[:count][share > 0.9999] - 1e-2).all()
    assert ((share > 0.2) & (share < 1 + atol)).all()


class TestOurOwnServer:
    @pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.question)
    @pytest.mark.parametrize("steps", [True, False], ids=["stream", "whole"])
    def test_numbers_are_those_of_the_model_here(
        self, remote: RemoteServer, demo: Backend, request_: Request, steps: bool
    ) -> None:
        theirs = answers(remote, request_, steps=steps)
        ours = answers(demo, request_, steps=steps)
        assert_same_numbers(theirs, ours)
        assert theirs.finish_reason == ours.finish_reason

    def test_sampling_and_seed_are_handed_on(self, remote: RemoteServer, demo: Backend) -> None:
        sampling = Sampling(temperature=1.0, seed=5, top_k=10, repeat_penalty=1.2)
        asked = Request.chat(QUESTION, max_tokens=16, sampling=sampling)
        assert_same_numbers(answers(remote, asked, steps=False), answers(demo, asked, steps=False))

    def test_the_default_guard_scores_alike(self, remote: RemoteServer, demo: Backend) -> None:
        asked = Request.chat("What is the capital of Italy?", max_tokens=16)
        theirs, ours = Guard(remote).ask(asked), Guard(demo, profile=None).ask(asked)
        assert theirs.score == pytest.approx(ours.score, abs=1e-4)
        assert (theirs.verdict, theirs.text, theirs.span) == (ours.verdict, ours.text, ours.span)

    def test_an_early_stop_ends_the_stream(self, remote: RemoteServer) -> None:
        rule = EarlyStop(window=2, risk=0.0)
        policy = Policy(detector="nll:max", early_stop=rule, abstain=9.0)
        result = Guard(remote, policy).ask(Request.chat(QUESTION, max_tokens=200))
        assert result.trace.finish_reason == "stopped"
        assert (result.verdict, len(result.trace) < 10) == ("abstain", True)

    def test_an_answer_that_the_server_withholds_is_none(self, demo: Backend) -> None:
        strict = Policy(detector="nll:max", abstain=0.0)
        with served(Guard(demo, strict)) as withholding:
            backend = load(f"{withholding.url}/v1")
            with pytest.raises(EngineError, match=r"refuses to answer|another reason"):
                Guard(backend).ask(QUESTION, max_tokens=8)

    def test_langchain_has_it_as_any_other(self, remote: RemoteServer) -> None:
        model = ChatEnergyGuard(guard=Guard(remote, LAX), max_tokens=40)
        question = "What is the capital of Italy?"
        message = model.invoke(question)
        assert message.content
        assert message.response_metadata["energy_guard"]["verdict"] in ("accept", "warn")
        assert "".join(str(chunk.content) for chunk in model.stream(question)) == message.content

    def test_it_can_be_served_again(self, remote: RemoteServer, demo: Backend) -> None:
        ours = answers(demo, Request.chat(QUESTION, max_tokens=12), steps=False)
        with served(Guard(remote, LAX)) as proxy:
            response = proxy.chat(QUESTION, max_tokens=12, logprobs=True, top_logprobs=3)
            told = response.json()
            [choice] = told["choices"]
            assert choice["message"]["content"] == ours.text
            logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
            assert logprobs == pytest.approx(-ours.nll[: len(logprobs)], abs=1e-4)
            assert [len(t["top_logprobs"]) for t in choice["logprobs"]["content"]] == [3] * len(
                logprobs
            )
            assert told["energy_guard"]["model"]["backend"] == "remote"
            scored = proxy.http.post("/v1/score", json={"prompt": "?", "answer": "Paris"})
            assert scored.status_code == 400
            assert "answer that exists already" in scored.json()["error"]["message"]


class TestCommands:
    """In this process; `energy_guard.cli.main` turns an InputError into exit status 2."""

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments))

    def test_ask_takes_an_address(self, server: Served) -> None:
        url = f"{server.url}/v1"
        name = load(url).info.name
        done = self.run(
            *("ask", QUESTION, "--model", url, "--served-model", name, "--max-tokens", "12"),
            *("--json", "--detector", "nll:max"),
        )
        told = json.loads(done.stdout)
        assert done.exit_code in (0, 3) and told["model"]["backend"] == "remote"
        assert all(token["nll"] is not None for token in told["tokens"])
        assert all(token["entropy"] is token["spilled_energy"] is None for token in told["tokens"])
        assert "".join(token["text"] for token in told["tokens"]) == told["answer"]

    def test_a_name_is_for_servers(self) -> None:
        error = self.run("ask", "?", "--served-model", "m").exception
        assert isinstance(error, InputError)
        assert "--served-model is an option of remote" in str(error)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["ask", "?", "--detector", "spilled_energy:max"], "needs spilled_energy"),
            (["score", "--prompt", "?", "--answer", "Paris"], "answer that exists already"),
            (["calibrate"], "--detector nll:max"),
            (["calibrate", "--detector", "entropy:max"], "needs entropy"),
            (["bench"], "bench is for models that run here"),
            (["doctor"], "doctor is for models that run here"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_had_is_refused_before_anything_is_asked(
        self,
        server: Served,
        arguments: list[str],
        says: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        answered = server.service.metrics.text()
        error = self.run(*arguments, "--model", f"{server.url}/v1").exception
        assert isinstance(error, InputError) and says in str(error)
        now = server.service.metrics.text()
        asked, still = (
            [line for line in text.splitlines() if b"tokens" in line] for text in (answered, now)
        )
        assert asked and still == asked


@pytest.fixture(scope="module")
def llama_cpp_server() -> Iterator[RemoteServer]:
    """llama-cpp-python's own: its packages are not among the project's, so it may be missing."""
    for package in ("fastapi", "sse_starlette", "starlette_context", "pydantic_settings"):
        pytest.importorskip(package)
    import uvicorn
    from llama_cpp.server.app import create_app
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    settings = ModelSettings(
        model=str(demo_path()),
        model_alias="demo",
        n_ctx=512,
        n_threads=1,
        n_threads_batch=1,
        logits_all=True,
        verbose=False,
    )
    program = create_app(server_settings=ServerSettings(), model_settings=[settings])
    running = uvicorn.Server(uvicorn.Config(program, "127.0.0.1", 0, log_level="critical"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        assert thread.is_alive()
        time.sleep(0.05)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield load(f"http://127.0.0.1:{port}/v1", served_model="demo")  # type: ignore[misc]
    running.should_exit = True
    thread.join(30)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # streams of its own
class TestLlamaCppServer:
    @pytest.mark.slow
    @pytest.mark.parametrize("steps", [True, False], ids=["stream", "whole"])
    @pytest.mark.parametrize("question", ["Where is Rome?", "Who was Darwin?"])
    def test_numbers_are_those_of_the_model_here(
        self, llama_cpp_server: RemoteServer, demo: Any, question: str, steps: bool
    ) -> None:
        """A prompt that begins as the one before is read in other batches: each is new here."""
        asked = Request.chat(f"{question} {'Stream' if steps else 'Whole'}!", max_tokens=12)
        theirs = answers(llama_cpp_server, asked, steps=steps)
        demo.engine.reset()
        [ours] = [e.trace for e in demo.generate([asked]) if isinstance(e, Finished)]
        assert_same_numbers(theirs, ours)

    @pytest.mark.slow
    def test_characters_that_it_loses_are_an_error(self, llama_cpp_server: RemoteServer) -> None:
        asked = Request.raw("Emoji: 😺🐶🦊😺🐶🦊😺🐶", max_tokens=9)
        for steps in (True, False):
            with pytest.raises(EngineError, match=r"bytes of tokens|has none of it"):
                answers(llama_cpp_server, asked, steps=steps)
