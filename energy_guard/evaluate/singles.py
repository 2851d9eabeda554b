"""Which single signal a fitted detector has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from energy_guard.evaluate.many import Aurocs
from energy_guard.evaluate.scored import PARTS, SINGLES
from energy_guard.policy import DEFAULT_DETECTOR

USUAL: Final = f"span.{DEFAULT_DETECTOR}"
"""What the guard goes by where nothing was fitted."""

CHOSEN: Final = "the single signal chosen on the other tasks"


def best_singles(rankings: Sequence[Aurocs]) -> list[str]:
    """Return the single signals with the best mean AUROC, of the span and of the whole answer.

    Chosen on these very answers, which flatters them; nll:max where there are no means.
    """
    return [_best(rankings, (part,)) or f"{part}.nll:max" for part in PARTS]


def with_chosen(rankings: Sequence[Aurocs]) -> list[Aurocs]:
    """Add `CHOSEN` to each task: the single signal that is best on the others.

    No answer of a task had a part in choosing for it, so nothing flatters it.
    """
    added = []
    for ranking in rankings:
        name = _best([other for other in rankings if other is not ranking], PARTS)
        if name is None or name not in ranking.values:
            return list(rankings)
        values, draws = ranking.values, ranking.draws
        values, draws = {**values, CHOSEN: values[name]}, {**draws, CHOSEN: draws[name]}
        added.append(replace(ranking, values=values, draws=draws))
    return added


def _best(rankings: Sequence[Aurocs], parts: Sequence[str]) -> str | None:
    """The name with the best mean AUROC; None where none was measured for all."""
    names = [f"{part}.{single}" for part in parts for single in SINGLES]
    shared = [name for name in names if all(name in ranking.values for ranking in rankings)]
    if not rankings or not shared:
        return None
    return max(shared, key=lambda name: sum(ranking.values[name] for ranking in rankings))
