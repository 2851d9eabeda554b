"""Nobody else gets our numbers by a form either. `make test-vllm`."""

from __future__ import annotations

from typing import Annotated

import pytest

pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")

from fastapi import FastAPI, Form
from fastapi.testclient import TestClient
from vllm.entrypoints.speech_to_text.transcription.protocol import (
    TranscriptionRequest,
)

from energy_guard.backends.vllm.limit import KeepsNumbersApart

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # vLLM's own
]


@pytest.mark.parametrize(("beams", "status"), [("10", 200), ("11", 400), ("12", 400)])
def test_a_beam_search_in_a_form_has_the_limit_of_all(beams: str, status: int) -> None:
    """As a transcription has it, read by vLLM's own class of its requests."""
    app = FastAPI()

    @app.post("/v1/audio/transcriptions")
    async def transcribe(request: Annotated[TranscriptionRequest, Form()]) -> int:
        heard = await request.file.read()
        return request.to_beam_search_params(9).beam_width + len(heard)

    app.add_middleware(KeepsNumbersApart)
    answer = TestClient(app).post(
        "/v1/audio/transcriptions",
        data={"n": ["1", beams], "use_beam_search": "true"},  # of two, the last one counts
        files={"file": b"\x00" * 300_000},
    )
    assert answer.status_code == status
    assert answer.json() == 300_010 or "greater than max allowed: 20" in answer.text
