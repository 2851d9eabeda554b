"""Requests → token ids, for every engine; what users write never becomes a control token."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Protocol

from energy_guard.backends.base import PromptSize
from energy_guard.errors import InputError, PromptError
from energy_guard.request import Message, Request, check_text


class Codec(Protocol):
    """What an engine knows of its own vocabulary and chat template."""

    @property
    def context(self) -> int:
        """How many tokens prompt and answer may have together."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below this."""
        ...

    def tokenize(self, text: str, special: bool, add_bos: bool = False) -> list[int]:
        """Encode; `special`: control tokens in the text are that, and not plain text."""
        ...

    def controls(self, text: str) -> Iterable[str]:
        """Control tokens that stand in the text."""
        ...

    def render(self, messages: list[dict[str, str]]) -> str:
        """Apply the chat template, up to where the answer begins; PromptError where it refuses."""
        ...

    def ending(self, prompt: list[int]) -> str:
        """The text of the last few tokens, control tokens included."""
        ...


class PromptEncoder:
    """Encodes requests with the model's own chat template."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def encode(self, request: Request) -> list[int]:
        """Return the prompt's token ids.

        Raises PromptError where the model has no chat template, the template refuses the chat,
        or the prompt does not fit into the context with room for one token.
        """
        ids = self._ids(request)
        size = self._size(ids)
        if size.room < 1:
            raise PromptError(
                f"the prompt has {size.tokens} tokens and the context holds {size.context}",
                "Shorten it, or load the model with a larger context (n_ctx, --n-ctx).",
            )
        return ids

    def measure(self, request: Request) -> PromptSize:
        """Count the prompt's tokens, also where they do not fit; see `encode`."""
        return self._size(self._ids(request))

    def opens_reasoning(self, prompt: list[int]) -> bool:
        """Whether the prompt ends inside <think>: some templates open it for the model."""
        return self._codec.ending(prompt).rstrip().endswith("<think>")

    def encode_answer(self, answer: str | Sequence[int], room: int) -> list[int]:
        """Return the ids of an existing answer; PromptError where it is empty or too long."""
        if isinstance(answer, str):
            check_text(answer)
            ids = self._codec.tokenize(answer, special=False)
        else:
            ids = list(answer)
        if not ids:
            raise PromptError("the answer is empty", "Give its text or its token ids.")
        if len(ids) > room:
            raise PromptError(
                f"the answer has {len(ids)} tokens and the context has room for {room}",
                "Load the model with a larger context (n_ctx, --n-ctx).",
            )
        self._check_ids(ids)
        return ids

    def _size(self, ids: list[int]) -> PromptSize:
        return PromptSize(len(ids), self._codec.context, self.opens_reasoning(ids))

    def _ids(self, request: Request) -> list[int]:
        if request.ids is not None:
            ids = list(request.ids)
            self._check_ids(ids)
        elif request.text is not None:
            if request.context:
                raise InputError("context passages need a chat", "Put them into the raw text.")
            # Plain text has no control tokens: who wants some gives ids.
            ids = self._codec.tokenize(request.text, special=False, add_bos=True)
        else:
            ids = self._encode_chat(request.turns())
        return ids

    def _check_ids(self, ids: Sequence[int]) -> None:
        if not all(0 <= token < self._codec.vocabulary_size for token in ids):
            raise PromptError("a token id is outside the model's vocabulary")

    def _encode_chat(self, turns: tuple[Message, ...]) -> list[int]:
        """Render the template, with every control token that users wrote taken apart.

        Their text is swapped for a mark that nobody can guess, the template is rendered and
        tokenised around the marks, and what they stand for is tokenised as plain text.
        """
        mark = f"\U000f0000{secrets.token_hex(8)}:"
        literals: list[str] = []
        messages = [
            {"role": m.role, "content": self._marked(m.content, mark, literals)} for m in turns
        ]
        parts = re.split(f"{mark}(\\d+);", self._codec.render(messages))
        ids: list[int] = []
        for i, part in enumerate(parts):
            if i % 2:
                ids += self._codec.tokenize(literals[int(part)], special=False)
            elif part:
                ids += self._codec.tokenize(part, special=True)
        return ids

    def _marked(self, text: str, mark: str, literals: list[str]) -> str:
        for literal in sorted(self._codec.controls(text), key=len, reverse=True):
            text = text.replace(literal, f"{mark}{len(literals)};")
            literals.append(literal)
        return text
