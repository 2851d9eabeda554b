"""Calls of tools in an answer's text: where they stand, and the values that they pass.

A call is JSON with a name and arguments, as models write it: between <tool_call> tags, as all of
the answer, or at its end on lines of its own; bare, in a fence, in <tools>, or with a second pair
of braces around it, which some templates show. What stands inside reasoning is not carried out
here; its values count all the same, as programs that read the same text may carry it out.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from energy_guard.locate import Range, Span, span_of
from energy_guard.locate.fields import scan, values
from energy_guard.locate.sentences import FENCE
from energy_guard.reasoning import reasoning
from energy_guard.trace import Trace

_TAGGED: Final = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)


def tagged_calls(trace: Trace) -> list[tuple[Range, Range]]:
    """Return where the tagged calls outside reasoning stand, in characters of the trace's text.

    Returns:
        For each the range with its tags, and that of what is between them. A tag that is not
        closed runs to the end of the text.
    """
    hidden = reasoning(trace.text, trace.reasoning_open)
    return [
        (match.span(), match.span(1))
        for match in _TAGGED.finditer(trace.text)
        if not any(start < match.end() and match.start() < end for start, end in hidden)
    ]


def called_values(trace: Trace, inside: Range | None = None) -> list[Range]:
    """Return where the JSON objects and lists stand that an answer ends with.

    Only fences, <tools> tags, doubled braces and blanks may stand between and after them, and
    each begins a line or follows one of these or another value. The words before leave no bracket
    open: what stands in an object that is not complete is none of its own.

    Args:
        trace: of the answer.
        inside: a part of its text, in which nothing else may stand; all but its reasoning if None,
            with words before.
    """
    text, start, end = trace.text, 0, len(trace.text)
    if inside is not None:
        start, end = inside
    elif items(text):
        return [(0, end)]
    for hidden, stop in reasoning(text, trace.reasoning_open) if inside is None else ():
        text = text[:hidden] + "\n" * (stop - hidden) + text[stop:]
    found: list[Range] = []
    begins = at = _blanks(text, start, end)
    while at < end:
        value = _value(text, at, end)
        if value is not None:
            begins = begins if found else at
            inner, at = value
            found.append(inner)
        elif mark := _MARK.match(text, at, end):
            at = mark.end()
        elif inside is not None:
            return []
        else:  # words: what came before them is no call
            found = []
            line = text.find("\n", at, end)
            at = end if line < 0 else line
        at = _blanks(text, at, end)
    before = text[start:begins]
    open_ = any(before.count(a) > before.count(b) for a, b in ("{}", "[]"))
    return [] if open_ else found


_MARK: Final = re.compile(r"(?:`{3,}|~{3,})[^\n`]*(?:\n|\Z)|</?tools>")
_BLANKS: Final = re.compile(r"\s*")
_DECODER: Final = json.JSONDecoder()


def _blanks(text: str, start: int, end: int) -> int:
    match = _BLANKS.match(text, start, end)
    return match.end() if match else start


def _value(text: str, at: int, end: int) -> tuple[Range, int] | None:
    """Where the JSON object or list stands that begins here, and where what belongs to it ends."""
    if text[at : at + 1] not in ("{", "["):
        return None
    doubled = text.startswith("{{", at)
    first = at + doubled
    try:
        _, last = _DECODER.raw_decode(text, first)
    except (ValueError, RecursionError):
        return None
    after = last
    if doubled:
        after = _blanks(text, last, end)
        if text[after : after + 1] != "}":
            return None
        after += 1
    return ((first, last), after) if after <= end else None


def passed_values(trace: Trace) -> list[Span]:
    """Return every value in every call, names of tools included; none if nothing is called.

    What stands between tags and is no JSON is taken whole: other readers may make a call of it.
    """
    text = trace.text
    tagged = [match.span(1) for match in _TAGGED.finditer(text)]
    places = [place for tags in tagged for place in called_values(trace, tags) or [tags]]
    if not places and '"name"' in text:
        places = [place for place in called_values(trace) if is_call(text[slice(*place)])]
        fenced = [block.span("body") for block in FENCE.finditer(text)]
        places += [
            (start, end)
            for start, end in fenced
            if is_call(text[start:end])
            and not any(at < end and start < stop for at, stop in places)
        ]
    places += [
        (start, end)
        for start, end in _called_in_reasoning(trace)
        if not any(at < end and start < stop for at, stop in places)
    ]
    ranges: list[Range] = []
    for start, end in places:
        nodes = scan(text[start:end])
        inside = [(0, end - start)] if nodes is None else values(nodes)
        ranges += [(start + at, start + stop) for at, stop in inside]
    spans = [span_of(trace, [each], with_reasoning=True) for each in ranges]
    return [span for span in spans if isinstance(span, Span)]


def _called_in_reasoning(trace: Trace) -> list[Range]:
    """Where calls without tags stand inside reasoning: nothing else judges what is said there."""
    found: list[Range] = []
    for start, end in reasoning(trace.text, trace.reasoning_open):
        marked = [match.span("call") for match in _MARKED.finditer(trace.text, start, end)]
        if marked:
            found += marked
            continue
        at = start
        while match := _OBJECT.search(trace.text, at, end):
            at = match.end()
            try:
                data, stop = _DECODER.raw_decode(trace.text, match.start())
            except (ValueError, RecursionError):
                continue
            if arguments_key(data):
                found.append((match.start(), stop))
                at = stop
    return found


_MARKED: Final = re.compile(
    r"(?:\bto=functions\.[^{\n]*(?=\{)|\[TOOL_CALLS\]|<\|?tool_calls?(?:_begin|_start)?\|?>"
    r"|<function_calls?>|<\|python_tag\|>)\s*(?P<call>\S.*?)(?=<\||</|\[/|\Z)",
    re.DOTALL,
)
"""Calls in the marks of other model families, up to the next mark."""

_OBJECT: Final = re.compile(r'\{(?=\s*"(?:name|arguments|parameters)"\s*:)')


def is_call(text: str) -> bool:
    """Whether a text is the JSON of one call, or of a list with one.

    >>> is_call('{"name": "pay", "arguments": {"amount": 9}}')
    True
    """
    return any(arguments_key(data) for _, data in items(text))


def arguments_key(data: Any) -> str | None:
    """Return the key of a call's arguments in a JSON value; None if the value is no call.

    The arguments are an object, or a string with the JSON of one, as many models write them.

    >>> arguments_key({"name": "pay", "parameters": '{"amount": 9}'})
    'parameters'
    """
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return None
    keys = (key for key in ("arguments", "parameters") if _is_object(data.get(key)))
    return next(keys, None)


def _is_object(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, dict)
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def items(text: str) -> list[tuple[tuple[str, ...], Any]]:
    """Return the JSON values that a text may call with, each with the keys that lead to it.

    An object is one, and of a list every item is; any other text has none. They are read as the
    most careless reader would, so that nothing that somebody may carry out is left unjudged.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if isinstance(data, dict):
        return [((), data)]
    listed = enumerate(data) if isinstance(data, list) else ()
    return [((str(number),), item) for number, item in listed]
