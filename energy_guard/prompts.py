"""What a guard is given → requests: a question, the turns of a chat, or a complete request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Unpack

from pydantic import Field

from energy_guard.arguments import checked
from energy_guard.request import Message, Request, RequestOptions

Prompt = str | Sequence[Message] | Request
"""A question, the turns of a chat, or a complete request."""

Answer = str | Sequence[int]
"""A text, or token ids."""


@checked
def request_of(prompt: Prompt, **options: Unpack[RequestOptions]) -> Request:
    """Return the request.

    Args:
        prompt: what is asked.
        options: settings of the request; they count more than those that it has already.
    """
    if isinstance(prompt, Request):
        return replace(prompt, **options)  # type: ignore[arg-type]  # lists become tuples in it
    return Request.chat(prompt, **options)


@checked
def pair_of(pair: Annotated[Sequence[Any], Field(min_length=2, max_length=2)]) -> tuple[Any, Any]:
    """Return a prompt and its answer; InputError if these are no two things."""
    prompt, answer = pair
    return prompt, answer


@checked
def answer_of(answer: Answer) -> Answer:
    """Return an answer; InputError if it is none."""
    return answer
