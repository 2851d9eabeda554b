"""The vocabulary and chat template of a `llama_cpp.Llama`, for `PromptEncoder`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.llama_cpp.tap import check_open, context_size
from energy_guard.backends.prompt import shows_tools
from energy_guard.errors import PromptError

if TYPE_CHECKING:
    from llama_cpp import Llama

_CONTROL: Final = (1 << 0) | (1 << 3)  # LLAMA_TOKEN_ATTR_UNKNOWN, _CONTROL: parsed as special


class LlamaCodec:
    """See `energy_guard.backends.prompt.Codec`. chat_template: instead of the file's own."""

    def __init__(self, llm: Llama, chat_template: str | None = None) -> None:
        self._llm = llm
        self._template = chat_template or llm.metadata.get("tokenizer.chat_template")

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

    def controls(self, text: str) -> set[str]:
        """Control tokens that stand in the text."""
        model = self._open._model
        ids = set(self.tokenize(text, special=True))
        return {model.token_get_text(i) for i in ids if model.token_get_attr(i) & _CONTROL}

    @property
    def takes_tools(self) -> bool:
        """Whether the template speaks of tools."""
        return shows_tools(self._template)

    def render(self, messages: list[dict[str, Any]], tools: list[Any] | None) -> str:
        """Apply the chat template."""
        from jinja2 import TemplateError

        try:
            return self._formatter(messages=messages, tools=tools).prompt  # type: ignore[no-any-return]
        except (TemplateError, ValueError) as error:
            raise PromptError(f"the model's chat template refuses this chat: {error}") from error

    def ending(self, prompt: list[int]) -> str:
        """The text of the last few tokens."""
        tail: bytes = self._open.detokenize(prompt[-8:], special=True)
        return tail.decode(errors="replace")

    @cached_property
    def _formatter(self) -> Any:
        """The compiled template: compiling costs more than a third of a token."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        if self._template is None:
            raise PromptError(
                "the model file has no chat template",
                "Ask with --raw (plain text), or give load() a chat_template (Jinja).",
            )
        model = self._open._model
        bos, eos = (
            model.token_get_text(token) if token >= 0 else ""
            for token in (self._llm.token_bos(), self._llm.token_eos())
        )
        return Jinja2ChatFormatter(self._template, eos_token=eos, bos_token=bos)
