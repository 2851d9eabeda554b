"""A guard's results → OpenAI's choices, with what the guard says beside them.

Words of an answer that is withheld stand nowhere in them, unless the request asked for `full`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Self

from energy_guard.result import Result
from energy_guard.score import Scorer
from energy_guard.server.alternatives import Alternative
from energy_guard.server.asked import Wanted
from energy_guard.server.settings import Details
from energy_guard.server.signals import token_signals
from energy_guard.shown import ShownPiece, ShownStream
from energy_guard.text import joined_glyphs
from energy_guard.tools import ReadCalls, read_calls
from energy_guard.trace import Trace

KEY: Final = "energy_guard"
"""Where the object stands, in a response and in the `logprobs` of each choice."""

_WORST_LAST: Final = ("accept", "warn", "unscored", "abstain")


@dataclass(frozen=True)
class AnswerChoice:
    """One answer in OpenAI's terms.

    content: None if it is withheld or is a call. refusal: the text in its place. calls: in
    OpenAI's form. pieces: the content by tokens. told: the guard's object. signals, alternatives:
    for each token; none if they were not asked for.
    """

    result: Result
    content: str | None
    refusal: str | None
    calls: tuple[dict[str, Any], ...]
    finish_reason: str
    pieces: tuple[ShownPiece, ...]
    told: dict[str, Any]
    signals: Sequence[dict[str, Any]] = ()
    alternatives: Sequence[Sequence[Alternative]] = ()

    @classmethod
    def of(cls, result: Result, wanted: Wanted, scorer: Scorer) -> Self:
        """Read a result.

        Args:
            result: of one of the requests.
            wanted: what its answer has to be.
            scorer: gives every argument of a call its score.
        """
        called = ReadCalls()
        if wanted.tools and (result.shown or result.kept.withheld_as_unusable):
            asked = result.kept.asked
            called = read_calls(result.trace, wanted.tools, scorer, wanted.forced, asked)
        told = guard_object(result, wanted.details)
        if wanted.tools and wanted.details != "none":
            told["tool_calls"] = [call.detail for call in called.calls] if result.shown else []
            told["unread_tool_calls"] = [call.error for call in called.unread]
        cut = result.trace.finish_reason not in ("eos", "stop")
        ended = "length" if cut else "stop"
        if called.unread:
            return cls(
                result, None, result.text, (), "length" if cut else "content_filter", (), told
            )
        if not result.shown:
            # Parsers of structured answers fail of `content_filter` before they see the refusal.
            ended = "stop" if wanted.structured and not wanted.forced else "content_filter"
            return cls(result, None, result.text, (), ended, (), told)
        if called.calls:
            calls = tuple(
                {
                    "id": f"call_{uuid.uuid4().hex[:24]}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in called.calls
            )
            content = None if wanted.forced else called.text or None
            return cls(result, content, None, calls, "tool_calls", (), told)
        pieces = shown_pieces(result.trace)
        signals = token_signals(result, scorer) if wanted.signals else ()
        return cls(result, result.text, None, (), ended, pieces, told, signals)

    def message(self, refusal_as_content: bool) -> dict[str, Any]:
        """Return the message of a chat."""
        content = self.refusal if refusal_as_content and self.refusal else self.content
        message = {"role": "assistant", "content": content, "refusal": self.refusal}
        return message | ({"tool_calls": list(self.calls)} if self.calls else {})

    def token_list(self) -> list[dict[str, Any]]:
        """Return the tokens of the content, each with its log-probability, in OpenAI's form."""
        return [entry for piece in self.pieces for entry in self.listed(piece)]

    def listed(self, piece: ShownPiece) -> list[dict[str, Any]]:
        """Return the tokens of a piece in OpenAI's form; log p is that of the raw row."""
        trace = self.result.trace
        nll = trace.nll
        listed = []
        for t in piece.tokens:
            entry = Alternative(int(trace.ids[t]), trace.pieces[t], -float(nll[t])).form
            others = self.alternatives[t] if self.alternatives else []
            entry["top_logprobs"] = [self._other(each) for each in others]
            listed.append(entry | ({KEY: self.signals[t]} if self.signals else {}))
        return listed

    def _other(self, other: Alternative) -> dict[str, Any]:
        """The form of a token that could have been chosen; with its id, an answer may go on so."""
        return other.form | ({KEY: {"id": other.id}} if self.signals else {})

    def logprobs(self, wanted: Wanted) -> dict[str, Any]:
        """Return the `logprobs` of a choice, with the guard's object in it.

        LangChain's ChatOpenAI drops what it does not know at the top of a response, and hands
        this on.
        """
        entries = self.token_list() if wanted.logprobs else None
        return listed_logprobs(entries, wanted.chat) | {KEY: self.told}


def guard_object(result: Result, details: Details) -> dict[str, Any]:
    """Return what a response says of a result; see `Details`."""
    if details == "none":
        return result.to_dict("none")
    whole = details == "full" or (details == "shown" and result.shown)
    return result.to_dict("full" if whole else "summary")


def worst(choices: Sequence[AnswerChoice]) -> AnswerChoice:
    """Return the choice that stands for all of them: the one that is the least to be trusted."""
    return max(
        choices,
        key=lambda choice: (
            not choice.result.shown,
            _WORST_LAST.index(choice.result.verdict),
            choice.result.p_wrong or 0.0,
        ),
    )


def verdict_headers(choice: AnswerChoice) -> dict[str, str]:
    """Return the headers that say what the verdict is."""
    headers: dict[str, str] = {"x-energy-guard-verdict": choice.result.verdict}
    if choice.result.p_wrong is not None:
        headers["x-energy-guard-p-wrong"] = f"{choice.result.p_wrong:.4f}"
    return headers


def usage(choices: Sequence[AnswerChoice], copies: int) -> dict[str, int]:
    """Count tokens: those of each prompt once, and what was written in all attempts.

    Args:
        choices: all of a response.
        copies: how many of them in a row have one prompt.
    """
    results = [choice.result for choice in choices]
    prompt = sum(result.trace.prompt_tokens for result in results[::copies])
    written = sum(len(attempt.trace) for result in results for attempt in result.attempts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }


def shown_pieces(trace: Trace) -> tuple[ShownPiece, ...]:
    """Return the text that is shown of an answer, by tokens."""
    stream, pieces = ShownStream(trace.reasoning_open), list[ShownPiece]()

    def take(found: Iterable[ShownPiece]) -> None:
        if stream.retracted:  # what was taken so far was reasoning
            stream.retracted = False
            pieces.clear()
        pieces.extend(found)

    for tokens, text in joined_glyphs(enumerate(trace.alignment.texts[: trace.content_end])):
        take(stream.push(tokens, text))
    take(stream.finish())
    return tuple(pieces)


def listed_logprobs(
    entries: list[dict[str, Any]] | None, chat: bool, start: int = 0
) -> dict[str, Any]:
    """Return the `logprobs` of an answer, or of a chunk of it, in the form of its endpoint.

    Args:
        entries: its tokens; None if they are not listed.
        chat: whether the answer is a message; else it is a plain completion.
        start: how many characters the tokens before it have.
    """
    if chat:
        return {"content": entries, "refusal": None}
    if entries is None:
        return {"tokens": None, "token_logprobs": None, "top_logprobs": None, "text_offset": None}
    tokens = [entry["token"] for entry in entries]
    return {
        "tokens": tokens,
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [
            {each["token"]: each["logprob"] for each in entry["top_logprobs"]} for entry in entries
        ],
        "text_offset": list(accumulate(map(len, tokens), initial=start))[:-1],
    }
