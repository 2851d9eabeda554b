"""Requests → token ids, for every engine; what users write never becomes a control token."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import takewhile
from types import MappingProxyType
from typing import Any, Final, Protocol
from unicodedata import normalize

from energy_guard.backends.base import PromptSize
from energy_guard.backends.system_role import NO_SYSTEM, without_system
from energy_guard.errors import InputError, PromptError, PromptTooLongError
from energy_guard.reasoning import opens_reasoning
from energy_guard.request import Message, Request, check_template_variables, check_text
from energy_guard.text import alike


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

    def text_of(self, ids: Sequence[int]) -> bytes:
        """The bytes that tokens add to a text; a control token adds none."""
        ...

    def controls(self, text: str) -> Iterable[str]:
        """Control tokens that stand in the text."""
        ...

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template shows tools to the model."""
        ...

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[Any] | None,
        variables: Mapping[str, Any],
    ) -> str:
        """Apply the chat template, up to where the answer begins; PromptError if it refuses."""
        ...

    def ending(self, prompt: list[int]) -> str:
        """The text of the last few tokens, control tokens included."""
        ...


def shows_tools(template: object) -> bool:
    """Whether a chat template speaks of tools.

    >>> shows_tools("{% if tools %}…{% endif %}"), shows_tools(None)
    (True, False)
    """
    return isinstance(template, str) and re.search(r"\btools\b", template) is not None


_ASKED: Final = ("messages", "text", "ids", "context", "tools", "template_variables")
"""The fields of a request that its prompt is made of."""


def _asks_the_same(one: Request, other: Request) -> bool:
    """Whether two requests are one, with other settings."""
    return all(getattr(one, name) is getattr(other, name) for name in _ASKED)


def _equal(ids: tuple[int, ...]) -> bool:
    return len(set(ids)) == 1


_Form = Callable[[Message], dict[str, Any]]

_BEFORE: Final = ("\n", "a", ".", "\x01")
"""Texts to put before another one, so that it does not begin; the first that does not melt into
it is taken."""


class PromptEncoder:
    """Encodes requests with the model's own chat template.

    variables: what the template may ask for besides; a request's own count more.
    """

    def __init__(self, codec: Codec, variables: Mapping[str, Any] = MappingProxyType({})) -> None:
        check_template_variables(variables)
        self._codec = codec
        self._variables = dict(variables)
        self._measured: tuple[Request, list[int]] | None = None

    def encode(self, request: Request) -> list[int]:
        """Return the prompt's token ids.

        Raises PromptError if the model has no chat template, the template refuses the chat,
        or the prompt does not fit into the context with room for one token, and InputError for a
        logit_bias of a token that there is not.
        """
        size = self._codec.vocabulary_size
        unknown = [token for token in request.sampling.logit_bias if not 0 <= token < size]
        if unknown:
            raise InputError(
                f"logit_bias has token {unknown[0]}, and the model's tokens end at {size - 1}",
                "Look up ids in the vocabulary of this model.",
            )
        # Who is about to stream an answer measures its prompt just before it is read. That counts
        # once, as a template may tell the time.
        measured, self._measured = self._measured, None
        if measured is not None and _asks_the_same(measured[0], request):
            ids = measured[1]
        else:
            ids = self._ids(request)
        counted = self._size(ids)
        if counted.room < 1:
            raise PromptTooLongError(
                f"the prompt has {counted.tokens} tokens and the context holds {counted.context}",
                "Shorten it, or load the model with a larger context (n_ctx, --n-ctx).",
            )
        return ids

    def beginning(self, requests: Sequence[Request]) -> list[int]:
        """Return the tokens that all these prompts begin with."""
        return [ids[0] for ids in takewhile(_equal, zip(*map(self._ids, requests), strict=False))]

    def measure(self, request: Request) -> PromptSize:
        """Count the prompt's tokens, also where they do not fit; see `encode`."""
        ids = self._ids(request)
        self._measured = request, ids
        return self._size(ids)

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template shows tools to the model."""
        return self._codec.takes_tools

    @cached_property
    def takes_system(self) -> bool:
        """Whether the chat template shows a system prompt: some refuse it, or leave it out."""
        text = secrets.token_hex(8)
        turns = (Message("system", text), Message("user", "Hello"))
        return any(self._shows(text, [form(turn) for turn in turns]) for form in _FORMS)

    def _shows(self, text: str, messages: list[dict[str, Any]]) -> bool:
        try:
            return text in self._codec.render(messages, None, self._variables)
        except PromptError:
            return False

    @property
    def option(self) -> str:
        """The template's variables as profiles record them, see `template_option`."""
        return template_option(self._variables)

    def notes(self, request: Request) -> tuple[str, ...]:
        """Say, a sentence each, in what the prompt is not as it was asked for."""
        if any(turn.role == "system" for turn in request.messages or ()) and not self.takes_system:
            return (NO_SYSTEM,)
        return ()

    def opens_reasoning(self, prompt: list[int]) -> bool:
        """Whether the prompt ends inside reasoning: some templates open it for the model."""
        return opens_reasoning(self._codec.ending(prompt))

    def encode_answer(self, answer: str | Sequence[int], room: int) -> list[int]:
        """Return the ids of an existing answer, which continues its prompt.

        Raises PromptError when it is empty, too long, or cannot be written in the vocabulary.
        """
        if isinstance(answer, str):
            check_text(answer)
            ids = self._exactly(answer)
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
        return PromptSize(len(ids), self._codec.context, opens_reasoning=self.opens_reasoning(ids))

    def _ids(self, request: Request) -> list[int]:
        if request.template_variables and request.messages is None:
            raise InputError("template_variables need a chat", "A raw text has no template.")
        if request.ids is not None:
            ids = list(request.ids)
        elif request.text is not None:
            if request.context:
                raise InputError("context passages need a chat", "Put them into the raw text.")
            # Plain text has no control tokens: who wants some gives ids.
            ids = self._codec.tokenize(request.text, special=False, add_bos=True)
        else:
            ids = self._encode_chat(request)
        self._check_ids(ids)
        return ids

    def _check_ids(self, ids: Sequence[int]) -> None:
        size = self._codec.vocabulary_size
        outside = next((token for token in ids if not 0 <= token < size), None)
        if outside is not None:
            raise PromptError(
                f"a token id is outside the model's vocabulary: {outside}, of {size} tokens",
                "Leave out ids, and the text of added tokens, that the model has no vectors for.",
            )

    def _encode_chat(self, request: Request) -> list[int]:
        """Render the template, with every control token that users wrote taken apart.

        Their text is swapped for a mark that nobody can guess, the template is rendered and
        tokenised around the marks, and what they stand for is tokenised as plain text.
        """
        turns, tools = request.turns(), request.tools
        if any(turn.role == "system" for turn in turns) and not self.takes_system:
            turns = without_system(turns)
        asked = bool(tools) or any(turn.calls or turn.role == "tool" for turn in turns)
        if asked and not self._codec.takes_tools:
            raise PromptError(
                "the model's chat template has no tools",
                "Describe them in a system prompt, or take a model that was trained for tools.",
            )
        if turns[-1].role == "assistant":
            raise PromptError(
                "the chat ends with words of the assistant, and its template begins a new turn",
                "End it with a user message; to have a text continued, give it as raw text or ids.",
            )
        mark = f"\U000f0000{secrets.token_hex(8)}:"
        literals: list[str] = []
        shown = [self._marked(_read(tool), mark, literals) for tool in tools]
        variables = self._variables | dict(request.template_variables)
        form = self._form(turns, shown, variables)
        messages = [self._marked(form(turn), mark, literals) for turn in turns]
        text = self._codec.render(messages, shown or None, variables)
        _check_words(messages, text)
        # A pattern of its own takes longer to compile than a short text to tokenise.
        parts = re.split(f"{mark}(\\d+);", text) if literals else [text]
        ids: list[int] = []
        for i, part in enumerate(parts):
            if i % 2:
                ids += self._exactly(literals[int(part)])
            elif part:
                ids += next(self._continuing(part, special=True, begun=bool(ids)))
        return ids

    def _exactly(self, text: str) -> list[int]:
        """Tokens that read as this plain text, and as nothing else, inside a longer text."""
        if not text:
            return []
        for form in (str, _composed):  # some tokenizers compose accents: that is the same text
            for ids in self._continuing(text, special=False):
                if form(self._read(ids)) == form(text):
                    return ids
        far = max(alike(text, self._read(ids)) for ids in self._continuing(text, special=False))
        raise PromptError(
            "the model's vocabulary cannot write this text: it reads another one from character "
            f"{far} on",
            "Give token ids, or a text in the characters and blanks that the model knows.",
        )

    def _read(self, ids: Sequence[int]) -> str:
        return self._codec.text_of(ids).decode(errors="replace")

    def _continuing(self, text: str, special: bool, begun: bool = True) -> Iterator[list[int]]:
        """Ways to encode a text that stands behind another one.

        SentencePiece vocabularies put a space before a text that they are given alone; so it is
        encoded behind a short text, whose tokens are then cut off.
        """
        alone = self._codec.tokenize(text, special=special)
        if begun and self._adds_space:
            for before in _BEFORE:
                first = self._codec.tokenize(before, special=False)
                both = self._codec.tokenize(before + text, special=special)
                if both[: len(first)] == first:
                    yield both[len(first) :]
        yield alone

    @cached_property
    def _adds_space(self) -> bool:
        """Whether a text that is encoded alone gets a space before it."""
        return self._codec.text_of(self._codec.tokenize("a", special=False)) != b"a"

    def _form(
        self, turns: tuple[Message, ...], tools: list[Any], variables: Mapping[str, Any]
    ) -> _Form:
        """How the template wants the words of a turn: as a text, or as a list of blocks.

        Templates leave out silently what is not in their form. So each turn of the user and of
        the system is tried with words that cannot stand there by chance.
        """
        tried = tuple(
            replace(turn, content=secrets.token_hex(8)) if _is_asked(turn) else turn
            for turn in turns
        )
        for form in _FORMS:
            text = self._codec.render([form(turn) for turn in tried], tools or None, variables)
            left_out = [turn.role for turn in tried if _is_asked(turn) and turn.content not in text]
            if not left_out:
                return form
        raise _left_out(left_out[0])

    def _marked(self, data: Any, mark: str, literals: list[str]) -> Any:
        """The data with a mark for every control token in its texts."""
        if isinstance(data, dict):
            return {
                self._marked(key, mark, literals): self._marked(value, mark, literals)
                for key, value in data.items()
            }
        if isinstance(data, list):
            return [self._marked(value, mark, literals) for value in data]
        return self._marked_text(data, mark, literals) if isinstance(data, str) else data

    def _marked_text(self, text: str, mark: str, literals: list[str]) -> str:
        for literal in sorted(self._codec.controls(text), key=len, reverse=True):
            text = text.replace(literal, f"{mark}{len(literals)};")
            literals.append(literal)
        return text


def template_option(variables: Mapping[str, Any], before: str = "{}") -> str:
    """Return variables of a chat template as one option of the engine: JSON text.

    before: the same of others, which these count more than.

    >>> template_option({"enable_thinking": False})
    '{"enable_thinking": false}'
    """
    return json.dumps(json.loads(before) | dict(variables), sort_keys=True)


def _composed(text: str) -> str:
    return normalize("NFC", text)


def _as_json(turn: Message) -> dict[str, Any]:
    """A turn as chat templates read it."""
    data: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.name is not None:
        data["name"] = turn.name
    if turn.calls:
        data["tool_calls"] = [
            {
                "type": "function",
                "function": {"name": call.name, "arguments": _read(call.arguments)},
            }
            for call in turn.calls
        ]
    return data


def _in_blocks(turn: Message) -> dict[str, Any]:
    """A turn for templates that go through blocks of text, images and the like."""
    data = _as_json(turn)
    return data | {"content": [{"type": "text", "text": data["content"]}]}


_FORMS: Final = (_as_json, _in_blocks)


def _is_asked(turn: Message) -> bool:
    """Whether the model must get to see these words; reasoning of the past may be left out."""
    return turn.role in ("user", "system") and bool(turn.content.strip())


def _check_words(messages: list[dict[str, Any]], text: str) -> None:
    """Raise PromptError when a template has cut or changed what the user or system says."""
    squeezed = "".join(text.split())
    for message in messages:
        content = message["content"]
        words = content if isinstance(content, str) else content[0]["text"]
        if message["role"] in ("user", "system") and "".join(words.split()) not in squeezed:
            raise _left_out(message["role"])


def _left_out(role: str) -> PromptError:
    return PromptError(
        f"the model's chat template leaves out words of a {role} message",
        "Give a chat_template (Jinja) that shows them, put them into the user's message, or ask "
        "with --raw (plain text).",
    )


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"tools and arguments are JSON, and this is not: {error}") from error
