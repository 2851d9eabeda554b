"""Tables of what guards are worth: risk and coverage, calibration, confidence targets."""

from __future__ import annotations

from collections.abc import Iterator

from energy_guard.report.results import GuardFigures, Results
from energy_guard.report.sheet import Sheet, number


def profile(results: Results) -> Sheet:
    """A stored profile on answers that it has not seen."""
    headings = (
        "the profile on",
        "n",
        "AUROC",
        "wrong of all",
        "shown",
        "wrong of those",
        "Brier skill",
        "calibration error",
    )
    found = results.get("profile")
    if not found:
        return Sheet("", headings, ())
    rows = [
        (
            name,
            str(row["n"]),
            number(row["auroc"]),
            number(row["wrong"]),
            number(row["coverage"]),
            number(row["risk"]),
            number(row["brier_skill"]),
            number(row["calibration_error"]),
        )
        for name, row in found["rows"].items()
    ]
    note = (
        f"Detector {found['detector']}, as it was stored; shown: P(wrong) below "
        f"{found['abstain']:.3g}, and what its policy shows without one. These answers had no part "
        "in it, unless it was made from them."
    )
    note += "".join(f" Mind: {said}." for said in found["notes"])
    if found["promise"]:
        risk, confidence = found["promise"]["max_risk"], found["promise"]["confidence"]
        note += (
            f" It promises that at most {risk:.3g} of such answers are wrong ({confidence:.3g}), "
            "for questions like those that it was certified on."
        )
    return Sheet("The profile as it is", headings, tuple(rows), note)


def guards(results: Results) -> Sheet:
    """Risk, coverage and calibration of guards that were made from these answers."""
    headings = (
        "guard",
        "n",
        "coverage at risk 0.1",
        "at risk 0.2",
        "AURC above the oracle",
        "Brier skill",
        "calibration error",
    )
    rows = [(name, str(guard["n"]), *_guard_cells(guard)) for name, guard in _guards_of(results)]
    detector = "the fitted one" if results["detector"] == "fitted" else results["detector"]
    notes = [
        f"Detector: {detector}; P(wrong) by Platt's method, always on other folds. Coverage at a "
        "risk is that of the best threshold on these very answers, which flatters: certificates "
        "(energy-guard calibrate --max-risk) do not. A calibration error needs 2,000 rows."
    ]
    if "reason" in results["pooled"]:
        notes = [f"No guard: {results['pooled']['reason']}."]
    return Sheet(
        "The guard: risk and coverage, calibration", headings, tuple(rows), " ".join(notes)
    )


def _guards_of(results: Results) -> Iterator[tuple[str, GuardFigures]]:
    """Every guard that was made, with a name."""
    pooled = results["pooled"]
    if "reason" not in pooled:
        yield "one for all tasks", pooled["one_for_all"]
        yield "one for each task", pooled["one_a_task"]
    for name, task in results["tasks"].items():
        guard = task.get("guard")
        if guard is not None and "reason" not in guard:
            yield name, guard


def _guard_cells(guard: GuardFigures) -> tuple[str, ...]:
    return (
        number(guard["coverage_at_risk"]["0.1"]),
        number(guard["coverage_at_risk"]["0.2"]),
        number(guard["aurc_excess"]),
        number(guard["brier_skill"]),
        number(guard["calibration_error"]),
    )


def targets(results: Results) -> Sheet:
    """What guards earn where a wrong answer costs t/(1−t)."""
    headings = (
        "guard, t",
        "always answer",
        "the guard",
        "oracle",
        "share of the oracle",
        "answered",
        "right of those",
        "silent on unanswerable",
    )
    rows = [
        (
            f"{name}, {row['target']:g}",
            number(row["always"]),
            number(row["guard"]),
            number(row["oracle"]),
            number(row["share"]),
            number(row["coverage"]),
            number(row["accuracy"]),
            number(row["abstained_unanswerable"]),
        )
        for name, guard in list(_guards_of(results))[:2]
        for row in guard["targets"]
    ]
    note = (
        "S_t = (right − t/(1−t) · wrong) / n; never to answer earns 0. The guard answers where "
        "P(right) is above t, so “right of those” should be at least t."
    )
    return Sheet(
        "What answering earns: confidence targets", headings, tuple(rows), note if rows else ""
    )


def told(results: Results) -> Sheet:
    """What the model earns when it is told that rule itself."""
    rows = [
        (
            f"{row['target']:g}",
            str(row["told"]["n"]),
            str(row["declined"]),
            number(row["right_of_answered"]),
            number(row["untold"]),
            number(row["told"]),
        )
        for row in results["told"]
    ]
    headings = ("t", "n", "declined when told", "right of the others", "S_t untold", "S_t told")
    note = (
        "The model itself decides, after the rule in its system prompt. A model that keeps to it "
        "is right in more than t of what it answers."
    )
    return Sheet("The model told the rule", headings, tuple(rows), note if rows else "")
