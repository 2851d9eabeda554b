"""Requests → token ids of a `llama_cpp.Llama`; what a user writes never becomes a control token."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.base import PromptSize
from energy_guard.backends.llama_cpp.tap import context_size
from energy_guard.errors import InputError, PromptError
from energy_guard.request import Message, Request, check_text

if TYPE_CHECKING:
    from llama_cpp import Llama

_CONTROL: Final = (1 << 0) | (1 << 3)  # LLAMA_TOKEN_ATTR_UNKNOWN, _CONTROL: parsed as special


class PromptEncoder:
    """Encodes requests with the model's own chat template, or with the one that is given."""

    def __init__(self, llm: Llama, chat_template: str | None = None) -> None:
        self._llm = llm
        self._template = chat_template or llm.metadata.get("tokenizer.chat_template")

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
        tail: bytes = self._llm.detokenize(prompt[-8:], special=True)
        return tail.rstrip().endswith(b"<think>")

    def encode_answer(self, answer: str | Sequence[int], room: int) -> list[int]:
        """Return the ids of an existing answer; PromptError where it is empty or too long."""
        if isinstance(answer, str):
            check_text(answer)
        ids = self._tokenize(answer, special=False) if isinstance(answer, str) else list(answer)
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
        return PromptSize(len(ids), context_size(self._llm), self.opens_reasoning(ids))

    def _ids(self, request: Request) -> list[int]:
        if request.ids is not None:
            ids = list(request.ids)
            self._check_ids(ids)
        elif request.text is not None:
            if request.context:
                raise InputError("context passages need a chat", "Put them into the raw text.")
            # Plain text has no control tokens: who wants some gives ids.
            ids = self._tokenize(request.text, special=False, add_bos=True)
        else:
            ids = self._encode_chat(request.turns())
        return ids

    def _check_ids(self, ids: Sequence[int]) -> None:
        if not all(0 <= token < self._llm.n_vocab() for token in ids):
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
        parts = re.split(f"{mark}(\\d+);", self._render(messages))
        ids: list[int] = []
        for i, part in enumerate(parts):
            if i % 2:
                ids += self._tokenize(literals[int(part)], special=False)
            elif part:
                ids += self._tokenize(part, special=True)
        return ids

    def _marked(self, text: str, mark: str, literals: list[str]) -> str:
        model = self._llm._model
        ids = set(self._tokenize(text, special=True))
        control = {model.token_get_text(i) for i in ids if model.token_get_attr(i) & _CONTROL}
        for literal in sorted(control, key=len, reverse=True):
            text = text.replace(literal, f"{mark}{len(literals)};")
            literals.append(literal)
        return text

    def _render(self, messages: list[dict[str, str]]) -> str:
        from jinja2 import TemplateError

        try:
            return self._formatter(messages=messages).prompt  # type: ignore[no-any-return]
        except (TemplateError, ValueError) as error:
            raise PromptError(f"the model's chat template refuses this chat: {error}") from error

    @cached_property
    def _formatter(self) -> Any:
        """The compiled template: compiling costs more than a third of a token."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        if self._template is None:
            raise PromptError(
                "the model file has no chat template",
                "Ask with --raw (plain text), or give load() a chat_template (Jinja).",
            )
        model = self._llm._model
        bos, eos = (
            model.token_get_text(token) if token >= 0 else ""
            for token in (self._llm.token_bos(), self._llm.token_eos())
        )
        return Jinja2ChatFormatter(self._template, eos_token=eos, bos_token=bos)

    def _tokenize(self, text: str, special: bool, add_bos: bool = False) -> list[int]:
        add_bos = add_bos and self._llm._model.add_bos_token()
        ids: list[int] = self._llm.tokenize(text.encode(), add_bos=add_bos, special=special)
        return ids
