"""LiteLLM's proxy in front of one model, with a guarded server as its guardrail (`.ci/litellm`)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIError, OpenAI
from served import LAX, eventually, served

from energy_guard import Guard
from energy_guard.backends.llama_cpp import LlamaCpp

pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(900),  # the proxy takes minutes to start, and that counts
    pytest.mark.skipif("LITELLM" not in os.environ, reason="its environment is .ci/litellm's"),
]

KEY = "sk-of-these-tests-alone"
SURE = "What is the capital of France? Answer in one short sentence."
UNSURE = "Who won the 1987 Tour de France? Answer in one short sentence."


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/liveliness").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def client(demo: LlamaCpp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """Asks the proxy. The model shows whatever it says; the guardrail reads it with another."""
    folder: Path = tmp_path_factory.mktemp("litellm")
    port = free_port()
    with served(Guard(demo, LAX)) as model, served(Guard(demo)) as judging:
        guardrail = {
            "guardrail": "generic_guardrail_api",
            "mode": ["pre_call", "post_call"],
            "api_base": judging.url,
            "default_on": True,
            "streaming_end_of_stream_only": True,
        }
        asked = {"model": f"openai/{model.service.name}", "api_base": f"{model.url}/v1"}
        settings = {
            "model_list": [{"model_name": "other", "litellm_params": asked | {"api_key": "none"}}],
            "guardrails": [{"guardrail_name": "energy-guard", "litellm_params": guardrail}],
            "general_settings": {"master_key": KEY},
        }
        (folder / "proxy.yaml").write_text(json.dumps(settings))  # JSON is YAML
        command = [os.environ["LITELLM"], "--config", "proxy.yaml", "--host", "127.0.0.1"]
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with (folder / "proxy.log").open("w") as said:
            proxy = subprocess.Popen(
                [*command, "--port", str(port), "--telemetry", "False"],
                cwd=folder,
                env=own | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
                stdout=said,
                stderr=said,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            started = eventually(lambda: answers(url) or proxy.poll() is not None, 300.0)
            assert started and proxy.poll() is None, (folder / "proxy.log").read_text()
            with OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as asking:
                yield asking
        finally:
            proxy.terminate()
            try:
                proxy.wait(30)
            except subprocess.TimeoutExpired:
                proxy.kill()
                proxy.wait()


def said(client: OpenAI, question: str, *, stream: bool) -> str:
    asked: Any = {"model": "other", "max_tokens": 40, "stream": stream}
    answer: Any = client.chat.completions.create(
        messages=[{"role": "user", "content": question}], **asked
    )
    if not stream:
        return str(answer.choices[0].message.content)
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)


@pytest.mark.parametrize("stream", [False, True])
def test_a_sure_answer_passes(client: OpenAI, stream: bool) -> None:
    assert "Paris" in said(client, SURE, stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_would_be_withheld_is_blocked(client: OpenAI, stream: bool) -> None:
    with pytest.raises(APIError, match="I am not sure enough"):
        said(client, UNSURE, stream=stream)
