"""Answers that begin with tokens of an earlier one: the model goes on from there.

Such an answer is judged as a whole: it is replayed from its first token, so that the verdict is of
every word that is shown, and not of the words alone that are new.
"""

from __future__ import annotations

import time
from dataclasses import replace

from energy_guard.errors import MismatchError
from energy_guard.guard import Guard
from energy_guard.request import Finished, Request
from energy_guard.result import Result
from energy_guard.server.errors import ApiError


def go_on(guard: Guard, request: Request, beginning: tuple[int, ...]) -> Result:
    """Let the model end an answer whose beginning is given, and judge all of it.

    Args:
        guard: answers and judges.
        request: a chat without constraint, tools and stop strings.
        beginning: token ids. They are never tokenised again, so they are what they were.

    Raises:
        ApiError: if the prompt opens reasoning, which the beginning would be part of, if the
            profile is for answers that are tried again, if the beginning has a control token, or
            if the model does not come to an end: what it wrote cannot be judged then.
        EnergyGuardError: as `Guard.ask`.
    """
    if guard.measure(request).opens_reasoning:
        raise _refused("the answers of this model begin with reasoning, which a beginning cuts off")
    try:
        guard.for_request(request, alone=True)  # who judges it; seen before anything is written
    except MismatchError as error:
        raise _refused(f"it cannot be judged: {error.message}") from error
    limit = guard.policy.deadline_s  # of writing and replaying together
    if limit is not None:
        ends = time.monotonic() + limit
        request = replace(request, deadline=min(ends, request.deadline or ends))
    with guard.backend.session(request) as session:
        prompt = session.beginning([request])  # all of it, as it is the only one
        asked = replace(request, messages=None, ids=(*prompt, *beginning), template_variables={})
        events = session.generate([asked], steps=False)
        trace = next(event.trace for event in events if isinstance(event, Finished))
        if not all(map(session.piece_of, beginning)):
            raise _refused("a token of the beginning has no text, so it is of no answer")
    if trace.finish_reason != "eos":
        raise _refused(f"the answer did not come to an end ({trace.finish_reason})")
    result = guard.score(request, (*beginning, *trace.ids.tolist()))
    note = f"the first {len(beginning)} tokens were given, and not chosen by the model in this call"
    return replace(result, notes=(*result.notes, note))


def _refused(message: str) -> ApiError:
    return ApiError(400, message, param="energy_guard.beginning")
