"""What does HTTP cost? `python -m benchmarks.server_cost`.

First: answers of `energy-guard serve` against `Guard.ask` in this process, each with an engine of
its own on the same file, in interleaved pairs, so that both engines read the same prompts in the
same order. Then: how long a `live` stream takes to its first token, against llama-cpp-python's
own server (without its default `logits_all`, which would make it slower), if what that needs is
installed: `pip install fastapi sse-starlette starlette-context pydantic-settings`.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import httpx
import typer

from benchmarks.serving import Serving, serving
from energy_guard import Guard, Request, load
from energy_guard.backends.demo_model import demo_path

PATH: Final = "/v1/chat/completions"
WAYS: Final = (None, "hold", "live")
QUESTIONS: Final = (
    "Tell me about the river Seine.",
    "What is a black hole? Explain it to a child.",
    "Describe how bread is made.",
    "Who was Marie Curie?",
    "Write a long story about a dog.",
)
PASSAGE: Final = (
    "The mill stood where the brook came down to the village, and its wheel had turned for two "
    "hundred years before the railway took its trade. The last miller kept three books: one for "
    "the grain that came in, one for the flour that went out, and one for the weather, which he "
    "wrote up every night whether anything had happened or not. When the mill was sold, the "
    "first two books were burnt. The third went to a school teacher, who found that the miller "
    "had noted each flood, each late frost and the day on which the swallows came back, and who "
    "spent the rest of her life comparing his notes with her own. "
)
N_CTX: Final = 2048
PATIENCE_S: Final = 120.0


def ask(http: httpx.Client, question: str, max_tokens: int, stream: str | None) -> dict[str, Any]:
    """Ask over HTTP, read the response to its end, and return the guard's object."""
    body = _body(question, max_tokens)
    if stream is None:
        told = http.post(PATH, json=body).raise_for_status().json()["energy_guard"]
    else:
        body |= {"stream": True, "energy_guard": {"stream": stream}}
        text = http.post(PATH, json=body).raise_for_status().text
        chunks = [line for line in text.split("\n") if line.startswith("data: {")]
        told = json.loads(chunks[-1][6:])["energy_guard"]
    return dict(told)


def first_texts_s(http: httpx.Client, question: str, **more: Any) -> tuple[float, float]:
    """Ask for a stream, and return the seconds to its first and its second text."""
    body = _body(question, 8) | {"stream": True} | more
    times = []
    began = time.perf_counter()
    with http.stream("POST", PATH, json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if line.startswith("data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    times.append(time.perf_counter() - began)
    if len(times) < 2:
        raise SystemExit(f"the answer to {question!r} has {len(times)} texts")
    return times[0], times[1]


def _body(question: str, max_tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"messages": messages, "max_tokens": max_tokens, "temperature": 0}


@dataclass(frozen=True)
class Spent:
    """Seconds of one answer, by the clock and of processors, and the tokens that were written."""

    clock: float
    processors: float
    tokens: int


def alone(guard: Guard, question: str, tokens: int) -> Spent:
    """Ask in this process."""
    began, used = time.perf_counter(), time.process_time()
    result = guard.ask(Request.chat(question, max_tokens=tokens))
    spent = time.perf_counter() - began, time.process_time() - used
    return Spent(*spent, result.trace.content_end)


def over_http(
    server: Serving, http: httpx.Client, question: str, tokens: int, way: str | None
) -> Spent:
    """Ask the server; processor time is the server's own."""
    began, used = time.perf_counter(), server.processor_s()
    told = ask(http, question, tokens, way)
    return Spent(time.perf_counter() - began, server.processor_s() - used, int(told["content_end"]))


def whole_answers(
    guard: Guard, server: Serving, http: httpx.Client, pairs: int, tokens: int
) -> dict[str, list[tuple[Spent, Spent]]]:
    """Return what was spent over HTTP and alone, for each way and pair.

    Raises:
        SystemExit: if two answers to one question have not the same number of tokens.
    """
    order = random.Random(0)  # noqa: S311
    found: dict[str, list[tuple[Spent, Spent]]] = {way or "whole": [] for way in WAYS}
    for number in range(-len(QUESTIONS), pairs * len(WAYS)):  # those below 0 warm up
        way, question = WAYS[number % len(WAYS)], QUESTIONS[number % len(QUESTIONS)]
        spent = dict[str, Spent]()
        for side in order.sample(("alone", "http"), 2):
            if side == "alone":
                spent[side] = alone(guard, question, tokens)
            else:
                spent[side] = over_http(server, http, question, tokens, way)
        if spent["alone"].tokens != spent["http"].tokens:
            raise SystemExit(f"the answers to {question!r} differ in length: {spent}")
        if number >= 0:
            found[way or "whole"].append((spent["http"], spent["alone"]))
    return found


@dataclass(frozen=True)
class FirstTexts:
    """Seconds of one question: to our first text, and to the first and the second of theirs."""

    ours: float
    theirs: float
    their_second: float


def first_texts(
    ours: httpx.Client, theirs: httpx.Client, pairs: int, passage: str
) -> list[FirstTexts]:
    """Return the times of both servers, for questions that are all different from the start.

    Raises:
        SystemExit: if their prompts have not the same number of tokens.
    """
    read = [
        server.post(PATH, json=_body("Who are you?", 8)).json()["usage"]["prompt_tokens"]
        for server in (ours, theirs)
    ]
    if read[0] != read[1]:
        raise SystemExit(f"the prompts of the two servers have {read} tokens")
    order = random.Random(0)  # noqa: S311
    times = []
    for number in range(pairs + 1):
        question = f"Number {number}: {passage}{QUESTIONS[number % len(QUESTIONS)]}"
        spent = dict[str, tuple[float, float]]()
        for side in order.sample(("ours", "theirs"), 2):
            if side == "ours":
                live = {"energy_guard": {"stream": "live"}}
                spent[side] = first_texts_s(ours, question, **live)
            else:
                spent[side] = first_texts_s(theirs, question)
        if number:  # the first pair warms up
            times.append(FirstTexts(spent["ours"][0], *spent["theirs"]))
    return times


def _quartiles(ratios: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} (quartiles {low:.3f} to {high:.3f}, {len(ratios)} pairs)"


def main(
    pairs: Annotated[int, typer.Option(help="Of answers, for each way; 0 for none.")] = 20,
    firsts: Annotated[int, typer.Option(help="Pairs of first texts, twice.")] = 50,
    tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 128,
    model: str = "demo",
    threads: int = 1,
) -> None:
    """Print the median of the ratios of each way, with their quartiles."""
    file = str(demo_path()) if model == "demo" else model
    count = str(threads)
    with ExitStack() as stack:
        server = stack.enter_context(
            serving(
                "energy_guard.cli",
                ["serve", "--model", model, "--n-threads", count, "--n-ctx", str(N_CTX)],
            )
        )
        ours = stack.enter_context(httpx.Client(base_url=server.url, timeout=PATIENCE_S))
        if pairs:
            guard = Guard(load(model, n_threads=threads, n_ctx=N_CTX))
            typer.echo(f"answers of up to {tokens} tokens, {threads} threads, HTTP / Guard.ask:")
            for way, found in whole_answers(guard, server, ours, pairs, tokens).items():
                typer.echo(f"  {way}: {_quartiles([a.clock / b.clock for a, b in found])}")
                used = [a.processors / b.processors for a, b in found]
                typer.echo(f"    of processors: {_quartiles(used)}")
        try:
            import_module("llama_cpp.server.app")
        except ImportError as error:
            typer.echo(f"first text: skipped, llama_cpp.server cannot be imported ({error})")
            return
        options = ["--model", file, "--logits_all", "false", "--n_threads", count]
        options += ["--n_threads_batch", count, "--n_ctx", str(N_CTX)]
        other = stack.enter_context(serving("llama_cpp.server", options))
        theirs = stack.enter_context(httpx.Client(base_url=other.url, timeout=PATIENCE_S))
        for name, passage in (("a question", ""), ("a passage and a question", PASSAGE)):
            times = first_texts(ours, theirs, firsts, passage)
            typer.echo(f"first text of a live stream, {name}, ours / llama_cpp.server's:")
            typer.echo(f"  first: {_quartiles([t.ours / t.theirs for t in times])}")
            typer.echo(f"  second: {_quartiles([t.ours / t.their_second for t in times])}")
            ours_s = statistics.median(t.ours for t in times)
            theirs_s = statistics.median(t.theirs for t in times)
            typer.echo(f"  medians: {ours_s * 1000:.0f} and {theirs_s * 1000:.0f} ms")


if __name__ == "__main__":
    typer.run(main)
