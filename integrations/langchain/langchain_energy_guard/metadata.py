"""A guard's result → what a message carries, in a shape that survives the merging of chunks.

LangChain merges the metadata of chunks: numbers that differ raise, booleans raise, strings are
joined. So the whole block rides on the last chunk alone, and the numbers of tokens are lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from langchain_core.messages.ai import UsageMetadata

from energy_guard import Result

KEY: Final = "energy_guard"
"""Where the block stands in `response_metadata`."""


PROVIDER: Final = "energy-guard"
"""What LangChain calls a provider: whose messages those of a ChatEnergyGuard are."""

Details = Literal["full", "summary", "none"]
"""How much a message carries beside its content; words of an answer stand in `full` alone."""


@dataclass(frozen=True)
class Carried:
    """What a message carries beside its content.

    details: how much. refusal: whether `content_blocks` of an abstention has a refusal.
    """

    details: Details = "summary"
    refusal: bool = False


def metadata(
    result: Result, tool_calls: Sequence[dict[str, Any]] = (), details: Details = "summary"
) -> dict[str, Any]:
    """Return what `response_metadata["energy_guard"]` holds, see docs/langchain.md.

    A message is stored, logged and sent to browsers whole, and few of those who do that know of
    this block: words of an answer stand in it only if somebody asks for them.

    Args:
        result: the final one.
        tool_calls: each call with the scores of its arguments.
        details: `full` is the object of `energy-guard ask --json`, with the tokens as one list a
            signal; `none` is that of `Result.to_dict`, without any text; `summary` has also what
            is said about the answer, how far passages support it, and the arguments' scores
            without their values.
    """
    if details == "full":
        tokens = result.trace.tokens()
        columns = {name: [token[name] for token in tokens] for name in (tokens or ({},))[0]}
        return result.to_dict("full") | {"tool_calls": list(tool_calls), "tokens": columns}
    data = result.to_dict("none")
    if details == "none":
        return data
    said = result.to_dict("summary")
    return data | {
        "reason": result.unquoted_reason,
        "warning": said["warning"],
        "notes": said["notes"],
        "support": said["support"]
        and {name: said["support"][name] for name in ("gain", "confirmed")},
        "tool_calls": [_without_values(call) for call in tool_calls],
    }


def response_metadata(
    result: Result, tool_calls: Sequence[dict[str, Any]] = (), details: Details = "summary"
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


def _without_values(call: dict[str, Any]) -> dict[str, Any]:
    scores = {name: {"score": scored["score"]} for name, scored in call["arguments"].items()}
    return call | {"arguments": scores}
