"""How many ordinary turns are withheld: greetings, rewriting, code and stories, by a real model.

Of the prompts of tests/attacks/ordinary.jsonl every `--every`-th one is asked, at the model's own
choice of words; the answers are kept in `--answers`, so that a run goes on where it was ended.
Rules were made from those; `--prompts benchmarks/fresh_turns.jsonl` has others.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from benchmarks.kept_answers import answered, judged
from benchmarks.nothing_to_check import wilson
from energy_guard import Guard, Profile, load
from energy_guard.judge import Judge
from energy_guard.request import Request

TURNS = Path(__file__).parents[1] / "tests" / "attacks" / "ordinary.jsonl"


def main() -> None:
    """Ask what is not answered yet, and print how each kind fares; `-v` shows what is withheld."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--profile", type=Path, help="without, the hand-set limits decide")
    parser.add_argument("--prompts", type=Path, default=TURNS)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("-v", action="store_true")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.prompts.read_text("utf-8").splitlines()][
        :: args.every
    ]
    threads = {"n_threads": args.n_threads, "n_threads_batch": args.n_threads}
    guard = Guard(load(args.model, n_ctx=1024, **threads), profile=None)
    profile = Profile.read(args.profile) if args.profile else None
    judge = Judge.assemble(profile=profile, info=guard.backend.info)
    requests = {row["question"]: Request.chat(row["question"], max_tokens=200) for row in rows}
    kinds = {row["question"]: row["kind"] for row in rows}
    shown: Counter[str] = Counter()
    verdicts: Counter[tuple[str, str]] = Counter()
    for key, trace in answered(guard, requests, args.answers):
        result = judged(guard, judge, trace, requests[key])
        shown[kinds[key]] += result.shown
        verdicts[kinds[key], result.verdict if result.shown else "withheld"] += 1
        if args.v and not result.shown:
            sys.stdout.write(f"{kinds[key]}: {key}\n{trace.text}\n-> {result.reason}\n\n")
    sys.stdout.write("| kind | n | shown | accept | warn | unscored, shown | withheld |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    for kind, n in Counter(kinds.values()).items():
        counts = (verdicts[kind, v] for v in ("accept", "warn", "unscored", "withheld"))
        sys.stdout.write(f"| {kind} | {n} | {shown[kind]} | {' | '.join(map(str, counts))} |\n")
    withheld = len(kinds) - shown.total()
    low, high = wilson(withheld, len(kinds))
    share = f"{withheld / len(kinds):.1%}, 95 % interval {low:.1%} to {high:.1%}"
    sys.stdout.write(f"\nwithheld: {withheld} of {len(kinds)} ({share})\n")


if __name__ == "__main__":
    main()
