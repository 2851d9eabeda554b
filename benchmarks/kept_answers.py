"""Answers of a real model: asked for once, kept in a file, and judged as often as one likes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from energy_guard import Guard
from energy_guard.files import JsonLines
from energy_guard.judge import Judge
from energy_guard.request import Request
from energy_guard.result import Result
from energy_guard.support import with_support
from energy_guard.trace import Trace


def answered(
    guard: Guard, requests: Mapping[str, Request], path: Path
) -> Iterator[tuple[str, Trace]]:
    """Yield each request's key and answer; what the file has not is asked, and added to it.

    Args:
        guard: asks; how it judges makes no difference to the text, as long as it tries once.
        requests: what is asked, by a key that stands for it in the file.
        path: the file of answers.
    """
    file = JsonLines(path)
    file.make()
    kept = {data["key"]: data["trace"] for _, data in file.objects()}
    for key, request in requests.items():
        if key not in kept:
            kept[key] = json.loads(guard.ask(request).trace.to_json())
            file.append({"key": key, "trace": kept[key]})
        yield key, Trace.from_json(json.dumps(kept[key]))


def judged(guard: Guard, judge: Judge, trace: Trace, request: Request) -> Result:
    """Return what a judge makes of an answer that is there already."""
    if wanted := judge.measures_support:
        with guard.backend.session(request) as session:
            trace = with_support(session, request, trace, wanted)
    attempt = judge.assess(trace, request)
    move = judge.final([attempt])
    return judge.conclude([attempt], move, info=guard.backend.info, request=request)
