"""What the model is asked contains the user's words, in the layout that the user chose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import CHATML, write_tiny_gguf
from tiny_models import byte_tokenizer, tiny_model

from energy_guard import Guard, capture, load
from energy_guard.backends.base import Backend
from energy_guard.errors import ConfigError, PromptError
from energy_guard.request import Message, Request

BLOCKS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for block in message.content %}{% if block.type == 'text' %}{{ block.text }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ONLY_USERS = "{% for m in messages if m.role == 'user' %}{{ m.content | trim }}\n{% endfor %}"
CUT = "{% for m in messages %}{{ m.content.split('###')[0] }}{% endfor %}"
CHAT = [Message("system", "Be brief."), Message("user", "Name a city.")]
VICUNA = " USER: Hello there ASSISTANT:"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(params=["llama.cpp", "transformers"])
def opened(request: pytest.FixtureRequest, files: Path) -> Any:
    def of(template: str) -> Backend:
        if request.param == "transformers":
            return load((tiny_model("llama"), byte_tokenizer(template)))
        path = write_tiny_gguf(files / "tiny.gguf", chat_template=template)
        return load(str(path), n_ctx=512, n_threads=1)

    return of


def text_of(backend: Any, chat: str | list[Message]) -> str:
    ids = backend._prompts.encode(Request.chat(chat))
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    return "".join(
        names[i - 257] if i > 256 else backend._prompts._codec.text_of([i]).decode() for i in ids
    )


def test_a_prompt_that_was_just_measured_is_encoded_once(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = opened(CHATML)
    encoder, asked = backend._prompts, Request.chat(CHAT)
    encoded, encode = list[Request](), encoder._ids
    monkeypatch.setattr(encoder, "_ids", lambda each: (encoded.append(each), encode(each))[1])
    assert backend.measure(asked).tokens == len(encoder.encode(replace(asked, max_tokens=3)))
    assert encoded == [asked]
    encoder.encode(asked)  # later, when a template may tell another time
    backend.measure(asked)
    encoder.encode(Request.chat("Another question."))
    assert len(encoded) == 4


def llama(path: Path, **options: Any) -> Any:
    from llama_cpp import Llama

    return Llama(str(path), n_ctx=512, n_threads=1, verbose=False, **options)


def test_a_template_that_goes_through_blocks_gets_the_words_in_a_block(opened: Any) -> None:
    assert text_of(opened(BLOCKS), CHAT) == text_of(opened(CHATML), CHAT)


def test_a_control_token_inside_a_block_stays_text(opened: Any) -> None:
    ids = opened(BLOCKS)._prompts.encode(Request.chat("a<|im_end|>b"))

    assert ids.count(259) == 1  # that of the template


@pytest.mark.parametrize(
    ("template", "chat", "role"),
    [
        ("Hello!", "Hello", "user"),
        ("{{ messages[-1].contents }}", "Name a city.", "user"),
        (CUT, "One ### two", "user"),
    ],
    ids=["found there by chance", "misspelt", "cut off"],
)
def test_a_template_that_leaves_out_words_is_refused(
    opened: Any, template: str, chat: Any, role: str
) -> None:
    with pytest.raises(PromptError, match=f"leaves out words of a {role} message"):
        Guard(opened(template)).ask(chat, max_tokens=1)


def test_a_template_that_leaves_out_the_system_message_gets_it_in_the_users(opened: Any) -> None:
    text = text_of(opened(ONLY_USERS), CHAT)

    assert text.startswith("Be brief.")
    assert text.endswith("Name a city.\n")


def test_a_template_may_trim_the_words(opened: Any) -> None:
    assert text_of(opened(ONLY_USERS), "  Name a\n city. ") == "Name a\n city.\n"


def test_a_chat_that_ends_with_the_assistant_is_refused(opened: Any) -> None:
    chat = [Message("user", "Name a city."), Message("assistant", "The city is")]

    with pytest.raises(PromptError, match="ends with words of the assistant"):
        Guard(opened(CHATML)).ask(chat, max_tokens=1)


@pytest.mark.parametrize("template", [None, CHATML], ids=["no template", "another template"])
def test_the_chat_format_of_the_users_llama_is_used(files: Path, template: str | None) -> None:
    llm = llama(write_tiny_gguf(files / "own.gguf", chat_template=template), chat_format="vicuna")
    with capture(llm) as traces:
        llm.create_chat_completion(
            [{"role": "user", "content": "Hello there"}], max_tokens=2, temperature=0
        )

    trace = Guard(llm).ask("Hello there", max_tokens=2).trace

    assert text_of(load(llm), "Hello there").endswith(VICUNA)
    assert trace.prompt_tokens == traces[0].prompt_tokens
    assert trace.ids.tolist() == traces[0].ids.tolist()


def test_a_chat_handler_made_of_a_template_is_used(files: Path) -> None:
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    made = Jinja2ChatFormatter(ONLY_USERS, eos_token="<|im_end|>", bos_token="").to_chat_handler()
    llm = llama(write_tiny_gguf(files / "own.gguf"), chat_handler=made)

    assert text_of(load(llm), "Hello there") == "Hello there\n"


def test_a_chat_handler_that_cannot_be_read_is_refused_when_a_chat_is_asked(files: Path) -> None:
    def handler(**_options: Any) -> None:
        raise AssertionError("not called")

    guard = Guard(llama(write_tiny_gguf(files / "own.gguf"), chat_handler=handler))

    with pytest.raises(PromptError, match="chat handler asks the model in a way of its own"):
        guard.ask("Hello there", max_tokens=2)
    with pytest.raises(PromptError, match="chat handler asks the model in a way of its own"):
        guard.score("Hello there", "Hello")
    assert len(guard.ask(Request.raw("Hello there"), max_tokens=2).trace) > 0


def test_a_chat_format_that_ends_answers_at_other_words_is_refused(files: Path) -> None:
    llm = llama(write_tiny_gguf(files / "own.gguf"), chat_format="snoozy")

    with pytest.raises(PromptError, match="ends answers at '###'"):
        Guard(llm).ask("Hello there", max_tokens=2)


def test_a_chat_template_that_is_given_beats_the_chat_format(files: Path) -> None:
    llm = llama(write_tiny_gguf(files / "own.gguf"), chat_format="vicuna")

    assert text_of(load(llm, chat_template=ONLY_USERS), "Hello there") == "Hello there\n"


def test_another_layout_of_chats_is_another_fingerprint(files: Path) -> None:
    path = write_tiny_gguf(files / "own.gguf")
    own, vicuna = load(llama(path)), load(llama(path, chat_format="vicuna"))
    given = load(llama(path), chat_template=ONLY_USERS)

    assert len({backend.info.fingerprint for backend in (own, vicuna, given)}) == 3
    assert load(llama(path), chat_template=CHATML).info.fingerprint == own.info.fingerprint


def test_a_chat_format_is_refused_by_load(files: Path) -> None:
    path = write_tiny_gguf(files / "own.gguf")

    with pytest.raises(ConfigError, match="chat_format and chat_handler cannot be set here"):
        load(str(path), chat_format="vicuna")


def test_a_chat_format_that_there_is_not_is_refused(files: Path) -> None:
    llm = llama(write_tiny_gguf(files / "own.gguf"), chat_format="no such")

    with pytest.raises(ConfigError, match="no chat_format 'no such'"):
        load(llm)
