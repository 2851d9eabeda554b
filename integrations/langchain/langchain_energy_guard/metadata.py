"""A guard's result → what a message carries, in a shape that survives the merging of chunks.

LangChain merges the metadata of chunks: numbers that differ raise, booleans raise, strings are
joined. So the whole block rides on the last chunk alone, and the numbers of tokens are lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from langchain_core.messages.ai import UsageMetadata

from energy_guard import Result

KEY: Final = "energy_guard"
"""Where the block stands in `response_metadata`."""


PROVIDER: Final = "energy-guard"
"""What LangChain calls a provider: whose messages those of a ChatEnergyGuard are."""

Details = Literal["full", "shown", "summary", "none"]
"""How much a message carries; `shown` is `full` without the words of an answer that is withheld."""

_WORDS: Final = frozenset({"id", "text"})
"""What the model wrote, among the numbers of a token."""


def metadata(
    result: Result, tool_calls: Sequence[dict[str, Any]] = (), details: Details = "shown"
) -> dict[str, Any]:
    """Return what `response_metadata["energy_guard"]` holds, see docs/langchain.md.

    A message is stored, logged and sent to browsers whole, and few of those who do that know of
    this block: words that are withheld stand in it only if somebody asks for them.

    Args:
        result: the final one.
        tool_calls: each call with the scores of its arguments.
        details: `full` is the object of `energy-guard ask --json`, with the tokens as one list a
            signal; `summary` and `none` are those of `Result.to_dict`, and `none` has no calls.
    """
    if details == "none":
        return result.to_dict("none")
    whole = details == "full" or (details == "shown" and result.shown)
    data = result.to_dict("full" if whole else "summary")
    data["tool_calls"] = list(tool_calls)
    if details == "summary":
        return data
    if result.span is not None:
        data["span"]["tokens"] = list(result.span.tokens)
    tokens = result.trace.tokens()
    names = [name for name in (tokens[0] if tokens else ()) if whole or name not in _WORDS]
    return data | {"tokens": {name: [token[name] for token in tokens] for name in names}}


def response_metadata(
    result: Result, tool_calls: Sequence[dict[str, Any]] = (), details: Details = "shown"
) -> dict[str, Any]:
    """Return the whole `response_metadata` of a message; see `metadata`."""
    return {
        "finish_reason": result.trace.finish_reason,
        "model_name": result.model.name,
        "model_provider": PROVIDER,
        KEY: metadata(result, tool_calls, details),
    }


def usage(result: Result) -> UsageMetadata:
    """Count tokens: the prompt of the attempt that was kept, and the answers of all attempts."""
    prompt = result.trace.prompt_tokens
    written = sum(len(attempt.trace) for attempt in result.attempts)
    return UsageMetadata(input_tokens=prompt, output_tokens=written, total_tokens=prompt + written)
