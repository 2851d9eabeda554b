"""The tables of an evaluation, from the object of results.json, for the terminal and for HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

Results = Mapping[str, Any]
Cell = str

NONE: Final = "–"
SHOWN: Final = (
    *(f"nll:{pooling}" for pooling in ("mean", "max", "sum", "first")),
    *(f"entropy:{pooling}" for pooling in ("mean", "max", "first")),
    *(f"margin:{pooling}" for pooling in ("mean", "min")),
    *(f"logit_energy:{pooling}" for pooling in ("mean", "max")),
    *(f"centred_logit_energy:{pooling}" for pooling in ("mean", "max")),
    *(f"marginal_energy:{pooling}" for pooling in ("mean", "max")),
    *(f"centred_marginal_energy:{pooling}" for pooling in ("mean", "max")),
    *(f"spilled_energy:{pooling}" for pooling in ("mean", "max", "sum", "min")),
    *(f"centred_spilled_energy:{pooling}" for pooling in ("mean", "max", "sum", "min")),
    *(f"scaled_spilled_energy:{pooling}" for pooling in ("mean", "max")),
)
"""Single signals that tables show; results.json has all of them with all poolings."""


_FITTED: Final = "fitted in domain"
_PROBES: Final = ("hidden-state probe", "hidden-state probe, other tasks")


@dataclass(frozen=True)
class Sheet:
    """A table: the first column is text, the others are numbers. note: what to know, below it."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def sheets(results: Results) -> list[Sheet]:
    """Return every table that has something to show."""
    makers: tuple[Callable[[Results], Sheet], ...] = (
        _answers,
        _detectors,
        _singles,
        _gauge,
        _baselines,
        _probes,
        _profile,
        _guards,
        _targets,
        _told,
    )
    made = (maker(results) for maker in makers)
    return [_without_empty_columns(sheet) for sheet in made if sheet.rows or sheet.note]


def _without_empty_columns(sheet: Sheet) -> Sheet:
    kept = [at for at, cells in enumerate(zip(*sheet.rows, strict=True)) if set(cells) != {NONE}]
    if not sheet.rows:
        return sheet
    rows = tuple(tuple(row[at] for at in kept) for row in sheet.rows)
    return replace(sheet, headings=tuple(sheet.headings[at] for at in kept), rows=rows)


def number(measured: Mapping[str, Any] | None, signed: bool = False) -> str:
    """A number with its interval; a dash where there is none, a star where it is from too few."""
    if measured is None or measured["value"] is None:
        return NONE
    form = "+.3f" if signed else ".3f"
    value, low, high = (format(measured[key], form) for key in ("value", "low", "high"))
    star = "*" if measured.get("note", "").startswith("only") else ""
    dash = " to " if signed or "-" in low else "–"
    return f"{value}{star} ({low}{dash}{high})"


def _answers(results: Results) -> Sheet:
    too_long = results["too_long"]
    rows = [
        (name, *_counts(task), str(too_long.get(name, 0)))
        for name, task in results["tasks"].items()
    ]
    rows.append(("all", *_counts(_everything(results)), str(sum(too_long.values()))))
    return Sheet(
        "What the model answered",
        (
            "task",
            "n",
            "right",
            "wrong",
            "refused",
            "declined",
            "not located",
            "nothing to check",
            "too long",
        ),
        tuple(rows),
        "refused: the model declined a question that has an answer; declined: one that has none. "
        "Both are counted apart, neither right nor wrong. too long: left out, the context is "
        "too small.",
    )


def _counts(task: Mapping[str, Any]) -> list[str]:
    outcomes = [task["outcomes"][key] for key in ("right", "wrong", "refused", "declined")]
    return [str(n) for n in (task["n"], *outcomes, task["not_located"], task["nothing_to_check"])]


def _everything(results: Results) -> dict[str, Any]:
    tasks = results["tasks"].values()
    keys = ("n", "not_located", "nothing_to_check")
    return {key: sum(task[key] for task in tasks) for key in keys} | {
        "outcomes": results["outcomes"]
    }


def _detectors(results: Results) -> Sheet:
    means = results["means"]
    best = list(_best(results))
    fitted = ("fitted in domain", "fitted out of domain")
    rows = [
        (name, str(task["ranked"]), *_auroc_cells(task, best, fitted))
        if "auroc" in task
        else (name, str(task["ranked"]), task["reason"], *[""] * (len(best) + 2))
        for name, task in results["tasks"].items()
    ]
    if means["tasks"]:
        n = sum(results["tasks"][name]["ranked"] for name in means["tasks"])
        rows.append((f"mean of {len(means['tasks'])}", str(n), *_auroc_cells(means, best, fitted)))
    gains = [
        f"Mean gain, {name}, over {other}: {number(of[other], signed=True)}."
        for name, of in means.get("gain", {}).items()
        for other in of
    ]
    chosen = (
        f"{' and '.join(best)}: the best single signals of the exact answer and of the whole "
        "answer, chosen on these very answers."
        if means["tasks"]
        else f"No means: {means['reason']}."
    )
    fitting = (
        "In domain: fitted to the task's other folds; out of domain: to other tasks only. "
        "* fewer than 30 answers of a class: the interval is too narrow."
    )
    return Sheet(
        "AUROC: wrong answers above right ones",
        ("task", "n", *best, "in domain: its gain on the first", *fitted),
        tuple(rows),
        " ".join([chosen, fitting, *gains]),
    )


def _auroc_cells(
    found: Mapping[str, Any], best: Sequence[str], fitted: Sequence[str]
) -> tuple[str, ...]:
    auroc, gain = found["auroc"], found["gain"].get(fitted[0], {})
    singles = [number(auroc.get(name)) for name in best]
    first = number(gain.get(best[0]) if best else None, signed=True)
    return (*singles, first, *(number(auroc.get(name)) for name in fitted))


def _best(results: Results) -> Iterator[str]:
    yield from results["means"].get("best_singles", ("span.nll:max", "answer.nll:max"))


def _singles(results: Results) -> Sheet:
    means = results["means"]
    if not means["tasks"]:
        return Sheet("", (), ())
    auroc = means["auroc"]
    effect = {each["name"]: each["gain"] for each in results["localisation"]}
    length = auroc.get("span length")
    rows = [
        (
            name,
            number(auroc.get(f"span.{name}")),
            number(auroc.get(f"answer.{name}")),
            number(effect.get(f"span.{name}"), signed=True),
        )
        for name in SHOWN
    ]
    rows.sort(key=lambda row: row[1], reverse=True)
    return Sheet(
        "Single signals: mean AUROC over tasks",
        ("signal:pooling", "exact answer", "whole answer", "gain by localising"),
        (
            *rows,
            ("span length only", number(length), NONE, NONE),
            *((name, number(auroc[name]), NONE, NONE) for name in _PROBES if name in auroc),
        ),
        f"{len(means['tasks'])} tasks with at least 30 answers of each class, each counting the "
        "same. Low is riskier for margin, high for all else. results.json has every pooling.",
    )


def _gauge(results: Results) -> Sheet:
    rows = [
        (
            each["against"].removeprefix("span."),
            number(each["auroc_against"]),
            number(each["auroc"]),
            number(each["gain"], signed=True),
        )
        for each in results["gauge"]
        if each["gain"]["value"] is not None
    ]
    headings = ("signal:pooling", "raw", "gauge-fixed", "gain")
    note = "Gauge-fixed: each row's mean logit is subtracted first." if rows else ""
    return Sheet("Gauge fixing: mean AUROC over tasks", headings, tuple(rows), note)


def _baselines(results: Results) -> Sheet:
    with_them = {n: t["baselines"] for n, t in results["tasks"].items() if "baselines" in t}
    measured = {name: of for name, of in with_them.items() if "reason" not in of}
    names = list(dict.fromkeys(key for of in measured.values() for key in of))
    rows = [
        (task, str(of[names[0]]["n"]), *(number(of.get(name)) for name in names))
        for task, of in measured.items()
    ]
    left_out = [f"{name}: {of['reason']}" for name, of in with_them.items() if "reason" in of]
    note = "On the subsample that p(true) and agreement were measured on, all alike."
    return Sheet(
        "Baselines that ask the model more: AUROC",
        ("task", "n", *names),
        tuple(rows),
        " ".join([note, *left_out]) if with_them else "",
    )


def _probes(results: Results) -> Sheet:
    tasks = {name: task for name, task in results["tasks"].items() if "probe" in task}
    first, *_ = _best(results)
    rows = [
        (name, str(task["ranked"]), *_probe_cells(task["auroc"], task["probe"]["gain"], first))
        for name, task in tasks.items()
        if "gain" in task["probe"]
    ]
    means = results["means"]
    if means.get("probe_gain"):
        cells = _probe_cells(means["auroc"], means["probe_gain"], first)
        n = sum(results["tasks"][name]["ranked"] for name in means["tasks"])
        rows.append((f"mean of {len(means['tasks'])}", str(n), *cells))
    layers = {tuple(task["probe"]["layers"]) for task in tasks.values()}
    notes = [
        "Logistic regression on the hidden states of the exact answer's last token, layers "
        f"{' and '.join(str(layer) for of in layers for layer in of)}: fitted to the task's other "
        "folds (those of the detector in domain), or to other tasks only. It needs more than "
        "logits.",
        *(
            f"{name}: {t['probe']['reason']}."
            for name, t in tasks.items()
            if "reason" in t["probe"]
        ),
    ]
    return Sheet(
        "A trained reference, a probe on hidden states: AUROC",
        ("task", "n", first, _FITTED, _PROBES[0], "its gain on the detector", _PROBES[1]),
        tuple(rows),
        " ".join(notes) if tasks else "",
    )


def _probe_cells(auroc: Mapping[str, Any], gain: Mapping[str, Any], first: str) -> tuple[str, ...]:
    above = gain.get(_PROBES[0], {}).get(_FITTED)
    probe, elsewhere = (number(auroc.get(name)) for name in _PROBES)
    return (
        number(auroc.get(first)),
        number(auroc.get(_FITTED)),
        probe,
        number(above, True),
        elsewhere,
    )


def _profile(results: Results) -> Sheet:
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
    keys = ("auroc", "wrong", "coverage", "risk", "brier_skill", "calibration_error")
    rows = [
        (name, str(row["n"]), *(number(row[key]) for key in keys))
        for name, row in found["rows"].items()
    ]
    note = (
        f"Detector {found['detector']}, as it was stored; shown: P(wrong) below "
        f"{found['abstain']:.3g}. These answers had no part in it, unless it was made from them."
    )
    if found["promise"]:
        risk, confidence = found["promise"]["max_risk"], found["promise"]["confidence"]
        note += (
            f" It promises that at most {risk:.3g} of such answers are wrong ({confidence:.3g}), "
            "for questions like those that it was certified on."
        )
    return Sheet("The profile as it is", headings, tuple(rows), note)


def _guards(results: Results) -> Sheet:
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


def _guards_of(results: Results) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every guard that was made, with a name."""
    pooled = results["pooled"]
    if "reason" not in pooled:
        yield "one for all tasks", pooled["one_for_all"]
        yield "one for each task", pooled["one_a_task"]
    for name, task in results["tasks"].items():
        if "reason" not in task.get("guard", {"reason": ""}):
            yield name, task["guard"]


def _guard_cells(guard: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        *(number(guard["coverage_at_risk"][risk]) for risk in ("0.1", "0.2")),
        *(number(guard[key]) for key in ("aurc_excess", "brier_skill", "calibration_error")),
    )


def _targets(results: Results) -> Sheet:
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
    keys = ("always", "guard", "oracle", "share", "coverage", "accuracy", "abstained_unanswerable")
    rows = [
        (f"{name}, {row['target']:g}", *(number(row[key]) for key in keys))
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


def _told(results: Results) -> Sheet:
    rows = [
        (
            f"{row['target']:g}",
            str(row["told"]["n"]),
            str(row["declined"]),
            number(row["untold"]),
            number(row["told"]),
        )
        for row in results["told"]
    ]
    headings = ("t", "n", "declined when told", "S_t untold", "S_t told")
    note = "The model itself decides, after the rule in its system message." if rows else ""
    return Sheet("The model told the rule", headings, tuple(rows), note)
