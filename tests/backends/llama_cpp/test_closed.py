"""Engines that were closed, or opened for something else: an error, where the process would end.

Each way runs in a process of its own, so that a crash is one failure and not the end of the tests.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from energy_guard import capture, load
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.errors import ConfigError, EngineError, InputError

PROGRAM = """
import sys
from contextlib import closing
from energy_guard import Guard, capture, load
from energy_guard.errors import EngineError
from energy_guard.request import JsonSchema, Request

backend = load(sys.argv[1], n_ctx=256, n_threads=1)
guard, llm = Guard(backend, profile=None), backend.engine
request = Request.raw("hi", max_tokens=9)
try:
    {way}
except EngineError as error:
    print("EngineError:", error.message)
"""

WAYS = {
    "ask": "llm.close(); guard.ask('hi', max_tokens=2)",
    "ask again": "guard.ask('hi', max_tokens=2); llm.close(); guard.ask('hi', max_tokens=2)",
    "ask for JSON": "llm.close(); guard.ask('hi', constraint=JsonSchema('{}'))",
    "score": "llm.close(); guard.score('hi', 'ho')",
    "score fast": "llm.close(); guard.score('hi', 'ho', fast=True)",
    "measure": "llm.close(); guard.measure('hi')",
    "new guard": "llm.close(); Guard(llm)",
    "new backend": "llm.close(); load(llm)",
    "info": "fresh = load(llm); llm.close(); fresh.info",
    "capture": "llm.close(); capture(llm).__enter__()",
    "in a stream": "s = guard.stream(request); next(s), next(s); llm.close(); list(s)",
    "between events": "s = backend.generate([request]); next(s); llm.close(); list(s)",
    "between requests": (
        "s = backend.generate([request] * 2)\n"
        "    for event in s:\n"
        "        if hasattr(event, 'trace'): llm.close()"
    ),
    "while scoring": "s = backend.replay(request, 'long answer'); next(s); llm.close(); list(s)",
    "in a session": (
        "with backend.session() as session:\n"
        "        llm.close(); session.rewind(session.beginning([request]))"
    ),
    "rewinding": "with backend.session() as session:\n        llm.close(); session.rewind([1, 2])",
    "own call in a capture": (
        "with capture(llm):\n        s = llm.generate([1, 2]); next(s); llm.close(); list(s)"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_closed_engine_is_an_error_and_no_crash(tiny_path: Path, way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(way=WAYS[way]), str(tiny_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "EngineError: this Llama was closed"


@pytest.mark.parametrize("option", ["vocab_only", "embedding"])
def test_options_for_other_purposes_than_writing_are_refused(tiny_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        load(tiny_path, **{option: True})


def test_a_llama_that_has_only_a_vocabulary_is_refused(tiny_path: Path) -> None:
    from llama_cpp import Llama

    llm = Llama(str(tiny_path), vocab_only=True, verbose=False)
    with pytest.raises(InputError, match="vocab_only"):
        LlamaCpp(llm)
    with pytest.raises(InputError, match="vocab_only"), capture(llm):
        pass


def test_a_llama_that_computes_embeddings_is_refused(tiny_path: Path) -> None:
    from llama_cpp import Llama

    llm = Llama(str(tiny_path), embedding=True, n_ctx=64, verbose=False)
    with pytest.raises(InputError, match="embedding"):
        LlamaCpp(llm)
    llm.close()
    with pytest.raises(EngineError, match="closed"):
        LlamaCpp(llm)
