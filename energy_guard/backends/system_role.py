"""Chat templates without a system role: what the system says stands in the user's turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from energy_guard.request import Message

NO_SYSTEM: Final = (
    "the model's chat template has no system role: the system prompt stands in the user's turn"
)
"""What a result says of it."""


def without_system(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the chat with each system prompt before the next user's words, or after the last.

    Unchanged if there is no user turn: then the template says what it thinks of it.
    """
    if not any(turn.role == "user" for turn in turns):
        return turns
    chat: list[Message] = []
    waiting: list[str] = []
    for turn in turns:
        if turn.role == "system":
            waiting.append(turn.content)
        elif turn.role == "user":
            chat.append(replace(turn, content="\n\n".join((*waiting, turn.content))))
            waiting = []
        else:
            chat.append(turn)
    if waiting:
        last = max(i for i, turn in enumerate(chat) if turn.role == "user")
        texts = (chat[last].content, *waiting)
        chat[last] = replace(chat[last], content="\n\n".join(texts))
    return tuple(chat)
