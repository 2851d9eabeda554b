"""How many labels people gave, and how often the grader and they, or both passes, say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from energy_guard.estimates.agreement import agreement, wilson
from energy_guard.estimates.estimate import NotDefined
from energy_guard.evaluate.figures import measured
from energy_guard.questions.labels import Label, LabelFile
from energy_guard.questions.to_label import Readable
from energy_guard.report.results import LabelFigures, Numbers, PassesCompared

ALL: Final = "all"
"""The name of the share over all grades."""


def label_figures(
    readables: Sequence[Readable], file: LabelFile, *, grader: str | None
) -> LabelFigures:
    """Return who labelled some answers, and how far people and the grader agree.

    Args:
        readables: All of the answers, each once, with the grader's grades.
        file: The labels.
        grader: What graded them; None for a trace log.

    Raises:
        InputError: The file of labels cannot be read.
        MissingExtraError: scikit-learn or scipy is not installed.

    """
    first, second = file.given(1), file.given(2)
    known = {each.digest: each for each in readables}
    used = [label for digest, label in first.items() if digest in known]
    return {
        "labels": dict(Counter(label.labeller for label in used).most_common()),
        "others": len(known) - len(used),
        "unfitting": len(first) - len(used),
        "grader": grader,
        "agree": _agree([(known[label.digest].grade, label.label) for label in used]),
        "passes": _passes(first, second),
    }


def grader_name(made_with: Mapping[str, Any]) -> str:
    """Return who graded, by what answers say about how they were made.

    >>> grader_name({"grader": "built-in"})
    'built-in'
    """
    grader = made_with.get("grader", "built-in")
    if isinstance(grader, dict):
        return str(grader.get("model", {}).get("name", "a model"))
    return str(grader)


def _agree(pairs: Sequence[tuple[str | None, str | None]]) -> Numbers:
    """The share of answers that people call what the grader calls them, by its grade."""
    sure = [(grade, label) for grade, label in pairs if grade and "unsure" not in (grade, label)]
    shares: Numbers = {}
    for name in ("right", "wrong", "refused", ALL):
        of_grade = [(grade, label) for grade, label in sure if name in (grade, ALL)]
        if of_grade:
            same = sum(grade == label for grade, label in of_grade)
            shares[name] = measured(wilson(same, len(of_grade)))
    return shares


def _passes(first: Mapping[str, Label], second: Mapping[str, Label]) -> PassesCompared | None:
    both = [digest for digest in first if digest in second]
    if not both:
        return None
    compared = agreement(
        *([str(each[digest].label) for digest in both] for each in (first, second))
    )
    found: PassesCompared = {"same": measured(compared.share), "kappa": None}
    if isinstance(compared.kappa, NotDefined):
        found["kappa_reason"] = compared.kappa.reason
    else:
        found["kappa"] = compared.kappa
    return found
