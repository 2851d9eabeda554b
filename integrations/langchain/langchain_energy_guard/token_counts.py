"""How many tokens something is, by the engine's own tokenizer and chat template.

LangChain's own way is the tokenizer of GPT-2, which it fetches from a hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from pydantic import ConfigDict, Field

from energy_guard import Guard, Request
from energy_guard.errors import InputError, PromptError
from langchain_energy_guard.chat_request import chat_request


class CountingChatModel(BaseChatModel):
    """A chat model over a Guard, whose engine counts; nothing is evaluated for it.

    Who gives `custom_get_token_ids` is taken at their word.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    guard: Guard = Field(exclude=True, repr=False)

    def get_token_ids(self, text: str) -> list[int]:
        """Raise InputError: engines count, and show no ids of a text."""
        if self.custom_get_token_ids is None:
            raise InputError(
                "the ids of a text's tokens are not known here",
                "Count them with get_num_tokens, or give custom_get_token_ids.",
            )
        return super().get_token_ids(text)

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of a text, with the one that begins a text if the model has one.

        Of text that is all spaces each counts as one: an engine takes no empty prompt.
        """
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens(text)
        if not text.strip():
            return len(text)
        return self.guard.backend.measure(Request.raw(text)).tokens

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Count the tokens of the prompt that the chat template makes, with the tools in it.

        A chat that the template refuses (which `trim_messages` tries on its way) is counted a
        message at a time, as "Human: …". Raises InputError for anything but text.
        """
        backend = self.guard.backend
        if self.custom_get_token_ids is None:
            options = {"tools": tools or ()}
            try:
                question = chat_request(
                    messages, {"max_tokens": 1}, None, options, backend.takes_tools
                )
                return backend.measure(question.request).tokens
            except PromptError:
                pass
        return super().get_num_tokens_from_messages(messages)
