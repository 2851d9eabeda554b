"""Attacked: the command line, with everything that can be typed wrongly."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from energy_guard import Guard, load

from . import judged, models
from .case import Case, Kind, Make
from .judged import SCRIPTED_LOG
from .models import MODEL
from .typed import STDERR, STDOUT, as_typed, end_of, said, start

_QUESTION: Final = "Where is it?"
_ANSWER: Final = "Zanzibar-on-Sea 4711"
_NOT_UTF8: Final = b"caf\xe9 \xff\xfe"
_ENDS_S: Final = 60.0
_BOX: Final = "box"


@dataclass(frozen=True)
class Wrong:
    """A command that cannot be done; typed: what comes from standard input."""

    command: str
    typed: bytes = b""


_EVERY_ENGINE: Final = (
    "--model missing.gguf",
    "--model empty",
    "--model binary",
    "--model folder",
    "--model nobody/no-such-model",
    "--model tiny.gguf --backend vllm",
    "--model tiny.gguf --n-threads 0",
    "--model tiny.gguf --device cuda",
)
_RULES: Final = (
    *("--detector nosuch:max", "--detector nll:nosuch", "--detector ''", "--locator nosuch"),
    *("--locator 'regex:('", "--locator 'json:'", "--policy missing.toml", "--policy folder"),
    *("--policy empty", "--policy binary", "--policy latin.toml", "--policy deep.json"),
    *("--policy list.json", "--policy twice.json", "--policy nan.json", "--policy unknown.toml"),
    *("--policy p_wrong.toml --profile none", "--profile missing.json", "--profile folder"),
    *("--profile binary", "--profile twice.json", "--profile other.json", "--profile deep.json"),
)
_DATA: Final = (
    *("missing.jsonl", "folder", "empty", "binary", "no_question.jsonl", "no_answers.jsonl"),
    *("same_id.jsonl", "number.jsonl", "deep.json", "twice.jsonl", "cut.jsonl", "blank.csv"),
    "questions.jsonl --column nonsense",
    "questions.jsonl --column question=nosuch",
)
_ASK: Final = "ask 'Where is it?' --model tiny.gguf"
WRONG: Final = (
    *(Wrong(f"{_ASK} {rule}") for rule in _RULES),
    *(Wrong(f"ask Where {engine}") for engine in _EVERY_ENGINE),
    *(Wrong(f"doctor {engine}") for engine in _EVERY_ENGINE[:5]),
    *(Wrong(f"calibrate questions.jsonl --out p.json {engine}") for engine in _EVERY_ENGINE[::2]),
    *(Wrong(f"eval questions.jsonl --out e {engine}") for engine in _EVERY_ENGINE[1::2]),
    *(Wrong(f"bench {engine}") for engine in _EVERY_ENGINE[:4]),
    *(Wrong(f"chat {engine}", b"Hello\n") for engine in _EVERY_ENGINE[2:4]),
    *(Wrong(f"calibrate {data} --model tiny.gguf --out p.json") for data in _DATA[::2]),
    *(Wrong(f"eval {data} --model tiny.gguf --out e") for data in _DATA[1::2]),
    Wrong("ask"),
    Wrong("ask one two --model tiny.gguf"),
    Wrong("ask '' --model tiny.gguf"),
    Wrong("ask - --model tiny.gguf"),
    Wrong("ask - --model tiny.gguf", _NOT_UTF8),
    Wrong("ask - --model tiny.gguf", b"many words " * 50_000),
    Wrong(f"{_ASK} --max-tokens 0"),
    Wrong(f"{_ASK} --max-tokens -1"),
    Wrong(f"{_ASK} --max-tokens many"),
    Wrong(f"{_ASK} --temperature -1"),
    Wrong(f"{_ASK} --temperature nan"),
    Wrong(f"{_ASK} --temperature inf"),
    Wrong(f"{_ASK} --seed x"),
    Wrong(f"{_ASK} --stop ''"),
    Wrong(f"{_ASK} --n-ctx 0"),
    Wrong(f"{_ASK} --n-ctx 8"),
    Wrong(f"{_ASK} --log folder"),
    Wrong(f"{_ASK} --log missing/log.jsonl"),
    Wrong(f"{_ASK} --log-private"),
    Wrong(f"{_ASK} --no-such-option"),
    Wrong(f"{_ASK} --log /dev/full --policy strict.toml"),
    Wrong(
        f"score --prompt Where --answer '{_ANSWER}' --model tiny.gguf --policy strict.toml "
        "--log /dev/full"
    ),
    Wrong("score --model tiny.gguf"),
    Wrong("score --prompt Where --model tiny.gguf"),
    Wrong("score --prompt Where --answer '' --model tiny.gguf"),
    Wrong("score --prompt Where --answer - --model tiny.gguf", _NOT_UTF8),
    Wrong("score --from-log missing.jsonl"),
    Wrong("score --from-log folder"),
    Wrong("score --from-log binary"),
    Wrong("score --from-log deep.json"),
    Wrong("score --from-log questions.jsonl"),
    Wrong("score --from-log scripted.jsonl --locator nosuch"),
    Wrong("score --from-log scripted.jsonl --profile other.json"),
    Wrong("score --from-log scripted.jsonl --policy p_wrong.toml"),
    Wrong("chat --model tiny.gguf --log folder", b"Hello\n"),
    Wrong("chat --model tiny.gguf --policy unknown.toml", b"Hello\n"),
    Wrong("chat --model tiny.gguf --system '' --n-ctx 4", b"Hello\n"),
    Wrong("calibrate questions.jsonl --model tiny.gguf --out p.json"),  # too few of them
    Wrong("calibrate questions.jsonl --model tiny.gguf --out folder"),
    Wrong("calibrate questions.jsonl --model tiny.gguf --out binary"),
    Wrong("calibrate questions.jsonl --model tiny.gguf --out p.json --max-risk 2"),
    Wrong("calibrate questions.jsonl --model tiny.gguf --out p.json --max-risk nan"),
    Wrong("calibrate questions.jsonl --model tiny.gguf --out p.json --max-risk 0.1 --confidence 1"),
    Wrong("calibrate questions.jsonl --model tiny.gguf --out p.json --target -1"),
    Wrong("calibrate questions.jsonl --model tiny.gguf --out p.json --policy strict.toml"),
    Wrong("calibrate questions.jsonl --model tiny.gguf --out p.json --grader missing.gguf"),
    Wrong("eval"),
    Wrong("eval questions.jsonl --model tiny.gguf -n 0"),
    Wrong("eval questions.jsonl --model tiny.gguf --baselines -1"),
    Wrong("eval questions.jsonl --model tiny.gguf --out binary"),
    Wrong("eval questions.jsonl --model tiny.gguf --out e --probe"),
    Wrong("eval questions.jsonl --from-traces folder"),
    Wrong("eval --from-traces missing"),
    Wrong("eval --from-traces folder"),
    Wrong("eval --from-traces binary"),
    Wrong("eval --from-traces scripted.jsonl"),
    Wrong("label missing.jsonl"),
    Wrong("label folder"),
    Wrong("label empty"),
    Wrong("label binary", b"r\n"),
    Wrong("label questions.jsonl", b"r\n"),
    Wrong("bench --model tiny.gguf --pairs 1"),
    Wrong("bench --model tiny.gguf --tokens x"),
    Wrong("bench --model tiny.gguf --n-ctx 64"),
    Wrong("serve --model missing.gguf"),
    Wrong("serve --model tiny.gguf --port 65536"),
    Wrong("serve --model tiny.gguf --host 0.0.0.0"),
    Wrong("serve --model tiny.gguf --host no.such.host.invalid --no-key"),
    Wrong("serve --model tiny.gguf --stream sometimes"),
    Wrong("serve --model tiny.gguf --timeout 0"),
    Wrong("serve --model tiny.gguf --policy unknown.toml"),
    Wrong("serve --model tiny.gguf --log folder"),
    Wrong("demo now"),
    Wrong("demo --model tiny.gguf"),
    Wrong("doctor --model tiny.gguf --n-ctx x"),
    Wrong("tell me"),
    Wrong("--verbose ask Where"),
)


def prepare(folder: Path) -> None:
    """Write the files that the commands name, once."""
    models.prepare(folder)
    judged.prepare(folder)
    box = folder / _BOX
    if box.exists():
        return
    box.mkdir()
    shutil.copy(folder / MODEL, box / MODEL)
    shutil.copy(folder / SCRIPTED_LOG, box / SCRIPTED_LOG)
    (box / "folder").mkdir()
    (box / "other.json").write_text(json.dumps(judged.profile_of(folder)), "utf-8")
    rows = [{"id": str(n), "question": f"q{n}?", "answers": ["Oslo"]} for n in range(6)]
    lines = [json.dumps(row) for row in rows]
    for name, content in {
        "empty": b"",
        "binary": bytes(range(256)) * 8,
        "latin.toml": 'detector = "nll:max" # für'.encode("latin-1"),
        "deep.json": b"[" * 100_000,
        "list.json": b"[]",
        "twice.json": b'{"detector": "nll:max", "abstain": 1.0, "warn": 0.1, "abstain": 99.0}',
        "nan.json": b'{"detector": "nll:max", "abstain": NaN}',
        "unknown.toml": b'detector = "nll:max"\nabstian = 1.0\n',
        "p_wrong.toml": b'on = "p_wrong"\nabstain = 0.5\n',
        "strict.toml": b'detector = "nll:max"\nwarn = -1.0\nabstain = -1.0\n',
        "questions.jsonl": "\n".join(lines).encode(),
        "no_question.jsonl": b'{"id": "1", "answers": ["Oslo"]}\n',
        "no_answers.jsonl": b'{"id": "1", "question": "q?"}\n',
        "same_id.jsonl": "\n".join([lines[0], lines[0].replace("q0", "q9")]).encode(),
        "number.jsonl": b'{"id": "1", "question": 5, "answers": ["Oslo"]}\n',
        "twice.jsonl": b'{"id": "1", "question": "a?", "question": "b?", "answers": ["Oslo"]}\n',
        "cut.jsonl": lines[0][:-9].encode() + b"\n" + lines[1].encode(),
        "blank.csv": b"\n\n\n",
    }.items():
        (box / name).write_bytes(content)


def open_commands(folder: Path) -> Make:
    guard = Guard(load(folder / MODEL, n_threads=1), profile=None)
    withheld = guard.ask(_QUESTION).answer
    assert len(withheld) > 20, withheld

    def make(number: int, dice: Random) -> Case:
        wrong = WRONG[number]
        args = shlex.split(wrong.command)

        def run() -> None:
            own = folder / f"box-{number}"
            shutil.copytree(folder / _BOX, own)
            before = _digests(own)
            status = end_of(start(args, own, wrong.typed), _ENDS_S)
            errors, printed = said(own), said(own, STDOUT)
            after = _digests(own)
            lost = [name for name in before if after.get(name) != before[name]]
            assert not lost, f"files are lost or changed: {lost}"
            assert "Traceback" not in errors, f"a traceback: {errors[-300:]}"
            assert status in (1, 2), f"status {status}: {printed[-200:]} {errors[-200:]}"
            told = errors if args[0] != "doctor" else printed + errors
            assert len(told.split()) > 4, f"no message: {told!r}"
            for secret in (withheld[:16], _ANSWER):
                assert secret not in printed + errors, "a withheld answer is quoted"
            shutil.rmtree(own)

        typed = f" < {wrong.typed[:40]!r}" if wrong.typed else ""
        return Case(as_typed(args) + typed, run)

    return make


def _digests(folder: Path) -> dict[str, str]:
    """What is in a folder: every file by its name, with what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
        if path.name not in (STDOUT, STDERR)
    }


KIND: Final = Kind(
    "the command line, typed wrongly", len(WRONG), open_commands, prepare, limit_s=_ENDS_S + 20
)
