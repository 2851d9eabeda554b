"""Writes one long answer and prints the peak memory: run by `bench` in a child process."""

from __future__ import annotations

import resource
import sys

from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp.speed import bare, request_of
from energy_guard.cli.options import BAD_INPUT, open_backend
from energy_guard.errors import InputError
from energy_guard.guard import Guard


def main(model: str, way: str, tokens: int) -> None:
    """Print the peak memory in KiB, and how many tokens were written."""
    backend = open_backend(model, n_ctx=tokens + 256)
    if not isinstance(backend, LlamaCpp):
        raise InputError("bench measures llama.cpp")
    request = request_of(tokens, endless_on=backend)
    count = bare(backend, request) if way == "bare" else len(Guard(backend).ask(request).trace)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak // 1024 if sys.platform == "darwin" else peak, count)  # noqa: T201


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    except InputError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(BAD_INPUT)
