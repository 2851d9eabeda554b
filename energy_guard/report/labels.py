"""What people say about answers beside what the grader says, in words and as a table."""

from __future__ import annotations

from energy_guard.report.results import LabelFigures, Results
from energy_guard.report.sheet import Sheet, number

_TITLE = "Who says what is right"


def labels_sheet(results: Results) -> Sheet:
    """Who labelled how many answers, and the grader's own error on those."""
    figures = results.get("labels")
    if figures is None:  # results of a version before there were labels
        return Sheet(_TITLE, (), ())
    rows = tuple(
        (grade if grade == "all" else f"{grade}, by the grader", str(share["n"]), number(share))
        for grade, share in figures["agree"].items()
    )
    return Sheet(_TITLE, ("answers", "labelled", "people say the same"), rows, _note(figures))


def _note(figures: LabelFigures) -> str:
    lines = [line for line in label_lines(figures) if not line.startswith(_AGREE)]
    if figures["agree"]:
        lines.append(_CHOSEN)
    return " ".join(f"{line[0].upper()}{line[1:]}." for line in lines)


_CHOSEN = (
    "which answers come first to be labelled depends on the grade: its shares for right and wrong "
    "are those of all answers, the share for all is not"
)


_AGREE = "the grader and people agree"


def label_lines(figures: LabelFigures) -> list[str]:
    """Return who labelled how many answers, and how often the grader and they say the same."""
    by = [f"{count} by {name}" for name, count in figures["labels"].items()]
    if figures["grader"] is not None:
        rest = "the rest" if by else "all"
        by.append(f"{rest} ({figures['others']}) by the grader ({figures['grader']})")
    lines = [f"labels: {', '.join(by) or 'none'}"]
    if figures["unfitting"]:
        lines.append(
            f"{figures['unfitting']} labels are of other answers than these and are not used"
        )
    agree = figures["agree"]
    if agree:
        parts = [
            f"{number(share)} of the {share['n']} that it calls {grade}"
            for grade, share in agree.items()
            if grade != "all"
        ]
        lines.append(
            f"{_AGREE} on {number(agree['all'])} of {agree['all']['n']}: {'; '.join(parts)}"
        )
    passes = figures["passes"]
    if passes is not None:
        kappa = passes["kappa"]
        said = f"kappa {kappa:.2f}" if kappa is not None else f"no kappa: {passes['kappa_reason']}"
        same = passes["same"]
        lines.append(f"both passes say the same of {number(same)} of {same['n']}; {said}")
    return lines
