"""A guard's result → the message that LangChain gets, and the last chunk of its stream.

An abstention is a text like any other in `content`, under every version of LangChain. Whoever has
asked for a refusal finds one beside it in `content_blocks`, if LangChain has such blocks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages import content as blocks
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.tool import tool_call_chunk

from energy_guard import Result
from energy_guard.score import Scorer
from energy_guard.tool_calls import passed_values
from langchain_energy_guard.chat_request import ChatRequest
from langchain_energy_guard.guarded_call import is_guarded
from langchain_energy_guard.inside_guarded import withheld_error
from langchain_energy_guard.metadata import KEY, PROVIDER, Carried, response_metadata, usage
from langchain_energy_guard.tools import ToolCalls, read_calls


@dataclass(frozen=True)
class AnswerMessage:
    """What the message and the last chunk have in common; a call has the same id in both."""

    content: str
    calls: ToolCalls
    response_metadata: dict[str, Any]
    usage: UsageMetadata

    @classmethod
    def of(cls, result: Result, asked: ChatRequest, scorer: Scorer, carried: Carried) -> Self:
        """Read a guard's result.

        Args:
            result: the final one.
            asked: which calls the answer may make, and whether text can stand for it.
            scorer: gives every argument of a call its score.
            carried: what the message carries beside its content.

        Raises:
            AnswerWithheldError: if the answer is withheld and no text can stand for it, or if a
                `guarded` around acts on that.
        """
        calls = ToolCalls()
        if asked.tools:
            calls = read_calls(result.trace, asked.tools, scorer, asked.forced, result.kept.asked)
        unusable = result.kept.withheld_as_unusable
        passes = bool(asked.tools and passed_values(result.trace))  # in its reasoning, perhaps
        # An abstention can stand for a call that nobody could make.
        structured = asked.structured or ((bool(calls) or passes) and not unusable)
        if not result.shown and (is_guarded() or (structured and not unusable)):
            raise withheld_error(result, structured, calls)
        # The message says itself what is wrong with its calls.
        content = "" if unusable else result.text
        if calls and result.shown:
            content = "" if asked.forced else calls.text
        beside = response_metadata(result, calls.details, carried.details)
        if carried.refusal and not result.shown:
            beside[KEY]["refusal"] = _refusal(result, carried)
        return cls(content, calls, beside, usage(result))

    def message(self) -> AIMessage:
        """Return the answer as a message."""
        return AIMessage(
            content=self.content,
            tool_calls=list(self.calls.calls),
            invalid_tool_calls=list(self.calls.invalid),
            response_metadata=dict(self.response_metadata),
            usage_metadata=self.usage,
        )

    def last_chunk(self, lead: str | None) -> AIMessageChunk:
        """Return the last chunk, which has all that is not text.

        Args:
            lead: what parts its text from a text before it; None if the answer stands already.
        """
        return AIMessageChunk(
            content="" if lead is None else lead + self.content,
            tool_call_chunks=[
                tool_call_chunk(
                    name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index
                )
                for index, call in enumerate(self.calls.calls)
            ],
            invalid_tool_calls=list(self.calls.invalid),
            response_metadata=dict(self.response_metadata),
            usage_metadata=self.usage,
            chunk_position="last",
        )


def _refusal(result: Result, carried: Carried) -> str:
    """Why there is no answer, without words of it; nothing more if no texts are to be carried."""
    plain = carried.details == "none"
    return "the answer is withheld" if plain else result.unquoted_reason


def _blocks(message: AIMessage) -> list[blocks.ContentBlock]:
    """The blocks of a message that a ChatEnergyGuard made, with its refusal if it carries one."""
    carried = message.response_metadata
    plain = {name: value for name, value in carried.items() if name != "model_provider"}
    found = message.model_copy(update={"response_metadata": plain}).content_blocks
    reason = (carried.get(KEY) or {}).get("refusal")
    if reason is not None and hasattr(blocks, "RefusalContentBlock"):  # from 1.7.5
        refusal: Any = {"type": "refusal", "refusal": reason}
        found = [*found, refusal]
    return found


register_translator(PROVIDER, _blocks, _blocks)
