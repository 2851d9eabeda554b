"""How a `llama_cpp.Llama` lays out a chat: by the template of its file, or as its user said."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.llama_cpp.vocabulary import vocabulary_of
from energy_guard.backends.template import ChatTemplate, template_failures
from energy_guard.errors import ConfigError, PromptError

if TYPE_CHECKING:
    from llama_cpp import Llama

_OWN: Final = "chat_template.default"
_WITHOUT: Final = "llama-2"
"""What Llama itself takes for a file without a template, whatever the model was trained on."""

_GIVE_A_TEMPLATE: Final = (
    "Ask with --raw (plain text; in calibrate and eval: --shots 4), or give load() a "
    "chat_template (Jinja)."
)


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The way to lay out a chat. None of the fields is set when there is none.

    template: Jinja text. given: a formatter of the user's. name: of that way when it is another
    than the file's own. hidden: the user's handler does not show its way, and what is here is
    the file's: good to estimate a size, and not to ask.
    """

    template: str | None = None
    given: Any = None
    name: str | None = None
    hidden: bool = False

    @classmethod
    def of(cls, llm: Llama, template: str | None) -> ChatFormat:
        """Return the given template, or else what the Llama's own chat would use.

        Raises ConfigError for a chat format that there is not.
        """
        from llama_cpp import llama_chat_format as formats

        own = llm.metadata.get("tokenizer.chat_template")
        if template is not None:
            return cls(template, name=None if template == own else f"template {template}")
        chosen = llm.chat_format
        if own is None and chosen == _WITHOUT and llm.chat_handler is None:
            return cls()
        guessed = formats.guess_chat_format_from_gguf_metadata(llm.metadata)
        if llm.chat_handler is None and chosen in (_OWN, guessed):
            return cls(own)
        given = _formatter_in(_handler_of(llm))
        if given is None:
            return cls(own, name="hidden", hidden=True)
        inside = getattr(given, "template", None)
        return cls(inside, given, f"chat_format {chosen} {inside}")

    def check(self) -> None:
        """Raise PromptError when the user's handler does not show its way."""
        if self.hidden:
            raise PromptError(
                "the Llama's chat handler asks the model in a way of its own, which cannot be "
                "read ahead",
                _GIVE_A_TEMPLATE,
            )

    def compiled(self, llm: Llama) -> ChatTemplate | None:
        """Return the template, ready to be rendered; None if the user's formatter has none.

        Raises PromptError when there is nothing.
        """
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        by_template = type(self.given) is Jinja2ChatFormatter or hasattr(
            self.given, "template_is_all"
        )
        if self.given is not None and not by_template:
            return None
        if self.template is None:
            raise PromptError("the model file has no chat template", _GIVE_A_TEMPLATE)
        if self.given is not None:
            bos, eos = self.given.bos_token, self.given.eos_token
        else:
            bos, eos = (
                llm._model.token_get_text(token) if token >= 0 else ""
                for token in (llm.token_bos(), llm.token_eos())
            )
        return ChatTemplate(self.template, {"bos_token": bos, "eos_token": eos})

    def response(self, messages: list[dict[str, Any]], tools: list[Any] | None) -> Any:
        """Return what the user's formatter makes of a chat; PromptError when it fails."""
        try:
            return self.given(messages=messages, tools=tools)
        except template_failures() as error:
            why = str(error) or type(error).__name__
            raise PromptError(f"the Llama's chat format refuses this chat: {why}") from error


def prompt_of(llm: Llama, response: Any) -> str:
    """Return the text that a formatter made, with the beginning of a text when it has none yet.

    Raises PromptError when the format ends answers at words that the model does not end at.
    """
    stops = [response.stop] if isinstance(response.stop, str) else response.stop or ()
    for stop in filter(None, stops):
        ids = llm.tokenize(stop.encode(), add_bos=False, special=True)
        if len(ids) != 1 or not vocabulary_of(llm).is_end(ids[0]):
            raise PromptError(
                f"the chat format ends answers at {stop!r}, which is no end token of this model",
                _GIVE_A_TEMPLATE,
            )
    begins = response.added_special or not llm._model.add_bos_token()
    bos = "" if begins else llm._model.token_get_text(llm.token_bos())
    return f"{bos}{response.prompt}"


def _handler_of(llm: Llama) -> Any:
    """What answers this Llama's own chats; ConfigError for a chat format that there is not."""
    from llama_cpp import llama_chat_format as formats

    handler = llm.chat_handler or llm._chat_handlers.get(llm.chat_format or "")
    try:
        return handler or formats.get_chat_completion_handler(llm.chat_format or "")
    except formats.LlamaChatCompletionHandlerNotFoundException as error:
        what = f"there is no chat_format {llm.chat_format!r}"
        raise ConfigError(what, _GIVE_A_TEMPLATE) from error


def _formatter_in(handler: Any) -> Any:
    """The formatter that llama-cpp-python wraps into a handler; None in handlers of other kinds."""
    if not inspect.isfunction(handler):
        return None
    return inspect.getclosurevars(handler).nonlocals.get("chat_formatter")
