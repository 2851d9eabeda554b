"""Measures how far an answer rests on its passages: it is read once with them and once without.

Both passes take many tokens at once, and what the engine keeps of the conversation is left as it
was found.
"""

from __future__ import annotations

from dataclasses import replace

from energy_guard.asked_features import given_passages
from energy_guard.backends.base import Session
from energy_guard.locate import Asked
from energy_guard.request import Finished, Message, Request
from energy_guard.support_features import WITH, WITHOUT
from energy_guard.trace import INCOMPLETE, Trace


def with_support(session: Session, request: Request, trace: Trace) -> Trace:
    """Return a trace with the nll of its tokens with the passages and without them.

    Args:
        session: The engine, held.
        request: What was asked; its deadline and its cancelling hold here, too.
        trace: Of the answer.

    Returns:
        The trace as it is if there are no passages, or if it or a pass did not come to its end.

    Raises:
        InputError: The backend cannot read an answer that exists already.
        EngineError: The engine fails.

    """
    alone = without_passages(request)
    if alone is None or not len(trace) or trace.finish_reason in INCOMPLETE:
        return trace
    ids = trace.ids.tolist()
    with session.as_found():
        events = session.replay([(request, ids), (alone, ids)], fast=True, steps=False)
        read = {e.sequence: e.trace for e in events if isinstance(e, Finished)}
    passes = {WITH: read[0], WITHOUT: read[1]}
    if any(each.ids.tolist() != ids for each in passes.values()):
        return trace  # cancelled, or out of time
    nll = {name: each.nll for name, each in passes.items()}
    return replace(trace, extras={**trace.extras, **nll})


def without_passages(request: Request) -> Request | None:
    """Return a request as it would be without its passages; None if it has none.

    They are those of `Request.context`, or else the text before the question of the last user's
    turn or of a raw prompt.

    >>> asked = Request.chat("Who built it?", context=["Jonas Reed built the mill."])
    >>> without_passages(asked).context
    ()
    """
    if request.context:
        return replace(request, context=())
    passages = given_passages(Asked(request.question, request.choices))
    if not passages or passages[0] not in request.question:
        return None
    text = request.question.replace(passages[0], "", 1).strip()
    if request.messages is None:
        return replace(request, text=text)
    at = max(i for i, turn in enumerate(request.messages) if turn.role == "user")
    turns = (*request.messages[:at], Message("user", text), *request.messages[at + 1 :])
    return replace(request, messages=turns)
