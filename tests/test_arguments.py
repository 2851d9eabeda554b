"""Whatever is given to a public function: an answer, or an error of ours that names the argument.

The walk goes by the signatures, so that a new argument is tried by itself; one that is required
needs a good value in `GOOD`.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import types
import typing
from collections import UserList, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import langchain_energy_guard
import numpy as np
import pytest
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

import energy_guard
from energy_guard import Guard, Message, Policy, Profile, Request, Result, Sampling, Trace, backends
from energy_guard import log as log_module
from energy_guard import request as request_module
from energy_guard.arguments import checked
from energy_guard.backends import Script, Scripted
from energy_guard.decide import Again, Changes
from energy_guard.energy import Row
from energy_guard.errors import ConfigError, EnergyGuardError, InputError
from energy_guard.fitted import Term
from energy_guard.judge import Judge
from energy_guard.log import TraceLog
from energy_guard.policy import EarlyStop
from energy_guard.request import CancelToken, Grammar, JsonSchema, RequestOptions, Token
from energy_guard.score import Detector
from energy_guard.trace import Step

SAID = [("Par", 0.97), ("is", 0.99)]
ROW = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)
STEP = Step(0, b"Hi", 1.5, ROW)

WRONG: dict[str, Any] = {
    "None": None,
    "no text": "",
    "no bytes": b"",
    "a float": 3.5,
    "NaN": math.nan,
    "an empty list": [],
    "an empty mapping": {},
    "an object": object(),
}


def scripted() -> Scripted:
    return Scripted.saying(*[SAID] * 40)


def calibrated() -> Profile:
    calibration = {"slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9}
    return Profile(
        model=scripted().info.fingerprint,
        backend="scripted",
        mode="chat",
        detector="nll:max",
        locator="automatic",
        calibration=calibration,
    )


def trace() -> Trace:
    return Trace.from_steps([STEP], ROW)


def withheld() -> Result:
    return Guard(scripted(), Policy(detector="nll:max", warn=-2, abstain=-1)).ask("Which city?")


GOOD: dict[str, Callable[[], Any]] = {
    "abstention": lambda: None,
    "again": lambda: Again(Changes(), "why"),
    "answer": lambda: "Paris",
    "answers": lambda: ["Paris"],
    "arguments": lambda: "{}",
    "arrays": trace,
    "backend": scripted,
    "content": lambda: "Hi",
    "detector": lambda: Detector.parse("nll:max"),
    "details": lambda: "summary",
    "engine": lambda: scripted(),
    "event": lambda: Token(0, STEP),
    "fields": trace,
    "fallback": lambda: None,
    "gbnf": lambda: 'root ::= "yes"',
    "guard": lambda: Guard(scripted()),
    "handler": lambda: None,
    "ids": lambda: (1,),
    "judge": Judge.assemble,
    "locator": lambda: "whole",
    "logits": lambda: np.zeros(4),
    "model": scripted,
    "more": lambda: None,
    "name": lambda: "nll",
    "other": Policy,
    "pairs": lambda: [("?", "Paris")],
    "path": lambda: Path("nowhere.json"),
    "policy": lambda: Policy(),
    "prompt": lambda: "Which city?",
    "prompts": lambda: ["Which city?"],
    "question": lambda: "Which city?",
    "request": lambda: Request.chat("Which city?"),
    "result": withheld,
    "role": lambda: "user",
    "rows": lambda: np.zeros((1, 4)),
    "runnable": lambda: RunnableLambda(lambda text: text),
    "scoring": lambda: "fast",
    "schema": lambda: "{}",
    "score": lambda: withheld().attempts[-1].score,
    "scripts": lambda: [Script((1,), np.zeros((2, 4)))],
    "spec": lambda: "whole",
    "steps": lambda: [STEP],
    "text": lambda: trace().to_json(),
    "variables": dict,
    "vocabulary": lambda: [b"", b"Hi", b"a", b"b"],
}
"""A good value for every argument that has to be given, by its name."""

OWNERS: dict[type, Callable[[], Any]] = {
    CancelToken: CancelToken,
    Grammar: lambda: Grammar('root ::= "yes"'),
    Guard: lambda: Guard(scripted()),
    JsonSchema: lambda: JsonSchema("{}"),
    Message: lambda: Message("user", "Hi"),
    Policy: Policy,
    Profile: calibrated,
    Request: lambda: Request.chat("Which city?"),
    Sampling: Sampling,
    Scripted: scripted,
    Trace: trace,
    TraceLog: lambda: TraceLog(Path("log.jsonl")),
}
"""Makes the object whose methods are called; the other classes are records without any."""

RECORDS = {"Result", "Trace", "Token", "Partition", "Finished", "ModelInfo", "PromptSize"}
"""What callers read and do not make themselves; a Trace is made by its class methods."""


def callables() -> Iterator[tuple[str, type | None, Callable[..., Any]]]:
    """Every public function, class and method: its name, whose method it is, and itself."""
    modules = [energy_guard, backends, request_module, langchain_energy_guard]
    found = {name: getattr(module, name) for module in modules for name in module.__all__}
    found |= {name: getattr(log_module, name) for name in ("TraceLog", "read_log")}
    found |= {"Judge.assemble": Judge.assemble, "Detector.parse": Detector.parse}
    for name, value in sorted(found.items()):
        if name in {"RequestOptions", "Event", "Role", "Backend", "Session"}:
            continue
        if callable(value) and name not in RECORDS:
            yield name, None, value
        if not inspect.isclass(value):
            continue
        for method, function in inspect.getmembers_static(value):
            if method.startswith("_") or method not in vars(value):
                continue
            if isinstance(function, classmethod):
                yield f"{name}.{method}", None, getattr(value, method)
            elif isinstance(function, types.FunctionType) and value in OWNERS:
                yield f"{name}.{method}", value, function


CALLABLES = {name: (owner, function) for name, owner, function in callables()}


def arguments_of(function: Callable[..., Any]) -> dict[str, tuple[Any, bool]]:
    """The annotation of each argument, and whether it has to be given."""
    if inspect.isclass(function) and issubclass(function, BaseModel):
        fields = function.model_fields
        return {f.alias or name: (f.annotation, f.is_required()) for name, f in fields.items()}
    target = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(target)
    found: dict[str, tuple[Any, bool]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ("self", "_") or parameter.kind is parameter.VAR_POSITIONAL:
            continue
        hint = hints.get(name, Any)
        if parameter.kind is parameter.VAR_KEYWORD:
            if RequestOptions in typing.get_args(hint):
                options = typing.get_type_hints(RequestOptions)
                found |= {option: (kind, False) for option, kind in options.items()}
            continue
        found[name] = (hint, parameter.default is parameter.empty)
    return found


def cases() -> Iterator[tuple[str, str]]:
    for name, (_, function) in CALLABLES.items():
        for argument in arguments_of(function):
            yield name, argument


async def _awaited(value: Any) -> None:
    if inspect.isasyncgen(value):
        async for _ in value:
            pass
    else:
        await value


def call(name: str, given: dict[str, Any]) -> None:
    """Call it with one argument as given and good ones besides, to its end."""
    owner, function = CALLABLES[name]
    if name == "Profile":
        needed = calibrated().model_dump(by_alias=True)
    else:
        needed = {n: GOOD[n]() for n, (_, must) in arguments_of(function).items() if must}
    values = needed | given
    answer = function(*([OWNERS[owner]()] if owner else []), **values)
    if inspect.isawaitable(answer) or inspect.isasyncgen(answer):
        asyncio.run(_awaited(answer))
    elif inspect.isgenerator(answer):
        list(answer)


def test_the_walk_goes_through_the_public_functions() -> None:
    assert {"Guard", "Guard.ask", "load", "grade", "locate_text", "guarded"} <= CALLABLES.keys()
    assert ("Guard.ask", "max_tokens") in set(cases())


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("name", "argument"), list(cases()))
def test_a_wrong_type_is_an_error_of_ours_that_names_the_argument(
    name: str, argument: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hint, _ = arguments_of(CALLABLES[name][1])[argument]
    anything = hint in (Any, object) or Any in typing.get_args(hint)
    try:
        call(name, {argument: WRONG[wrong]})
    except EnergyGuardError as error:
        assert error.message
        if wrong == "an object" and not anything:
            assert argument in str(error)
        return
    assert wrong != "an object" or anything, "whatever is no use is refused"


NUMBERS = [name for name in Sampling.__slots__ if name not in ("logit_bias", "seed")]
NO_NUMBERS = [math.nan, math.inf, -math.inf, -3, True, np.bool_(True), np.float32("nan"), "0.5"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_a_sampling_setting_out_of_its_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"{name} is .*, which it cannot be") as caught:
        Sampling(**{name: value})
    assert caught.value.hint.startswith("It should be")


@pytest.mark.parametrize("name", ["top_p", "min_p", "typical_p"])
def test_a_share_above_one_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        Sampling(**{name: 1.01})


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "7"])
def test_a_seed_that_an_engine_would_take_for_another_is_refused(seed: Any) -> None:
    with pytest.raises(InputError, match="seed"):
        Sampling(seed=seed)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_numbers_of_numpy_become_plain_ones(kind: Any) -> None:
    sampling = Sampling(kind(0.5), top_k=np.int64(3), seed=np.uint32(7))  # type: ignore[arg-type]
    request = Request(ids=tuple(np.array([1, 2])), max_tokens=np.int32(5))  # type: ignore[arg-type]
    values = (sampling.temperature, sampling.top_k, sampling.seed)
    assert values == (0.5, 3, 7)
    assert (request.ids, request.max_tokens) == ((1, 2), 5)
    found = {type(v) for v in (*values, *(request.ids or ()), request.max_tokens)}
    assert found == {float, int}


@pytest.mark.parametrize("deadline", [math.nan, math.inf, -1.0, True, "soon"])
def test_a_deadline_that_never_comes_or_never_was_is_refused(deadline: Any) -> None:
    with pytest.raises(InputError, match="deadline"):
        Request.chat("Which city?", deadline=deadline)


@pytest.mark.parametrize("make", [Grammar, JsonSchema])
@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_constraint_is_not_taken_for_none(make: Any, text: str) -> None:
    with pytest.raises(InputError, match="empty"):
        make(text)


def test_an_error_names_the_item_that_does_not_fit() -> None:
    with pytest.raises(InputError, match=r"choices is .* because of choices\[1\]"):
        Request.chat("Which city?", choices=["York", 7])  # type: ignore[list-item]


def test_a_guard_is_not_its_own_fallback() -> None:
    guard = Guard(scripted())
    with pytest.raises(ConfigError, match="its own fallback"):
        guard.fallback = guard
    assert guard.fallback is None


def test_a_guard_is_not_the_fallback_of_its_fallback() -> None:
    last = Guard(scripted())
    first = Guard(scripted(), fallback=Guard(scripted(), fallback=last))
    with pytest.raises(ConfigError, match="its own fallback"):
        last.fallback = first
    assert last.fallback is None


def test_a_chain_is_not_its_own_fallback() -> None:
    chain: RunnableLambda[str, str] = RunnableLambda(lambda text: text)
    with pytest.raises(ConfigError, match="its own fallback"):
        langchain_energy_guard.guarded(chain, fallback=chain)


CONFIGS: dict[str, Callable[[], BaseModel]] = {
    "policy": lambda: Policy(
        detector="nll:max", warn=1, abstain=2, deadline_s=9, early_stop=EarlyStop(window=2, risk=1)
    ),
    "profile": calibrated,
    "calibration": lambda: calibrated().calibration,
    "early stop": lambda: EarlyStop(window=2, risk=1),
    "term": lambda: Term(feature="span.nll:max", centre=1, scale=1, weight=1, low=0, high=9),
}


def numbers_of(config: BaseModel) -> list[str]:
    return [
        field.alias or name
        for name, field in type(config).model_fields.items()
        if {int, float} & {field.annotation, *typing.get_args(field.annotation)}
    ]


@pytest.mark.parametrize(
    ("config", "name"),
    [(config, name) for config in CONFIGS for name in numbers_of(CONFIGS[config]())],
)
@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1"], ids=repr)
def test_a_limit_that_is_no_finite_number_is_refused(config: str, name: str, value: Any) -> None:
    made = CONFIGS[config]()
    with pytest.raises(ConfigError, match=name):
        type(made)(**made.model_dump(by_alias=True) | {name: value})


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_policy_in_a_file_with_a_limit_that_is_no_number_is_not_read(
    value: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f'detector = "nll:max"\nwarn = {value}\n')
    with pytest.raises(ConfigError, match="warn"):
        Policy.read(path)
    changed = tmp_path / "policy.json"
    changed.write_text('{"detector": "nll:max", "abstain": NaN}')
    with pytest.raises(ConfigError, match="abstain"):
        Policy.read(changed)


@pytest.mark.parametrize("limit", ["warn", "abstain"])
def test_a_copy_of_a_policy_with_a_limit_that_is_no_number_is_refused(limit: str) -> None:
    policy = Policy(detector="nll:max", warn=1, abstain=2)
    with pytest.raises(ConfigError, match=limit):
        policy.model_copy(update={limit: math.nan})


def test_a_profile_with_sampling_that_no_engine_takes_is_a_bad_profile() -> None:
    values = calibrated().model_dump(by_alias=True) | {"sampling": {"top_p": -1}}
    with pytest.raises(ConfigError, match="profile"):
        Profile(**values)


def test_keywords_that_there_are_not_stay_errors_of_python() -> None:
    with pytest.raises(TypeError, match="max_token"):
        Guard(scripted()).ask("?", max_token=8)  # type: ignore[call-arg]


def test_a_checked_function_keeps_its_name_and_its_parameters() -> None:
    def twice(number: int, *, again: bool = False) -> int:
        """Double it."""
        return number * (4 if again else 2)

    wrapped = checked(twice)
    assert (wrapped.__name__, wrapped.__doc__, wrapped(2, again=True)) == ("twice", "Double it.", 8)
    assert inspect.signature(wrapped) == inspect.signature(twice)


@pytest.mark.parametrize("kind", [tuple, deque, UserList, lambda turns: list(turns)])
def test_any_row_of_messages_or_ids_is_one(kind: Callable[[list[Any]], Any]) -> None:
    turns = kind([Message("user", "Which city?")])
    assert Guard(scripted()).ask(turns).answer == "Paris"
    ids = Guard(scripted()).ask("Which city?").trace.ids.tolist()
    scored = Guard(scripted()).score("Which city?", kind(ids))
    assert scored.trace.ids.tolist() == ids
    assert Request(ids=kind([3, 4])).ids == Request(ids=range(3, 5)).ids == (3, 4)  # type: ignore[arg-type]


def test_numbers_of_numpy_in_a_named_tuple_are_numbers() -> None:
    class Ids(NamedTuple):
        first: Any
        second: Any

    assert Request(ids=Ids(np.int64(3), np.int64(4))).ids == (3, 4)
