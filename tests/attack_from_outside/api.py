"""Attacked: the Python API, with what nobody should hand over."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from energy_guard import (
    Guard,
    Message,
    Policy,
    Profile,
    Request,
    Sampling,
    Trace,
    capture,
    grade,
    load,
    locate_text,
)
from energy_guard.backends import Script, Scripted
from energy_guard.errors import EnergyGuardError
from energy_guard.request import Grammar, JsonSchema

from .case import Case, Kind, Make

_SAID: Final = [("Par", 0.97), ("is", 0.99)]


def _backend() -> Any:
    return Scripted.saying(_SAID)


def _guard(**options: Any) -> Any:
    return Guard(_backend(), **options)


def _ask(prompt: Any, **options: Any) -> Any:
    return _guard().ask(prompt, **options)


_policy: Any = Policy
_profile: Any = Profile
_load: Any = load
_sampling: Any = Sampling
_request: Any = Request
_grade: Any = grade
_locate: Any = locate_text
_capture: Any = capture
_trace: Any = Trace

WRONG: Final[dict[str, Callable[[], object]]] = {
    'load("missing.gguf")': lambda: _load("missing.gguf"),
    'load("")': lambda: _load(""),
    "load(None)": lambda: _load(None),
    "load(5)": lambda: _load(5),
    'load(b"demo")': lambda: _load(b"demo"),
    "load((1, 2))": lambda: _load((1, 2)),
    'load("demo", "vllm")': lambda: _load("demo", "vllm"),
    'load("demo", nonsense=1)': lambda: _load("demo", nonsense=1),
    'load("demo", vocab_only=True)': lambda: _load("demo", vocab_only=True),
    'load("\\0")': lambda: _load("\0"),
    "Guard(None)": lambda: Guard(None),
    'Guard(detector="nosuch:max")': lambda: _guard(detector="nosuch:max"),
    "Guard(detector=5)": lambda: _guard(detector=5),
    'Guard(locator="nosuch")': lambda: _guard(locator="nosuch"),
    'Guard(locator="regex:(")': lambda: _guard(locator="regex:("),
    "Guard(policy={...})": lambda: _guard(policy={"abstain": 1.0}),
    'Guard(profile="none")': lambda: _guard(profile="none"),
    'Guard(fallback="demo")': lambda: _guard(fallback="demo"),
    'Guard(log="log.jsonl")': lambda: _guard(log="log.jsonl"),
    "a policy with a fallback, and none": lambda: _guard(
        policy=Policy(detector="nll:max", abstain=1, retries=1, retry=("fallback",))
    ),
    "Policy(abstain=nan)": lambda: _policy(detector="nll:max", abstain=math.nan),
    "Policy(abstain=inf)": lambda: _policy(detector="nll:max", abstain=math.inf),
    'Policy(abstain="much")': lambda: _policy(detector="nll:max", abstain="much"),
    "Policy(warn above abstain)": lambda: _policy(detector="nll:max", warn=2, abstain=1),
    "Policy(abstain without detector)": lambda: _policy(abstain=1.0),
    "Policy(abstian=1)": lambda: _policy(detector="nll:max", abstian=1.0),
    "Policy(retries=-1)": lambda: _policy(retries=-1),
    "Policy(retries=10**9)": lambda: _policy(retries=10**9),
    "Policy(retry=())": lambda: _policy(retry=()),
    'Policy.read("missing")': lambda: _policy.read("missing"),
    "Policy.read(None)": lambda: _policy.read(None),
    "Profile()": lambda: _profile(),
    'Profile.read("missing")': lambda: _profile.read("missing"),
    'ask("")': lambda: _ask(""),
    "ask(None)": lambda: _ask(None),
    "ask(5)": lambda: _ask(5),
    "ask([])": lambda: _ask([]),
    'ask(["text"])': lambda: _ask(["text"]),
    'ask([Message("nobody", …)])': lambda: _ask([Message("nobody", "x")]),  # type: ignore[arg-type]
    "ask([Message with None])": lambda: _ask([Message("user", None)]),  # type: ignore[arg-type]
    'ask("\\ud800")': lambda: _ask("\ud800"),
    "ask(max_tokens=0)": lambda: _ask("q", max_tokens=0),
    'ask(max_tokens="9")': lambda: _ask("q", max_tokens="9"),
    "ask(max_tokens=nan)": lambda: _ask("q", max_tokens=math.nan),
    "ask(temperature=1)": lambda: _ask("q", temperature=1),
    "ask(sampling={...})": lambda: _ask("q", sampling={"temperature": 1}),
    'ask(stop="")': lambda: _ask("q", stop=""),
    'ask(stop=("",))': lambda: _ask("q", stop=("",)),
    "ask(stop=5)": lambda: _ask("q", stop=5),
    "ask(deadline=nan)": lambda: _ask("q", deadline=math.nan),
    'ask(cancel="now")': lambda: _ask("q", cancel="now"),
    'ask(constraint="root")': lambda: _ask("q", constraint="root"),
    "Grammar(None) for a model": lambda: _tiny_ask(constraint=Grammar(None)),  # type: ignore[arg-type]
    "JsonSchema({}) for a model": lambda: _tiny_ask(constraint=JsonSchema({})),  # type: ignore[arg-type]
    'Request.raw("")': lambda: _ask(_request.raw("")),
    "Request.raw(None)": lambda: _ask(_request.raw(None)),
    "Sampling(temperature=nan)": lambda: _sampling(temperature=math.nan),
    'Sampling(temperature="hot")': lambda: _sampling(temperature="hot"),
    "Sampling(temperature=-1)": lambda: _sampling(temperature=-1),
    "Sampling(logit_bias=[1])": lambda: _sampling(logit_bias=[1]),
    "Sampling(logit_bias={'a': 1})": lambda: _sampling(logit_bias={"a": 1}),
    "Sampling(top_k=None)": lambda: _sampling(top_k=None),
    'Sampling(seed="x")': lambda: _sampling(seed="x"),
    'score("q", "")': lambda: _guard().score("q", ""),
    'score("q", [])': lambda: _guard().score("q", []),
    'score("q", None)': lambda: _guard().score("q", None),
    'score("q", "another text")': lambda: _guard().score("q", "another text"),
    'score("q", [99999])': lambda: _guard().score("q", [99999]),
    'grade("q?", "Oslo", "a")': lambda: _grade("q?", "Oslo", "a"),
    'grade("q?", [], "a")': lambda: _grade("q?", [], "a"),
    'grade("q?", [5], "a")': lambda: _grade("q?", [5], "a"),
    'locate_text("q", "a", "AB")': lambda: _locate("q", "a", "AB"),
    'locate_text(locator="nosuch")': lambda: _locate("q", "a", locator="nosuch"),
    'locate_text("q", None)': lambda: _locate("q", None),
    "capture(None)": lambda: _capture(None),
    'capture("demo")': lambda: _capture("demo"),
    'Trace.from_json("")': lambda: _trace.from_json(""),
    'Trace.from_json("{}")': lambda: _trace.from_json("{}"),
    "Trace.from_json([…)": lambda: _trace.from_json("[" * 100_000),
    "Trace.from_json(None)": lambda: _trace.from_json(None),
    "a script without rows": lambda: Script((1, 2), []),  # type: ignore[arg-type]
    "Scripted.saying with p = 2": lambda: Scripted.saying([("a", 2.0)]),
    'trace.signal("nosuch")': lambda: _ask("q").trace.signal("nosuch"),
}


def _tiny_ask(**options: Any) -> object:
    return Guard(load("demo", n_ctx=256, n_threads=1)).ask("q", max_tokens=2, **options)


def open_calls(_folder: Path) -> Make:
    names = [*WRONG]

    def make(number: int, dice: Random) -> Case:
        def run() -> None:
            try:
                found = WRONG[names[number]]()
            except EnergyGuardError as error:
                assert len(str(error).split()) > 3, f"no message: {error}"
                raise
            raise AssertionError(f"it was taken without a word: {found!r}")

        return Case(names[number], run)

    return make


KIND: Final = Kind("the Python API, called wrongly", len(WRONG), open_calls)
