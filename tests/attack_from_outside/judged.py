"""Stored answers, and what a judge makes of them: what the attacks on files compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from energy_guard import Guard, Policy, Profile, Request
from energy_guard.backends import Scripted, load
from energy_guard.judge import Judge
from energy_guard.log import LogEntry, TraceLog, read_log
from energy_guard.policy import Verdict

from .mutate import NO_VALUE

LOG: Final = "log.jsonl"
"""Answers of the embedded model, which has a shipped profile."""

SCRIPTED_LOG: Final = "scripted.jsonl"
_QUESTIONS: Final = 8
_WITHHELD: Final = ("abstain", "unscored")

SAID: Final = (
    [("Par", 0.97), ("is", 0.99)],
    [("Lyon", 0.2), (".", 0.9)],
    [("It", 0.9), (" is", 0.9), (" Lille", 0.02), (".", 0.9)],
    [("Paris", 0.9), (" in", 0.9), (" Nineteen", 0.01), ("eighty", 0.9)],
    [("No", 0.4), (",", 0.6), (" Rome", 0.4)],
    [("New", 0.98), (" York", 0.99), (" City", 0.99), (".", 0.95)],
    [("Hello", 0.9), ("!", 0.9)],
)


def prepare(folder: Path) -> None:
    """Write both logs, once."""
    if (folder / SCRIPTED_LOG).exists():
        return
    quiz = (files("energy_guard.data") / "quiz.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in quiz[:: len(quiz) // _QUESTIONS]]
    backend = load("demo", n_ctx=1024, n_threads=1)
    guard = Guard(backend, log=TraceLog(folder / LOG))
    for row in rows:
        asked = Request.chat(f"{row['context'] or ''}\n{row['question']}", max_tokens=20)
        guard.ask(asked)
    assert guard.judge.profile is not None
    backend.engine.close()  # type: ignore[attr-defined]
    scripted = Guard(Scripted.saying(*SAID), log=TraceLog(folder / SCRIPTED_LOG))
    for number in range(len(SAID)):
        scripted.ask(f"What is the capital of country {number}?")


def profile_of(folder: Path) -> dict[str, Any]:
    """The profile that is shipped for the model of the log, as its file has it."""
    info = next(iter(read_log(folder / LOG))).model_info
    name = f"{info.fingerprint}-{info.backend}.json"
    text = (files("energy_guard.data") / "profiles" / name).read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def verdict(entry: LogEntry, policy: Policy | None, profile: Profile | None) -> Verdict:
    """What `energy-guard score --from-log` says of an entry."""
    info = entry.model_info
    judge = Judge.assemble(policy, profile=profile, info=info)
    judge.check_model(info)
    judge = judge.for_asking(entry.mode, scoring=entry.scoring, alone=True)
    attempts = [judge.assess_stored(entry, relocate=False)]
    result = judge.conclude(attempts, judge.final(attempts), info=info)
    json.dumps(result.to_dict(), allow_nan=False)
    return result.verdict


def check(how: str, before: Sequence[Verdict], after: Sequence[Verdict]) -> None:
    """What says two things is not read; what gives no value lets no withheld answer through."""
    assert how != "twice", "of two values of one key one was taken in silence"
    if how not in NO_VALUE:
        return
    let_through = [
        (number, then)
        for number, (then, now) in enumerate(zip(before, after, strict=True))
        if then in _WITHHELD and now == "accept"
    ]
    assert not let_through, f"accepted now (answer, verdict before): {let_through}"
