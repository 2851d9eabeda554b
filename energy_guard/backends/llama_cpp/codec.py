"""The vocabulary and chat template of a `llama_cpp.Llama`, for `PromptEncoder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.llama_cpp.chat_format import ChatFormat, prompt_of
from energy_guard.backends.llama_cpp.tap import check_open, context_size
from energy_guard.backends.llama_cpp.vocabulary import vocabulary_of
from energy_guard.backends.prompt import shows_tools
from energy_guard.backends.template import ChatTemplate
from energy_guard.errors import PromptError

if TYPE_CHECKING:
    from llama_cpp import Llama

_CONTROL: Final = (1 << 0) | (1 << 3)  # LLAMA_TOKEN_ATTR_UNKNOWN, _CONTROL: parsed as special


class LlamaCodec:
    """See `energy_guard.backends.prompt.Codec`. chat_template: instead of the Llama's own."""

    def __init__(self, llm: Llama, chat_template: str | None = None) -> None:
        self._llm = llm
        self._format = ChatFormat.of(llm, chat_template)

    @property
    def _open(self) -> Llama:
        check_open(self._llm)
        return self._llm

    @property
    def context(self) -> int:
        """Both the engine's and the wrapper's limit."""
        return context_size(self._open)

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below this."""
        return int(self._open.n_vocab())

    def tokenize(self, text: str, special: bool, add_bos: bool = False) -> list[int]:
        """Encode; a beginning-of-text token is added where the model wants one."""
        llm = self._open
        add_bos = add_bos and llm._model.add_bos_token()
        ids: list[int] = llm.tokenize(text.encode(), add_bos=add_bos, special=special)
        return ids

    def text_of(self, ids: Sequence[int]) -> bytes:
        """The bytes that tokens add to a text; a control token adds none."""
        return b"".join(map(vocabulary_of(self._open).piece, ids))

    def controls(self, text: str) -> set[str]:
        """Control tokens that stand in the text."""
        model = self._open._model
        ids = set(self.tokenize(text, special=True))
        return {model.token_get_text(i) for i in ids if model.token_get_attr(i) & _CONTROL}

    @property
    def takes_tools(self) -> bool:
        """Whether the template speaks of tools."""
        return shows_tools(self._format.template)

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[Any] | None,
        variables: Mapping[str, Any],
    ) -> str:
        """Apply the chat template."""
        if self._compiled is not None:
            return self._compiled.render(messages, tools, variables)
        if variables:
            raise PromptError("the Llama's chat format takes no template_variables")
        return prompt_of(self._llm, self._format.response(messages, tools))

    def ending(self, prompt: list[int]) -> str:
        """The text of the last few tokens."""
        tail: bytes = self._open.detokenize(prompt[-16:], special=True)
        return tail.decode(errors="replace")

    @cached_property
    def _compiled(self) -> ChatTemplate | None:
        """The compiled template: compiling costs more than a third of a token."""
        return self._format.compiled(self._open)

    @property
    def chat_format(self) -> ChatFormat:
        """The way chats are laid out."""
        return self._format
