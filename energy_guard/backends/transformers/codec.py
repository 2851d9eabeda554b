"""A Hugging Face tokenizer and its chat template, for `PromptEncoder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.prompt import shows_tools
from energy_guard.backends.template import ChatTemplate
from energy_guard.backends.transformers.vocabulary import Vocabulary
from energy_guard.errors import PromptError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_UNLIMITED: Final = 2**31 - 1
"""The context of a model that states none."""


class TokenizerCodec:
    """See `energy_guard.backends.prompt.Codec`.

    chat_template: instead of the tokenizer's own. context: tokens of prompt and answer together.
    size: how many tokens the model has vectors for.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None,
        context: int,
        size: int,
        vocabulary: Vocabulary,
    ) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._given = chat_template
        self._template = chat_template or tokenizer.chat_template
        self._compiled: dict[str, ChatTemplate] = {}
        self._context = context
        self._size = size
        self._controls = sorted(
            {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
            | set(tokenizer.all_special_tokens)
        )

    @property
    def context(self) -> int:
        """The model's positions, or fewer where that was asked for."""
        return self._context

    @property
    def vocabulary_size(self) -> int:
        """How many tokens the model has vectors for."""
        return self._size

    def tokenize(self, text: str, special: bool, add_bos: bool = False) -> list[int]:
        """Encode; with `add_bos` as the tokenizer begins a text."""
        encoded: Any = self._tokenizer(
            text, add_special_tokens=add_bos, split_special_tokens=not special, verbose=False
        )
        return list(encoded.input_ids)

    def text_of(self, ids: Sequence[int]) -> bytes:
        """The bytes that tokens add to a text; a control token adds none."""
        return b"".join(map(self._vocabulary.piece, ids))

    def controls(self, text: str) -> list[str]:
        """Control tokens that stand in the text."""
        return [literal for literal in self._controls if literal in text]

    @property
    def takes_tools(self) -> bool:
        """Whether the template speaks of tools."""
        return shows_tools(self._template)

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[Any] | None,
        variables: Mapping[str, Any],
    ) -> str:
        """Apply the chat template: the one for tools if there are several and tools are given."""
        if self._template is None:
            raise PromptError(
                "the tokenizer has no chat template",
                "Ask with --raw (plain text; in calibrate and eval: --shots 4), or give load() a "
                "chat_template (Jinja).",
            )
        try:
            text: str = self._tokenizer.get_chat_template(self._given, tools)
        except ValueError as error:  # of several none is the default
            raise PromptError(f"the tokenizer has no chat template for this: {error}") from error
        if text not in self._compiled:
            self._compiled[text] = ChatTemplate(text, self._tokenizer.special_tokens_map)
        return self._compiled[text].render(messages, tools, variables)

    def ending(self, prompt: list[int]) -> str:
        """The text of the last few tokens."""
        return str(self._tokenizer.decode(prompt[-16:], skip_special_tokens=False))


def context_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, wanted: int | None
) -> int:
    """How many tokens the model has positions for, or fewer if that is wanted."""
    config = model.config.get_text_config(decoder=True)
    stated = getattr(config, "max_position_embeddings", None)
    return int(min(wanted or _UNLIMITED, stated or tokenizer.model_max_length, _UNLIMITED))
