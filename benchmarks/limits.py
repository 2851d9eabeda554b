"""What limits on P(wrong) show of stored answers over passages: `python -m benchmarks.limits`.

    python -m benchmarks.limits ANSWERS.jsonl… --profile PROFILE.json

Answers are scored anew by the profile's detector; what it gives no P(wrong) is not shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from energy_guard import Profile
from energy_guard.questions.answered import read_answers
from energy_guard.score import Score

LIMITS: Final = [number / 20 for number in range(4, 13)]


def main(
    answers: list[Path], profile: Annotated[Path, typer.Option(help="The model's profile.")]
) -> None:
    """Print a line a limit: how many are shown of those with an answer and of those without."""
    known = Profile.read(profile)
    risks: dict[bool, list[tuple[float, bool]]] = {True: [], False: []}
    for answered in (each for path in answers for each in read_answers(path)[1]):
        score = answered.scored_by(known.scorer).score
        p = known.p_wrong(score) if isinstance(score, Score) else None
        risks[answered.answerable].append((1.0 if p is None else p, answered.outcome == "right"))
    counts = f"of {len(risks[True])} answerable | right of these | of {len(risks[False])} others"
    typer.echo(f"| limit | {counts} |\n|---|---|---|---|")
    for limit in LIMITS:
        held = [right for p, right in risks[True] if p < limit]
        silent = sum(p < limit for p, _ in risks[False])
        typer.echo(f"| {limit:.2f} | {len(held)} | {sum(held)} | {silent} |")


if __name__ == "__main__":
    typer.run(main)
