"""Chat templates: rendered as both engines' own libraries do, and within limits."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import CHATML, write_tiny_gguf
from tiny_models import byte_tokenizer, tiny_model

from energy_guard import Guard, load
from energy_guard.backends.system_role import NO_SYSTEM
from energy_guard.backends.template import ChatTemplate
from energy_guard.errors import InputError, PromptError
from energy_guard.request import Message, Request

CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be  brief."},
    {"role": "user", "content": "Grüße <b>&'\"</b>\n"},
    {"role": "assistant", "content": "Hm."},
    {"role": "user", "content": "And?"},
]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"a": ["é", 1, None]}}}]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

TEMPLATES = {
    "chatml": CHATML,
    "loops": (
        "{%- for m in messages %}\n  {%- if loop.first %}{{ bos_token }}{% endif -%}\n"
        "[{{ loop.index0 }}/{{ loop.length }}{{ ' last' if loop.last }}]"
        "{{ loop.previtem.role if not loop.first }}{{ loop.nextitem }}{{ m.content | trim }}\n"
        "{%- if m.role == 'assistant' %}{% continue %}{% endif %}!\n{% endfor %}{{ eos_token }}"
    ),
    "tools": "{% if tools %}{{ tools | tojson(indent=2) }}{{ tools[0] | tojson }}{% endif %}",
    "namespaces and macros": (
        "{% set ns = namespace(n=0, text='') %}{% macro say(m) %}<{{ m.role }}>{% endmacro %}"
        "{% for m in messages if m.role != 'system' %}{% set ns.n = ns.n + 1 %}"
        "{% set ns.text = ns.text ~ m['content'][:2] ~ loop.index %}{{ say(m) }}{% else %}none"
        "{% endfor %}{{ ns.n }}{{ ns.text }}{{ messages | map(attribute='role') | join(', ') }}"
        "{{ '%s-%d' % ('a', 3) }}{{ messages[1:] | length }}{{ (messages | first).role.upper() }}"
    ),
    "generation": (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    ),
    "unset names": "{{ nothing }}{{ nothing is defined }}{{ enable_thinking | default('unset') }}",
    "filters": (
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        "{{ 'a,b'.split(',') | join('+') }}{{ 'x' * 3 }}{{ 2 ** 10 }}{{ [1] + [2] }}"
        "{{ 'a b' | replace(' ', '_') }}{{ {'b': 1, 'a': 2} | dictsort }}{{ 3.0 | string }}"
        "{{ strftime_now('%Y')[:2] }}{% set x %}block{% endset %}{{ x }}{{ range(3) | list }}"
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prompt_is_the_one_of_llama_cpp_python(name: str) -> None:
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    theirs = Jinja2ChatFormatter(TEMPLATES[name], eos_token="</s>", bos_token="<s>")
    ours = ChatTemplate(TEMPLATES[name], TOKENS).render(CHAT, TOOLS, {})
    expected: Any = theirs(messages=CHAT, tools=TOOLS)  # type: ignore[arg-type]
    assert ours == expected.prompt


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prompt_is_the_one_of_transformers(name: str) -> None:
    tokenizer = byte_tokenizer(TEMPLATES[name])
    tokens = tokenizer.special_tokens_map
    ours = ChatTemplate(TEMPLATES[name], tokens).render(CHAT, TOOLS, {})
    assert ours == tokenizer.apply_chat_template(
        CHAT, tools=TOOLS, add_generation_prompt=True, tokenize=False
    )


HOSTILE = {
    "loops inside one another": (
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
    ),
    "loops without end": (
        "{% macro two(n) %}{% if n %}{{ two(n - 1) }}{{ two(n - 1) }}{% endif %}{% endmacro %}"
        "{{ two(60) }}"
    ),
    "loops that call themselves": (
        "{% for a in [30] recursive %}{% if a %}{{ loop([a - 1, a - 1]) }}{% endif %}{% endfor %}"
    ),
    "a long text": "{{ 'a' * 10000000000 }}",
    "a long list": "{{ [1] * 10000000000 }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "squares": "{% set ns = namespace(n=3) %}{% for i in range(90) %}"
    "{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "doubling by ~": "{% set ns = namespace(t='a') %}{% for i in range(60) %}"
    "{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
    "doubling by +": "{% set ns = namespace(t='a') %}{% for i in range(60) %}"
    "{% set ns.t = ns.t + ns.t %}{% endfor %}",
    "doubling by a block": "{% set ns = namespace(t='a') %}{% for i in range(60) %}"
    "{% set ns.t %}{{ ns.t }}{{ ns.t }}{% endset %}{% endfor %}",
    "lists of the same list": "{% set ns = namespace(t=[1]) %}{% for i in range(60) %}"
    "{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.t }}",
    "a wide filter": "{{ 'a' | center(10000000000) }}",
    "a wide method": "{{ 'a'.ljust(10000000000) }}",
    "a wide format": "{{ '%10000000000d' % 1 }}",
    "another wide format": "{{ '{:>10000000000}'.format('a') }}",
    "a wide indentation": "{{ messages | tojson(indent=1000000000) }}",
    "replacements": "{% set a = 'a' * 9999999 %}{{ a | replace('a', a) }}",
    "joins": "{% set a = 'a' * 9999999 %}{{ a | join(a) }}",
    "much output": "{% set a = 'a' * 9999999 %}{% for i in range(99) %}{{ a }}{% endfor %}",
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep blocks": "{% if 1 %}" * 500 + "{% endif %}" * 500,
    "a long template": "a" * 2_000_000,
    "another file": "{% include 'secret' %}",
    "a way out of the sandbox": "{{ messages.__class__.__mro__ }}",
}
MISTAKES = {
    "does not compile": "{% for %}",
    "adds a number to a text": "{{ messages[0]['content'] + 1 }}",
    "divides by zero": "{{ 1 // 0 }}",
    "reads what is not there": "{{ messages[0].nothing.more }}",
    "calls what is not there": "{{ nothing() }}",
    "looks behind the end": "{{ messages[99]['content'] }}",
    "refuses": "{{ raise_exception('roles must alternate') }}",
    "knows no such filter": "{{ messages | nothing }}",
    "calls itself for ever": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}


@pytest.mark.parametrize("what", HOSTILE | MISTAKES)
def test_a_template_that_cannot_be_rendered_is_refused_in_time(what: str) -> None:
    began = time.process_time()
    with pytest.raises(PromptError, match="chat template refuses"):
        ChatTemplate((HOSTILE | MISTAKES)[what], TOKENS).render(CHAT, TOOLS, {})
    assert time.process_time() - began < 15


def test_a_long_chat_is_no_attack() -> None:
    chat = [{"role": "user", "content": "word " * 100_000}] * 30
    assert len(ChatTemplate(CHATML, TOKENS).render(chat, None, {})) > 15_000_000


@pytest.mark.parametrize("what", MISTAKES)
def test_a_model_whose_template_fails_answers_raw_prompts(tmp_path: Path, what: str) -> None:
    path = write_tiny_gguf(tmp_path / "bad.gguf", chat_template=MISTAKES[what])
    guard = Guard(load(path, n_ctx=128, n_threads=1), profile=None)
    assert len(guard.ask(Request.raw("Hi", max_tokens=2)).trace) == 2
    with pytest.raises(PromptError, match="chat template refuses"):
        guard.ask("Hi", max_tokens=2)


REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
)
FORGETS_SYSTEM = CHATML.replace(
    "{% for message in messages %}", "{% for message in messages if message.role != 'system' %}"
)


@pytest.fixture(params=["llama-cpp", "transformers"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def load_with(template: str, **options: Any) -> Any:
        if request.param == "llama-cpp":
            path = write_tiny_gguf(tmp_path / "model.gguf", chat_template=template)
            return load(path, n_ctx=512, n_threads=1, **options)
        return load((tiny_model(), byte_tokenizer(template)), **options)

    return load_with


@pytest.mark.parametrize(
    "template",
    ["{{ 'a' * 30000000000 }}", "{{ 'a' | center(30000000000) }}", "{{ 9 ** (9 ** 9) }}"],
)
def test_a_constant_of_endless_size_ends_neither_loading_nor_asking(
    loaded: Any, template: str
) -> None:
    guard = Guard(loaded(template), profile=None)
    with pytest.raises(PromptError, match="too large"):
        guard.ask("Hi", max_tokens=2)
    assert len(guard.ask(Request.raw("Hi", max_tokens=2)).trace) == 2


@pytest.mark.parametrize("template", [REFUSES_SYSTEM + CHATML, FORGETS_SYSTEM])
def test_a_template_without_a_system_role_gets_its_text_in_the_users_turn(
    loaded: Any, template: str
) -> None:
    guard = Guard(loaded(template), profile=None)
    asked = Request.chat([Message("system", "Be brief."), Message("user", "Hi")], max_tokens=2)
    result = guard.ask(asked)
    together = guard.measure("Be brief.\n\nHi")
    assert result.trace.prompt_tokens == together.tokens
    assert NO_SYSTEM in result.notes
    assert NO_SYSTEM not in guard.ask("Hi", max_tokens=2).notes


def test_system_messages_further_on_stand_in_the_next_users_turn(loaded: Any) -> None:
    backend = loaded(FORGETS_SYSTEM)
    turns = [("user", "Hi"), ("assistant", "Yes?"), ("system", "Be brief."), ("user", "Why?")]
    later = Request.chat([Message(role, text) for role, text in turns])  # type: ignore[arg-type]
    merged = [*turns[:2], ("user", "Be brief.\n\nWhy?")]
    expected = Request.chat([Message(role, text) for role, text in merged])  # type: ignore[arg-type]
    assert backend._prompts.encode(later) == backend._prompts.encode(expected)
    last = Request.chat([Message("user", "Hi"), Message("system", "Be brief.")])
    assert backend._prompts.encode(last) == backend._prompts.encode(Request.chat("Hi\n\nBe brief."))


def test_a_template_with_a_system_role_is_left_to_itself(loaded: Any) -> None:
    guard = Guard(loaded(CHATML), profile=None)
    asked = Request.chat([Message("system", "Be brief."), Message("user", "Hi")], max_tokens=2)
    assert guard.ask(asked).notes == ()


THINKS = CHATML + "{% if enable_thinking | default(true) %}<think>{% endif %}"


def test_variables_of_the_template_are_given_at_loading_or_asking(loaded: Any) -> None:
    thinking, plain = loaded(THINKS), loaded(THINKS, template_variables={"enable_thinking": False})
    off = Request.chat("Hi", template_variables={"enable_thinking": False})
    on = Request.chat("Hi", template_variables={"enable_thinking": True})
    assert thinking.measure(Request.chat("Hi")).opens_reasoning
    assert not thinking.measure(off).opens_reasoning
    assert not plain.measure(Request.chat("Hi")).opens_reasoning
    assert plain.measure(on).opens_reasoning, "the request's count more"
    assert plain.info.engine["template_variables"] == '{"enable_thinking": false}'


def test_a_variable_that_the_template_does_not_ask_for_is_refused(loaded: Any) -> None:
    backend = loaded(THINKS)
    with pytest.raises(PromptError, match=r"enable_thinkin$"):
        backend.measure(Request.chat("Hi", template_variables={"enable_thinkin": True}))
    with pytest.raises(InputError, match="need a chat"):
        backend.measure(Request.raw("Hi", template_variables={"enable_thinking": True}))


@pytest.mark.parametrize("variables", [{"messages": []}, {"x": object()}, {"x": float}])
def test_variables_that_cannot_be_given_are_refused(variables: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="template_variables"):
        Request.chat("Hi", template_variables=variables)


def test_copies_of_a_guard_share_the_engine(loaded: Any) -> None:
    guard = Guard(loaded(CHATML), profile=None)
    twin = copy.deepcopy(guard)
    assert twin.backend is guard.backend
    assert twin.ask("Hi", max_tokens=2).answer == guard.ask("Hi", max_tokens=2).answer


def test_json_survives_the_sandbox() -> None:
    text = ChatTemplate("{{ tools | tojson }}", {}).render([], TOOLS, {})
    assert json.loads(text) == TOOLS


def test_half_a_character_is_an_error_of_the_template() -> None:
    template = ChatTemplate("{{ '\\ud800' }}{{ messages[0].content }}", TOKENS)
    with pytest.raises(PromptError, match="surrogates not allowed"):
        template.render(CHAT, None, {})


@pytest.mark.parametrize("part", ["['a']", ".a", "(1)", " | first"])
def test_an_expression_too_deep_to_be_compiled_in_time_is_refused(part: str) -> None:
    began = time.process_time()
    with pytest.raises(PromptError, match=r"too deep|recursion"):
        ChatTemplate("{{ messages" + part * 600 + " }}", TOKENS).render(CHAT, None, {})
    assert time.process_time() - began < 5


def test_many_expressions_of_an_ordinary_depth_are_compiled() -> None:
    text = "{{ messages[0]['content'][:2] | upper | lower | trim ~ 'a' + 'b' + 'c' }}" * 500
    assert ChatTemplate(text, TOKENS).render(CHAT, None, {}) == "beabc" * 500


@pytest.mark.parametrize(
    "template",
    ["{{ messages" + "['a']" * 600 + " }}", "{{ 'x' * 10**9 }}", "{{ '%999999999d' % 1 }}"],
    ids=["deep", "long", "wide"],
)
def test_a_file_whose_template_cannot_be_compiled_in_time_loads_and_answers_plain_text(
    tmp_path: Path, template: str
) -> None:
    path = write_tiny_gguf(tmp_path / "bad.gguf", chat_template=template)
    began = time.process_time()
    guard = Guard(load(path, n_ctx=64, n_threads=1))
    assert len(guard.ask(Request.raw("the", max_tokens=2)).trace) == 2
    with pytest.raises(PromptError, match=r"too (deep|large|wide)|recursion"):
        guard.ask("the")
    assert time.process_time() - began < 8


def test_the_engine_itself_answers_chats_by_the_template_of_its_file(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", eos_bias=-50.0)
    backend: Any = load(path, n_ctx=64, n_threads=1)
    chat = [{"role": "user", "content": "the"}]
    said = [
        backend.engine.create_chat_completion(chat, max_tokens=4, temperature=0) for _ in range(2)
    ]
    texts = [each["choices"][0]["message"]["content"] for each in said]
    assert texts == [Guard(backend, profile=None).ask("the", max_tokens=4).answer] * 2
