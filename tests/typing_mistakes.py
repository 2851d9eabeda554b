"""Mistakes that a type checker has to find; no test runs them. Each line names what is reported.

Whatever else is reported, or is not, fails `test_typing.py`.
"""

from __future__ import annotations

from energy_guard import Guard, Message, Request, Sampling, load
from energy_guard.events import Done, Text
from energy_guard.request import RequestOptions

guard = Guard(load("demo"))

guard.ask("?", max_token=8)  # error: call-arg
guard.ask("?", max_tokens="8")  # error: arg-type
guard.ask("?", seed=7)  # error: call-arg
guard.ask("?", sampling=Sampling(temprature=0.7))  # error: call-arg
guard.ask("?", messages=[Message("user", "?")])  # error: call-arg
guard.ask(7)  # error: arg-type
guard.stream("?", stops=["\n"])  # error: call-arg
guard.astream("?", stop=7)  # error: arg-type
guard.measure("?", contexts=["Paris is big."])  # error: call-arg
guard.score("?", "Paris", True)  # error: call-arg
guard.score("?", "Paris", quick=True)  # error: call-arg
guard.score_many([("?", "Paris")], True)  # error: call-arg
guard.ask_many(["?"], [Request.chat("?")])  # error: call-arg
Request.chat("?", max_token=8)  # error: call-arg
Request.raw("?", deadline="soon")  # error: arg-type
Request(None)  # error: call-arg
Message("robot", "?")  # error: arg-type
Guard(load("demo"), None, "nll:max")  # error: call-arg
Guard(load("demo"), detectors="nll:max")  # error: call-arg
Guard(load("demo"), "strict.toml")  # error: arg-type
options: RequestOptions = {"max_token": 8}  # error: typeddict-unknown-key


async def asked() -> str:
    """Return a text, not a result."""
    await guard.aask("?", max_token=8)  # error: call-arg
    return await guard.aask("?")  # error: return-value


def told() -> list[str]:
    """Return the texts of a stream."""
    return [event.text for event in guard.stream("?")]  # error: union-attr


# And what is right, so that no line below may be reported.

right: RequestOptions = {"stop": ["\n"], "max_tokens": 8, "sampling": Sampling(seed=7)}
guard.ask("?", **right)
guard.ask([Message("user", "?")], context=("Paris is big.",), constraint=None)
guard.score("?", [1, 2], fast=True)
words: list[str] = [event.text for event in guard.stream("?") if isinstance(event, Text)]


async def verdicts() -> list[str]:
    """Ask in an event loop, in both ways."""
    found = [(await guard.aask("?", deadline=None)).verdict]
    async for event in guard.astream("?"):
        if isinstance(event, Done):
            found.append(event.result.verdict)
    return [str(verdict) for verdict in found]
