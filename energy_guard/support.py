"""Measures how far an answer rests on its passages.

It is read once with them and once without, many tokens at once; and the model is asked, in the same
conversation, whether the passages say what it answered. What the engine keeps of the conversation
is left as it was found.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import numpy as np

from energy_guard.asked_features import given_passages, to_be_asked
from energy_guard.backends.base import Session
from energy_guard.energy import Floats
from energy_guard.errors import EngineError, PromptError
from energy_guard.locate import Asked
from energy_guard.reasoning import without_reasoning
from energy_guard.request import Finished, Message, Request
from energy_guard.support_features import BY_ASKING, BY_READING, CONFIRMED, SUPPORT, WITH, WITHOUT
from energy_guard.trace import INCOMPLETE, Trace

QUESTION: Final = "Does the text above say this? Answer yes or no."
"""What a model is asked about its own answer."""


def with_support(
    session: Session, request: Request, trace: Trace, wanted: Collection[str] = SUPPORT
) -> Trace:
    """Return a trace with what is to be known of an answer and its passages.

    Args:
        session: The engine, held.
        request: What was asked; its deadline and its cancelling hold here, too.
        trace: Of the answer.
        wanted: Which features of support it is to have.

    Returns:
        The trace with extra arrays, each of shape (T,): the nll of its tokens with the passages
        and without them, and what the model says if it is asked. As it is if there are no
        passages, or if it is not complete. A pass that did not come to its end is left out, and
        so is the asking if the answer is a choice or no turn of a chat, or if nobody calls what
        stands before the question a passage.

    Raises:
        InputError: The backend cannot read an answer that exists already.
        EngineError: The engine fails.

    """
    alone, needed = without_passages(request), measured(request, wanted)
    if not needed or alone is None or not len(trace) or trace.finish_reason in INCOMPLETE:
        return trace
    extras: dict[str, Floats] = {}
    with session.as_found():
        if not needed.isdisjoint(BY_ASKING):  # first, as the conversation lies there
            extras |= _asked(session, request, trace)
        if not needed.isdisjoint(BY_READING):
            extras |= _read(session, request, alone, trace)
    return replace(trace, extras={**trace.extras, **extras}) if extras else trace


def measured(request: Request, wanted: Collection[str]) -> frozenset[str]:
    """Return which features of support have to be measured of an answer to a request.

    The others are 0: there are no passages, or nothing that a model could be asked about.
    """
    if without_passages(request) is None:
        return frozenset()
    asking = to_be_asked(Asked(request.question, request.choices, passages=request.context))
    return frozenset(name for name in wanted if asking or name not in BY_ASKING)


def _asked(session: Session, request: Request, trace: Trace) -> dict[str, Floats]:
    """Ask whether the passages say so, and look at what would be said next: one pass.

    A model that reasons before it replies would say something else next.
    """
    said = without_reasoning(trace.text, is_open=trace.reasoning_open).strip()
    opens = trace.reasoning_open or said != trace.text.strip()
    if request.messages is None or _late(request) or opens or not said:
        return {}
    turns = (*request.turns(), Message("assistant", said), Message("user", QUESTION))
    try:
        row = session.next_row(replace(request, messages=turns, context=()))
        replies = [session.tokens_of(reply)[:1] for reply in ("Yes", "No")]
    except PromptError:  # there is no room for it, or no such words
        return {}
    except EngineError:
        if not _late(request):
            raise
        return {}
    if not all(replies) or replies[0] == replies[1]:
        return {}
    (yes,), (no,) = replies
    confirmed = float(row[yes]) - float(row[no])
    return {CONFIRMED: np.full(len(trace), confirmed)} if np.isfinite(confirmed) else {}


def _late(request: Request) -> bool:
    """Whether nobody waits any longer."""
    return request.interrupted is not None


def _read(session: Session, request: Request, alone: Request, trace: Trace) -> dict[str, Floats]:
    """Read the answer after its prompt, and after the prompt without its passages."""
    ids = trace.ids.tolist()
    events = session.replay([(request, ids), (alone, ids)], fast=True, steps=False)
    read = {e.sequence: e.trace for e in events if isinstance(e, Finished)}
    passes = {WITH: read[0], WITHOUT: read[1]}
    if any(each.ids.tolist() != ids for each in passes.values()):
        return {}  # cancelled, or out of time
    return {name: each.nll for name, each in passes.items()}


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
