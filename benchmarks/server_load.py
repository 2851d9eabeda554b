"""Does the server hold under load? `python -m benchmarks.server_load`.

Many clients ask one `energy-guard serve`, more at once than may wait, streamed and not, each for
something else; a third of the requests are hung up on at a random time. A client that is refused
comes again when it was told to, a few times. Then the facts are checked that must hold, and some
of the answers are compared with those of a guard in this process that nobody else asks. The exit
status is 1 if one of them does not hold. Linux only, as it looks at the server's process.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import httpx
import typer

from benchmarks.serving import Serving, serving
from energy_guard import Guard, Request, Result, Sampling, load

PATH: Final = "/v1/chat/completions"
WAYS: Final = (None, "hold", "live", "sentence")
"""How a response comes: whole, or as one of the streams."""
QUESTIONS: Final = (
    "Is {n} an even number? Answer yes or no.",
    "Say one word about the number {n}.",
    "Which is larger, {n} or 1500? Answer with the number.",
)
STOP: Final = (".", ",", "\n")
TOKENS: Final = 12
TRIES: Final = 5
HANGS_UP_WITHIN_S: Final = 8.0
NEVER_S: Final = 300.0
"""After so long a client that has heard nothing counts as never answered."""
CLOSE: Final = 1e-6
GROWTH: Final = 1.05


@dataclass(frozen=True)
class Asking:
    """One request, and when its client hangs up: after so many seconds, or never."""

    number: int
    way: str | None
    hangs_up_s: float | None

    @classmethod
    def of(cls, number: int) -> Asking:
        """Draw a request by its number."""
        drawn = random.Random(number)  # noqa: S311
        hangs_up = drawn.uniform(0.0, HANGS_UP_WITHIN_S) if drawn.random() < 1 / 3 else None
        return cls(number, drawn.choice(WAYS), hangs_up)

    @property
    def question(self) -> str:
        """What no other request asks."""
        return QUESTIONS[self.number % len(QUESTIONS)].format(n=1000 + self.number)

    @property
    def temperature(self) -> float:
        """Half of them are greedy, half are drawn."""
        return float(self.number // len(QUESTIONS) % 2)

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        return {
            "messages": [{"role": "user", "content": self.question}],
            "max_tokens": TOKENS,
            "stop": list(STOP),
            "temperature": self.temperature,
            "seed": self.number,
            "stream": self.way is not None,
            "energy_guard": {"details": "full"} | ({"stream": self.way} if self.way else {}),
        }

    @property
    def request(self) -> Request:
        """The same for a guard."""
        sampling = Sampling(temperature=self.temperature, seed=self.number)
        return Request.chat(self.question, max_tokens=TOKENS, stop=STOP, sampling=sampling)


@dataclass(frozen=True)
class Outcome:
    """What came of a request.

    kind: answered, refused, gone, or what went wrong. said: the text that a client shows. told:
    the guard's object. seconds: until then. refusals: how often it was told to come again.
    """

    asking: Asking
    kind: str
    seconds: float
    refusals: int
    said: str = ""
    told: dict[str, Any] | None = None


async def outcome_of(http: httpx.AsyncClient, asking: Asking) -> Outcome:
    """Ask, come again if that is asked for, and say what came of it."""
    began = time.monotonic()
    refusals = 0

    def ended(kind: str, said: str = "", told: dict[str, Any] | None = None) -> Outcome:
        return Outcome(asking, kind, time.monotonic() - began, refusals, said, told)

    while True:
        try:
            async with asyncio.timeout(asking.hangs_up_s):
                response = await http.post(PATH, json=asking.body)
        except TimeoutError:
            return ended("gone")
        except httpx.HTTPError as error:
            return ended(f"{type(error).__name__}: {error}")
        if response.status_code == 200:
            try:
                return ended("answered", *read_answer(response.text, asking.way is not None))
            except (LookupError, ValueError) as error:
                return ended(f"a response that cannot be read: {error!r}")
        if response.status_code != 429:
            return ended(f"status {response.status_code}: {response.text}")
        again = response.headers.get("retry-after", "")
        if not again.isdecimal() or int(again) < 1:
            return ended(f"429 with Retry-After {again!r}")
        refusals += 1
        if refusals == TRIES:
            return ended("refused")
        await asyncio.sleep(int(again))


def read_answer(body: str, streamed: bool) -> tuple[str, dict[str, Any]]:
    """Read a response.

    Args:
        body: of the response.
        streamed: whether it is a stream.

    Returns:
        What a client shows of it, and the guard's object in it.

    Raises:
        LookupError, ValueError: if it is no whole answer.
    """
    if not streamed:
        data = json.loads(body)
        message = data["choices"][0]["message"]
        return message["content"] or message["refusal"], data["energy_guard"]
    events = [part[6:] for part in body.split("\n\n") if part.startswith("data: ")]
    if events.pop() != "[DONE]":
        raise ValueError("the stream broke off")
    said, told = "", None
    for chunk in map(json.loads, events):
        if chunk.get("energy_guard", {}).get("event") == "retracted":
            said = ""
            continue
        [choice] = chunk["choices"]
        said += choice["delta"].get("content") or choice["delta"].get("refusal") or ""
        if choice["finish_reason"] is not None:
            told = chunk["energy_guard"]
    if told is None:
        raise ValueError("the stream has no verdict")
    return said, told


async def ask_all(url: str, numbers: Iterable[int], clients: int) -> list[Outcome]:
    """Ask these, each client one after the other."""
    left, outcomes = iter(numbers), list[Outcome]()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)

    async def client(http: httpx.AsyncClient) -> None:
        for number in left:
            outcomes.append(await outcome_of(http, Asking.of(number)))

    async with (
        httpx.AsyncClient(base_url=url, limits=limits, timeout=NEVER_S) as http,
        asyncio.TaskGroup() as together,
    ):
        for _ in range(clients):
            together.create_task(client(http))
    return outcomes


def difference(outcome: Outcome, alone: Result) -> str | None:
    """Say in what an answer differs from the one that was asked for alone; None if in nothing."""
    told = outcome.told or {}
    expected = alone.to_dict("full")
    if [token["id"] for token in told["tokens"]] != alone.trace.ids.tolist():
        return f"tokens {told['tokens']}, alone {expected['tokens']}"
    if told["verdict"] != expected["verdict"] or outcome.said != alone.text:
        return f"{told['verdict']}, {outcome.said!r}; alone {alone.verdict}, {alone.text!r}"
    pair = told["score"], expected["score"]
    if pair != (None, None) and not (None not in pair and abs(pair[0] - pair[1]) <= CLOSE):
        return f"score {pair[0]}, alone {pair[1]}"
    return None


def _eventually(fact: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10.0
    while not fact() and time.monotonic() < until:
        time.sleep(0.1)
    return fact()


def _half(server: Serving, numbers: range, clients: int) -> tuple[list[Outcome], float]:
    """What came of these, and the MiB that the server has when it is idle again."""
    outcomes = asyncio.run(ask_all(server.url, numbers, clients))
    _eventually(lambda: server.metric("energy_guard_queue_length") == 0)
    _still_answers(server)
    return outcomes, server.process().resident


def _still_answers(server: Serving) -> bool:
    body = Asking(0, None, None).body
    response = httpx.post(f"{server.url}{PATH}", json=body, timeout=NEVER_S)
    return response.status_code == 200 and response.headers["x-energy-guard-queue-position"] == "0"


def _compared(outcomes: Sequence[Outcome], sample: int, model: str, threads: int) -> list[str]:
    """Ask for some of the answers again, alone; return the differences."""
    guard = Guard(load(model, n_threads=threads))
    answered = [outcome for outcome in outcomes if outcome.kind == "answered"]
    chosen = random.Random(0).sample(answered, min(sample, len(answered)))  # noqa: S311
    scored, found = 0, []
    for outcome in chosen:
        result = guard.ask(outcome.asking.request)
        scored += result.score is not None
        differs = difference(outcome, result)
        if differs is not None:
            found.append(f"request {outcome.asking.number}: {differs}")
    typer.echo(f"compared with the same request alone: {len(chosen)}, {scored} have a score")
    if not scored:
        found.append("no answer that was compared has a score")
    return found


def _quartiles(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} (quartiles {low:.2f} to {high:.2f}, at most {max(values):.2f})"


def main(
    requests: Annotated[int, typer.Option(help="How many are made, in two halves.")] = 1000,
    clients: Annotated[int, typer.Option(help="How many ask at once.")] = 64,
    sample: Annotated[int, typer.Option(help="Answers that are compared.")] = 30,
    model: str = "demo",
    threads: int = 1,
) -> None:
    """Print what came of the requests, and whether each fact holds."""
    options = ["serve", "--model", model, "--n-threads", str(threads), "--reveal"]
    with serving("energy_guard.cli", options) as server:
        _still_answers(server)  # the engine has its thread from here on
        before = server.process()
        began = time.monotonic()
        outcomes, after_half = _half(server, range(requests // 2), clients)
        more, after_all = _half(server, range(requests // 2, requests), clients)
        took = time.monotonic() - began
        outcomes += more
        waiting = httpx.get(f"{server.url}/health").json()["waiting"]
        facts = {
            "the server still answers, at once": _still_answers(server),
            "nobody waits": waiting == server.metric("energy_guard_queue_length") == 0,
            "as many threads as before": _eventually(
                lambda: server.process().threads == before.threads
            ),
            "as many open files as before": _eventually(
                lambda: server.process().files == before.files
            ),
            "at most 5 % more memory after the second half": after_all <= GROWTH * after_half,
        }
        after = server.process()
    kinds = Counter(outcome.kind for outcome in outcomes)
    wrong = {kind: n for kind, n in kinds.items() if kind not in ("answered", "refused", "gone")}
    facts["every request is answered, refused or gone by itself"] = (
        not wrong and len(outcomes) == requests
    )
    differences = _compared(outcomes, sample, model, threads)
    facts["what was asked for alone is the same"] = not differences
    typer.echo(
        f"{requests} requests of {clients} clients in {took:.0f} s: "
        + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
        + f"; told to come again: {sum(outcome.refusals for outcome in outcomes)} times"
    )
    answered = [outcome for outcome in outcomes if outcome.kind == "answered"]
    verdicts = Counter(str(outcome.told and outcome.told["verdict"]) for outcome in answered)
    ways = Counter(outcome.asking.way or "whole" for outcome in answered)
    typer.echo(f"answered: {dict(verdicts)}, {dict(ways)}")
    typer.echo(f"seconds to an answer: {_quartiles([outcome.seconds for outcome in answered])}")
    typer.echo(
        f"threads {before.threads} → {after.threads}, open files {before.files} → {after.files}, "
        f"MiB {before.resident:.1f} → {after_half:.1f} → {after_all:.1f}"
    )
    for fact, holds in facts.items():
        typer.echo(f"{'holds ' if holds else 'FAILED'}  {fact}")
    for each in (*differences, *wrong):
        typer.echo(each, err=True)
    raise typer.Exit(0 if all(facts.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
