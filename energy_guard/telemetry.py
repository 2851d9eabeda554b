"""What OpenTelemetry is told of a question: a span by its GenAI conventions, with the verdict.

Nothing is told of what was asked and answered: settings, counts, names and the verdict alone. It
costs nothing unless the program has a tracer provider, and needs no other setting.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final

from energy_guard.backends.base import ModelInfo
from energy_guard.events import Done, GuardEvent
from energy_guard.request import JsonSchema, Request
from energy_guard.result import Result

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Value = bool | int | float | str

_SCOPE: Final = "energy_guard"
_EVALUATION: Final = "gen_ai.evaluation.result"


def verdict_attributes(result: Result) -> dict[str, Value]:
    """Return what the guard says of an answer, as flat names and values, without a word of it.

    A number that there is none of is left out.

    >>> from energy_guard import Guard
    >>> from energy_guard.backends import Scripted
    >>> result = Guard(Scripted.saying([("Par", 0.97), ("is", 0.99)])).ask("Which city?")
    >>> verdict_attributes(result)["energy_guard.verdict"]
    'accept'
    """
    found: dict[str, Value | None] = {
        "verdict": result.verdict,
        "shown": result.shown,
        "p_wrong": result.p_wrong,
        "p_wrong_from": result.p_wrong_from,
        "calibrated": result.calibrated,
        "score": result.score,
        "detector": result.detector,
        "attempts": len(result.attempts),
    }
    return {f"{_SCOPE}.{name}": value for name, value in found.items() if value is not None}


def traced(
    events: Generator[GuardEvent, None, None], request: Request, info: ModelInfo, *, streamed: bool
) -> Generator[GuardEvent, None, None]:
    """Begin the span of a question, and return its events: with the last of them the span ends.

    It is a child of the caller's span, and is never the current one itself: who reads the events
    goes on with a span of its own in between.

    Args:
        events: to their `Done`.
        request: what is asked.
        info: the model that is asked first. All its retries and fallbacks are in the one span.
        streamed: whether somebody hears the text while it is written.
    """
    span = _begun(request, info, streamed)
    return events if span is None else _followed(span, events)


def evaluated(result: Result) -> None:
    """Put the evaluation of an answer that was not asked for here on the caller's span.

    Args:
        result: of an answer that exists already, or that another program's span is about.
    """
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry.trace import get_current_span

        span = get_current_span()
        if span.is_recording():
            span.add_event(_EVALUATION, _evaluation(result))


@contextmanager
def caller_of(headers: Mapping[str, str]) -> Iterator[None]:
    """Make the span that a request names (`traceparent`) the parent of the spans inside.

    Args:
        headers: of HTTP, with names in lower case. If a span of this process is the current one
            already, the program reads them itself.
    """
    if "opentelemetry.trace" not in sys.modules:
        yield
        return
    from opentelemetry import context, propagate
    from opentelemetry.trace import get_current_span

    if get_current_span().get_span_context().is_valid:
        yield
        return
    token = context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        context.detach(token)


def _followed(
    span: Span, events: Generator[GuardEvent, None, None]
) -> Generator[GuardEvent, None, None]:
    with _Ending(span), closing(events):
        for event in events:
            if isinstance(event, Done):
                _conclude(span, event.result)
            yield event


class _Ending:
    """Ends a span; of an error it says only the kind, as its text may quote what was asked."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):  # one who stops listening is none
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _begun(request: Request, info: ModelInfo, streamed: bool) -> Span | None:
    """The span of a question; None if nobody listens."""
    # A provider is set by a program that has imported this: all others are spared the import.
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry.trace import SpanKind, get_tracer

    operation = "chat" if request.mode == "chat" else "text_completion"
    span = get_tracer(_SCOPE).start_span(f"{operation} {info.name}", kind=SpanKind.INTERNAL)
    if not span.is_recording():
        return None
    span.set_attributes(_asked(request, info, operation, streamed))
    return span


def _asked(request: Request, info: ModelInfo, operation: str, streamed: bool) -> dict[str, Value]:
    sampling = request.sampling
    asked: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": info.backend,
        "gen_ai.request.model": info.name,
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.frequency_penalty": sampling.frequency_penalty,
        "gen_ai.request.presence_penalty": sampling.presence_penalty,
    }
    if sampling.top_k > 0:  # else all tokens are kept
        asked["gen_ai.request.top_k"] = sampling.top_k
    if sampling.seed is not None:
        asked["gen_ai.request.seed"] = sampling.seed
    if streamed:
        asked["gen_ai.request.stream"] = True
    if isinstance(request.constraint, JsonSchema):
        asked["gen_ai.output.type"] = "json"
    return asked


def _conclude(span: Span, result: Result) -> None:
    reason = result.trace.finish_reason
    span.set_attributes(
        {
            "gen_ai.response.model": result.model.name,
            "gen_ai.response.finish_reasons": ["stop" if reason == "eos" else reason],
            "gen_ai.usage.input_tokens": result.trace.prompt_tokens,
            "gen_ai.usage.output_tokens": sum(len(each.trace) for each in result.attempts),
            **verdict_attributes(result),
        }
    )
    span.add_event(_EVALUATION, _evaluation(result))


def _evaluation(result: Result) -> dict[str, Value]:
    """The risk that the verdict goes by, in the names of the conventions."""
    value = result.p_wrong if result.policy.on == "p_wrong" else result.score
    told: dict[str, Value] = {
        "gen_ai.evaluation.name": f"{_SCOPE}.{result.policy.on}",
        "gen_ai.evaluation.score.label": result.verdict,
        "gen_ai.evaluation.explanation": result.unquoted_reason,
    }
    return told if value is None else told | {"gen_ai.evaluation.score.value": value}
