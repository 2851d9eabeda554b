"""A guard's result → what a message carries, in a shape that survives the merging of chunks.

LangChain merges the metadata of chunks: numbers that differ raise, booleans raise, strings are
joined. So the whole block rides on the last chunk alone, and the numbers of tokens are lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages.ai import UsageMetadata

from energy_guard import Result

KEY: Final = "energy_guard"
"""Where the block stands in `response_metadata`."""


def metadata(result: Result, tool_calls: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return what `response_metadata["energy_guard"]` holds, see docs/langchain.md.

    It is the object of `energy-guard ask --json`, with the tokens as one list a signal.
    tool_calls: each call with the scores of its arguments.
    """
    data = result.to_dict()
    tokens: list[dict[str, Any]] = data.pop("tokens")
    names = tokens[0].keys() if tokens else ()
    return {
        **data,
        "tokens": {name: [token[name] for token in tokens] for name in names},
        "tool_calls": list(tool_calls),
    }


def response_metadata(result: Result, tool_calls: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return the whole `response_metadata` of a message."""
    return {
        "finish_reason": result.trace.finish_reason,
        "model_name": result.model.name,
        KEY: metadata(result, tool_calls),
    }


def usage(result: Result) -> UsageMetadata:
    """Count tokens: the prompt of the attempt that was kept, and the answers of all attempts."""
    prompt = result.trace.prompt_tokens
    written = sum(len(attempt.trace) for attempt in result.attempts)
    return UsageMetadata(input_tokens=prompt, output_tokens=written, total_tokens=prompt + written)
