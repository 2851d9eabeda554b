"""Attacked: calibrate and eval, which are killed at any moment and go on with --resume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from tiny_gguf import write_tiny_gguf

from energy_guard import Guard, load
from energy_guard.questions.rows import read_rows
from energy_guard.questions.wording import Wording, request_of

from .case import Case, Kind, Make
from .typed import STDERR, end_of, said, start

_MODEL: Final = "killed.gguf"
_DATA: Final = "killed.jsonl"
_ROWS: Final = 160
_ENDS_S: Final = 200.0
_ENGINE: Final = ("-m", f"../{_MODEL}", "--n-ctx", "1024", "--n-threads", "1")


def prepare(folder: Path) -> None:
    """Write a model that ends its answers soon, and questions half of which it answers right."""
    if (folder / _DATA).exists():
        return
    write_tiny_gguf(folder / _MODEL, eos_bias=1.0)
    rows = [
        {"id": str(n), "task": f"t{n % 2}", "question": f"Which city is {n}?", "answers": ["Oslo"]}
        for n in range(_ROWS)
    ]
    _write(folder / _DATA, rows)
    guard = Guard(load(folder / _MODEL, n_ctx=1024, n_threads=1))
    words = Wording("Answer in one short sentence.", (), 48)
    for row, question in zip(rows, read_rows([folder / _DATA]), strict=True):
        if int(str(row["id"])) % 2:
            answer = guard.ask(request_of(question, words)).answer.strip()
            row["answers"] = [answer or "Rome"]
    _write(folder / _DATA, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _calibrated(folder: Path) -> dict[str, Any]:
    return {
        "profile": json.loads((folder / "p.json").read_text("utf-8")),
        "answers": (folder / "p.answers.jsonl").read_text("utf-8").splitlines(),
    }


def _evaluated(folder: Path) -> dict[str, Any]:
    results = json.loads((folder / "out" / "results.json").read_text("utf-8"))
    answers = (folder / "out" / "answers.jsonl").read_text("utf-8").splitlines()
    return {"results": results | {"command": None}, "answers": answers}


_CALIBRATE: Final = ("calibrate", f"../{_DATA}", *_ENGINE, "--out", "p.json", "--locator", "whole")
_EVALUATE: Final = ("eval", f"../{_DATA}", *_ENGINE, "-n", "20", "--out", "out")


def opener(
    args: tuple[str, ...], outcome: Callable[[Path], dict[str, Any]]
) -> Callable[[Path], Make]:
    """Returns what opens one of the two commands."""

    def open_kills(folder: Path) -> Make:
        import scipy  # noqa: F401  # once, for all forks
        import sklearn.linear_model  # noqa: F401

        undisturbed = folder / f"{args[0]}-undisturbed-{time.monotonic_ns()}"
        undisturbed.mkdir()
        began = time.monotonic()
        status = end_of(start(args, undisturbed), _ENDS_S)
        usual = time.monotonic() - began
        assert status == 0, said(undisturbed)
        expected = outcome(undisturbed)

        def make(number: int, dice: Random) -> Case:
            moments = [dice.random() for _ in range(dice.choice([1, 1, 2]))]

            def run() -> None:
                own = folder / f"{args[0]}-{number}"
                own.mkdir()
                for turn, moment in enumerate(moments):
                    process = start([*args, *(["--resume"] if turn else [])], own)
                    process.join(moment * usual)
                    process.kill()
                    process.join()
                status = end_of(start([*args, "--resume"], own), _ENDS_S)
                assert status == 0, f"--resume: {status}, {said(own, STDERR)}"
                found = outcome(own)
                different = [name for name in expected if found[name] != expected[name]]
                assert not different, f"other than undisturbed: {different}"

            at = ", ".join(f"{moment:.1%}" for moment in moments)
            return Case(f"{args[0]}, killed after {at} of {usual:.1f} s", run)

        return make

    return open_kills


CALIBRATE: Final = Kind(
    "calibrate, killed", 25, opener(_CALIBRATE, _calibrated), prepare, limit_s=400
)
EVALUATE: Final = Kind("eval, killed", 25, opener(_EVALUATE, _evaluated), prepare, limit_s=400)
