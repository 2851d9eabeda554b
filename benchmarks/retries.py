"""What a second attempt is worth: written anew by chance, and with the H-neurons switched off.

    python -m benchmarks.retries --model MODEL --probe neurons/probe-1-vs-1.json -n 200

Facts of the quiz are asked under a policy that withholds what the probe calls wrong, once for each
kind of retry; both begin with the same first attempt, and keep the less risky one. Prints how many
of the withheld answers are right before and after, and which kind rights what the other does not.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

from scipy.stats import binomtest

from benchmarks.nothing_to_check import wilson
from energy_guard import Guard, Policy, load
from energy_guard.policy import RetryKind
from energy_guard.questions.grade import grade_row
from energy_guard.questions.quiz import quiz
from energy_guard.questions.rows import Question
from energy_guard.request import Message, Request, Sampling

SYSTEM = "Answer in one short sentence."
KINDS: tuple[RetryKind, ...] = ("resample", "damp")


def main() -> None:
    """Ask, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--probe", type=Path, required=True)
    parser.add_argument("-n", type=int, default=200, help="facts")
    parser.add_argument("--n-threads", type=int, default=1)
    args = parser.parse_args()
    threads = {"n_threads": args.n_threads, "n_threads_batch": args.n_threads}
    backend = load(args.model, n_ctx=1024, **threads)
    named = f"neurons:{args.probe}"
    guards = {
        kind: Guard(
            backend,
            detector=named,
            policy=Policy(detector=named, abstain=0.0, retries=1, retry=(kind,)),
        )
        for kind in KINDS
    }
    facts = islice((row for row in quiz(whole=True) if row.task == "facts"), args.n)
    asked, before = 0, 0
    after: list[tuple[bool, ...]] = []
    for number, row in enumerate(facts):
        messages = [Message("system", SYSTEM), Message("user", row.question)]
        request = Request.chat(messages, max_tokens=60, sampling=Sampling(seed=number))
        results = [guards[kind].ask(request) for kind in KINDS]
        asked += 1
        if len(results[0].attempts) > 1:
            before += _right(row, results[0].attempts[0].trace.text)
            after.append(tuple(_right(row, result.kept.trace.text) for result in results))
    n = len(after)
    sys.stdout.write(f"{asked} asked, {n} withheld at first, {before} of these right\n")
    for kind, right in zip(KINDS, zip(*after, strict=True), strict=True):
        low, high = wilson(sum(right), n)
        sys.stdout.write(f"after {kind}: {sum(right)} of {n} ({low:.0%} to {high:.0%})\n")
    plain = sum(one and not other for one, other in after)
    damped = sum(other and not one for one, other in after)
    p = binomtest(damped, plain + damped).pvalue if plain + damped else 1.0
    sys.stdout.write(f"only by resample {plain}, only by damp {damped}, p = {p:.2f}\n")


def _right(row: Question, text: str) -> bool:
    return grade_row(row, text) == "right"


if __name__ == "__main__":
    main()
