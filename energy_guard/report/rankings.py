"""Tables of how well detectors rank wrong answers above right ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from energy_guard.neuron_detector import is_neurons
from energy_guard.report.results import Gains, Means, Numbers, Results, TaskFigures
from energy_guard.report.sheet import NONE, Sheet, best_singles, number

_FITTED: Final = ("fitted in domain", "fitted out of domain")
_PROBES: Final = ("hidden-state probe", "hidden-state probe, other tasks")

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


def detectors(results: Results) -> Sheet:
    """The fitted detectors beside the best single signals, task by task."""
    means = results["means"]
    best = best_singles(results)
    shown = (*_FITTED, *_on_neurons(results))
    rows = [
        (name, str(task["ranked"]), *_auroc_cells(task, best, shown))
        if "auroc" in task
        else (name, str(task["ranked"]), task["reason"], *[""] * (len(best) + len(shown)))
        for name, task in results["tasks"].items()
    ]
    if means["tasks"]:
        n = sum(results["tasks"][name]["ranked"] for name in means["tasks"])
        rows.append((f"mean of {len(means['tasks'])}", str(n), *_auroc_cells(means, best, shown)))
    chosen = (
        f"{' and '.join(best)}: the best single signals of the exact answer and of the whole "
        "answer, chosen on these very answers, which flatters them."
        if means["tasks"]
        else f"No means: {means['reason']}."
    )
    fitting = (
        "In domain: fitted to the task's other folds; out of domain: to other tasks only. "
        "* fewer than 30 answers of a class: the interval is too narrow."
    )
    if len(shown) > len(_FITTED):
        fitting += " neurons: a probe as it is; questions that it was fitted to flatter it."
    return Sheet(
        "AUROC: wrong answers above right ones",
        ("task", "n", *best, "in domain: its gain on the first", *shown),
        tuple(rows),
        f"{chosen} {fitting}",
    )


def _on_neurons(results: Results) -> list[str]:
    """Names of the probes whose neurons were watched."""
    tasks = results["tasks"].values()
    return sorted({name for task in tasks for name in task.get("auroc", {}) if is_neurons(name)})


def _auroc_cells(
    found: TaskFigures | Means, best: Sequence[str], shown: Sequence[str]
) -> tuple[str, ...]:
    auroc, gain = found["auroc"], found["gain"].get(_FITTED[0], {})
    singles = [number(auroc.get(name)) for name in best]
    first = number(gain.get(best[0]) if best else None, signed=True)
    return (*singles, first, *(number(auroc.get(name)) for name in shown))


def gains(results: Results) -> Sheet:
    """What fitting gains over single signals, on the mean of the tasks."""
    found = results["means"].get("gain", {})
    shown = (*_FITTED, *_on_neurons(results))
    others = list(dict.fromkeys(other for of in found.values() for other in of))
    rows = [
        (other, *(number(found.get(name, {}).get(other), signed=True) for name in shown))
        for other in others
    ]
    note = (
        "The first is what the guard goes by if nothing was fitted; the last is chosen without "
        "any answer of the task that it is compared on."
    )
    headings = ("mean AUROC above", *shown)
    return Sheet("What fitting gains", headings, tuple(rows), note if rows else "")


def singles(results: Results) -> Sheet:
    """Single signals over the exact answer and over the whole one."""
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


def gauge(results: Results) -> Sheet:
    """What subtracting the mean logit does for each energy."""
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


def baselines(results: Results) -> Sheet:
    """p(true) and agreement beside signals, on the rows that they were measured on."""
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


def probes(results: Results) -> Sheet:
    """Probes on hidden states beside the detector."""
    tasks = {name: task for name, task in results["tasks"].items() if "probe" in task}
    first, *_ = best_singles(results)
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
        ("task", "n", first, _FITTED[0], _PROBES[0], "its gain on the detector", _PROBES[1]),
        tuple(rows),
        " ".join(notes) if tasks else "",
    )


def _probe_cells(auroc: Numbers, gain: Gains, first: str) -> tuple[str, ...]:
    above = gain.get(_PROBES[0], {}).get(_FITTED[0])
    probe, elsewhere = (number(auroc.get(name)) for name in _PROBES)
    return (
        number(auroc.get(first)),
        number(auroc.get(_FITTED[0])),
        probe,
        number(above, True),
        elsewhere,
    )
