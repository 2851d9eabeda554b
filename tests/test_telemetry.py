"""A question is one span, with its verdict and without its words."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from spans import events_of, listening, told

from energy_guard import Guard, Policy, Request, Sampling
from energy_guard.backends import Scripted
from energy_guard.errors import EngineError
from energy_guard.request import JsonSchema

MARK = "Qzplk"
SURE = [("Par", 0.97), ("is", 0.99)]
DOUBTFUL = [("It was ", 0.9), (MARK, 0.01), (".", 0.9)]
RULES = Policy(detector="nll:max", warn=1.0, abstain=2.0)
TWICE = RULES.model_copy(update={"retries": 1, "retry": ("feedback",)})


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return listening()


def guard(*answers: Any, policy: Policy = RULES, **settings: Any) -> Guard:
    return Guard(Scripted.saying(*answers), policy, **settings)


def test_a_question_is_a_span_by_the_conventions(spans: InMemorySpanExporter) -> None:
    result = guard(SURE).ask("Which city?", max_tokens=9, sampling=Sampling(seed=3, top_k=0))
    [span] = spans.get_finished_spans()
    assert (span.name, span.kind) == ("chat scripted", SpanKind.INTERNAL)
    assert told(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.top_p": 0.95,
        "gen_ai.request.frequency_penalty": 0.0,
        "gen_ai.request.presence_penalty": 0.0,
        "gen_ai.request.seed": 3,
        "gen_ai.response.model": "scripted",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": result.trace.prompt_tokens,
        "gen_ai.usage.output_tokens": len(result.trace),
        "energy_guard.verdict": "accept",
        "energy_guard.shown": True,
        "energy_guard.calibrated": False,
        "energy_guard.score": result.score,
        "energy_guard.detector": "nll:max",
        "energy_guard.attempts": 1,
    }
    assert span.status.status_code is StatusCode.UNSET


def test_the_verdict_is_an_evaluation_on_the_span(spans: InMemorySpanExporter) -> None:
    result = guard(DOUBTFUL).ask("Who was it?")
    [span] = spans.get_finished_spans()
    assert events_of(span) == [
        (
            "gen_ai.evaluation.result",
            {
                "gen_ai.evaluation.name": "energy_guard.score",
                "gen_ai.evaluation.score.value": result.score,
                "gen_ai.evaluation.score.label": "abstain",
                "gen_ai.evaluation.explanation": result.unquoted_reason,
            },
        )
    ]


WAYS: dict[str, Callable[[Guard], Any]] = {
    "ask": lambda g: g.ask(f"Who? {MARK}"),
    "aask": lambda g: asyncio.run(g.aask(f"Who? {MARK}")),
    "ask_many": lambda g: list(g.ask_many([f"Who? {MARK}"])),
    "stream": lambda g: list(g.stream(f"Who? {MARK}")),
    "astream": lambda g: asyncio.run(_all(g.astream(f"Who? {MARK}"))),
}


async def _all(events: Any) -> list[Any]:
    return [event async for event in events]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_asking_is_one_span_that_quotes_nothing(
    way: str, spans: InMemorySpanExporter
) -> None:
    with trace.get_tracer("test").start_as_current_span("caller") as caller:
        WAYS[way](guard(DOUBTFUL, DOUBTFUL, policy=TWICE))
    [span] = [each for each in spans.get_finished_spans() if each.name != "caller"]
    assert span.parent is not None
    assert span.parent.span_id == caller.get_span_context().span_id
    assert told(span)["energy_guard.verdict"] == "abstain"
    assert told(span)["energy_guard.attempts"] == 2
    assert told(span).get("gen_ai.request.stream", False) is ("stream" in way)
    assert MARK not in span.to_json()


def test_a_fallback_is_in_the_same_span(spans: InMemorySpanExporter) -> None:
    policy = RULES.model_copy(update={"retries": 1, "retry": ("fallback",)})
    guard(DOUBTFUL, policy=policy, fallback=guard(SURE)).ask("Who?")
    [span] = spans.get_finished_spans()
    assert (told(span)["energy_guard.verdict"], told(span)["energy_guard.attempts"]) == (
        "accept",
        2,
    )


def test_a_score_that_is_missing_is_left_out(spans: InMemorySpanExporter) -> None:
    result = guard([("I do not know.", 0.9)], policy=RULES).ask("Who?")
    assert result.score is None
    [span] = spans.get_finished_spans()
    assert "energy_guard.score" not in told(span)
    [(_, evaluation)] = events_of(span)
    assert "gen_ai.evaluation.score.value" not in evaluation
    assert evaluation["gen_ai.evaluation.score.label"] == "unscored"


def test_an_answer_by_a_schema_is_json(spans: InMemorySpanExporter) -> None:
    guard([('{"a": 1}', 0.9)]).ask("Who?", constraint=JsonSchema('{"type": "object"}'))
    [span] = spans.get_finished_spans()
    assert told(span)["gen_ai.output.type"] == "json"


def test_a_text_to_continue_is_no_chat(spans: InMemorySpanExporter) -> None:
    guard(SURE).ask(Request.raw("The city of"))
    [span] = spans.get_finished_spans()
    assert span.name == "text_completion scripted"


def test_an_error_is_told_without_its_text(spans: InMemorySpanExporter) -> None:
    class Broken(Scripted):
        def measure(self, request: Request) -> Any:
            raise EngineError(f"it broke at {MARK}")

    with pytest.raises(EngineError):
        list(Guard(Broken.saying(SURE), RULES).stream("Who?"))
    [span] = spans.get_finished_spans()
    assert told(span)["error.type"] == "EngineError"
    assert span.status.status_code is StatusCode.ERROR
    assert MARK not in span.to_json()


def test_the_span_of_a_stream_ends_with_whoever_listens(spans: InMemorySpanExporter) -> None:
    events = guard(SURE).stream("Who?")
    next(events)
    assert not trace.get_current_span().is_recording()
    assert spans.get_finished_spans() == ()
    events.close()
    [span] = spans.get_finished_spans()
    assert "energy_guard.verdict" not in told(span)
    assert span.status.status_code is StatusCode.UNSET


def test_an_answer_that_exists_is_evaluated_on_the_callers_span(
    spans: InMemorySpanExporter,
) -> None:
    with trace.get_tracer("test").start_as_current_span("another model's call"):
        guard(SURE).score("Who?", "Paris")
    [span] = spans.get_finished_spans()
    [(name, _)] = events_of(span)
    assert name == "gen_ai.evaluation.result"


def test_without_a_program_that_listens_opentelemetry_is_not_even_imported() -> None:
    code = """
import sys
from energy_guard import Guard
from energy_guard.backends import Scripted
assert Guard(Scripted.saying([("Par", 0.97), ("is", 0.99)])).ask("Which city?").shown
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
