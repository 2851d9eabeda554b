"""Attacked: chat templates. They are programs that come with a model file."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final

from tiny_gguf import CHATML

from energy_guard import Guard, Message, load

from .case import Case, Kind, Make
from .models import MODEL, prepare
from .mutate import spoilt_bytes, spoilt_text
from .template_pieces import PIECES

_MISTRAL: Final = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != "
    "(loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
_TOOLS: Final = (
    "{%- macro part(role, text, end='<|im_end|>') -%}<|im_start|>{{ role }}\n"
    "{{ text | trim }}{{ end }}\n{%- endmacro -%}{%- set ns = namespace(found=false, n=0) -%}"
    "{%- if tools is defined and tools -%}{{ part('system', tools | tojson(indent=2)) }}"
    "{%- endif -%}{%- for message in messages -%}{%- set ns.n = ns.n + 1 -%}"
    "{%- if message.content is string and '</think>' in message.content -%}"
    "{{ part(message.role, message.content.split('</think>')[-1].lstrip('\\n')) }}"
    "{%- else -%}{{ part(message.role, message.content) }}{%- endif -%}{%- endfor -%}"
    "{%- for message in messages[::-1] if message.role != 'system' -%}"
    "{%- set ns.found = true -%}{%- endfor -%}"
    "{{ strftime_now('%d %b %Y') }}{%- if add_generation_prompt -%}<|im_start|>assistant\n"
    "{%- endif -%}"
)
_BASES: Final = (CHATML, _MISTRAL, _TOOLS)


def open_templates(folder: Path) -> Make:
    engine = load(folder / MODEL, n_ctx=512, n_threads=1).engine  # type: ignore[attr-defined]
    chat = [Message("system", "Be brief."), Message("user", "Where?")]

    def make(number: int, dice: Random) -> Case:
        base = _BASES[number % len(_BASES)]
        if dice.random() < 0.15:
            how = dice.choice(["cut", "byte", "bytes", "no end", "nul"])
            text = spoilt_bytes(base.encode(), how, dice).decode("utf-8", "replace")
        else:
            text = spoilt_text(base, PIECES, r"[%}]}|$", dice)

        def run() -> None:
            turns = chat[1:] if base is _MISTRAL else chat
            Guard(load(engine, chat_template=text)).ask(turns, max_tokens=2)

        return Case(text, run)

    return make


KIND: Final = Kind("chat templates", 500, open_templates, prepare)
