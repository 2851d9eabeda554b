"""What a server answers is a span in its caller's trace."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id
from served import LAX, served
from spans import listening, told

from energy_guard import Guard
from energy_guard.backends import Scripted

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
SURE = [("Par", 0.97), ("is", 0.99)]


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return listening()


@pytest.mark.parametrize("stream", [None, "hold", "live"])
def test_the_callers_span_is_the_parent(stream: str | None, spans: InMemorySpanExporter) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Which city?"}]}
    if stream is not None:
        body |= {"stream": True, "energy_guard": {"stream": stream}}
    with served(Guard(Scripted.saying(SURE, SURE), LAX)) as server:
        server.http.post("/v1/chat/completions", json=body, headers=HEADERS)
        server.http.post("/v1/chat/completions", json=body)
    first, second = spans.get_finished_spans()
    assert first.parent is not None
    assert format_trace_id(first.parent.trace_id) == TRACE
    assert format_span_id(first.parent.span_id) == CALLER
    assert told(first)["energy_guard.verdict"] == "accept"
    assert second.parent is None


def test_a_header_that_is_none_begins_a_trace(spans: InMemorySpanExporter) -> None:
    with served(Guard(Scripted.saying(SURE), LAX)) as server:
        body = {"messages": [{"role": "user", "content": "Which city?"}]}
        said = server.http.post(
            "/v1/chat/completions", json=body, headers={b"traceparent": b"00-zz-\xff-01"}
        )
    assert said.status_code == 200
    [span] = spans.get_finished_spans()
    assert span.parent is None
