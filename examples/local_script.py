"""Ask a local model some questions, and keep the answers that it can be trusted with."""

from __future__ import annotations

import argparse
import sys

from energy_guard import Guard, load


def main() -> int:
    """Print every answer with its verdict; 3 where one was withheld."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--model", default="demo", help="a GGUF file; demo: the embedded model")
    parser.add_argument("--gpu-layers", type=int, default=0, help="-1: all that there are")
    given = parser.parse_args()
    guard = Guard(load(given.model, n_gpu_layers=given.gpu_layers))
    left = []
    for question in given.questions:
        result = guard.ask(question, max_tokens=64)
        if result.shown:
            print(f"{question}\n  {result.text}\n  {result.verdict}: {result.reason}")
        else:
            left.append(question)
    for question in left:
        print(f"look up: {question}")
    return 3 if left else 0


if __name__ == "__main__":
    sys.exit(main())
