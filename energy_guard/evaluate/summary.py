"""From graded answers to the results of an evaluation: one plain object, as results.json holds it.

Numbers that were fitted are of answers that had no part in the fitting. Answers that the model
declined by itself are counted apart: neither right nor wrong, they earn and cost nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np

from energy_guard.energy import Floats
from energy_guard.estimates.estimate import NotDefined
from energy_guard.estimates.ranking import OF_EACH
from energy_guard.evaluate.examples import examples_of
from energy_guard.evaluate.figures import guard_figures, measured, roc
from energy_guard.evaluate.folds import (
    FEWEST,
    CrossFitted,
    all_together,
    can_be_fitted,
    in_domain,
    out_of_domain,
    p_wrong,
)
from energy_guard.evaluate.paired_auroc import (
    CHOSEN,
    USUAL,
    Aurocs,
    Risk,
    aurocs,
    best_singles,
    mean_auroc,
    with_chosen,
)
from energy_guard.evaluate.profile_figures import profile_figures
from energy_guard.evaluate.references.ask_again import MEASURES
from energy_guard.evaluate.references.hidden_state_probe import ELSEWHERE, PROBE, about, probes
from energy_guard.evaluate.references.told_the_rule import graded as graded_of
from energy_guard.evaluate.references.told_the_rule import told_figures
from energy_guard.evaluate.task_arrays import PARTS, SINGLES, Task, tasks_of
from energy_guard.locate import NothingToCheck, NotLocated
from energy_guard.neuron_detector import is_neurons
from energy_guard.profile import Profile
from energy_guard.questions.answered import Answered
from energy_guard.questions.grade import Outcome
from energy_guard.questions.unsure import sure
from energy_guard.questions.wording import EACH_KIND
from energy_guard.report.results import (
    Compared,
    Gains,
    Means,
    NoBaselines,
    NoFigures,
    Numbers,
    Pooled,
    Probe,
    Summary,
    TaskFigures,
)
from energy_guard.score import Detector
from energy_guard.trace import SCHEMA

IN_DOMAIN: Final = "fitted in domain"
OUT_OF_DOMAIN: Final = "fitted out of domain"
_FITTED: Final = (IN_DOMAIN, OUT_OF_DOMAIN)
LENGTH: Final = "span length"
CENTRED: Final = tuple(
    f"{signal}:{pooling}"
    for signal in ("logit_energy", "marginal_energy", "spilled_energy")
    for pooling in ("mean", "max", "min", "sum")
)
"""What the effect of gauge fixing is shown for."""


@dataclass(frozen=True)
class _Scored:
    """A task with its held-out scores by name, and its ranked answers.

    probes: those of probes on hidden states, which no guard is made from.
    """

    task: Task
    fitted: Mapping[str, Risk]
    probes: Mapping[str, Risk]
    ranking: Aurocs | NotDefined

    @property
    def counts(self) -> bool:
        """Whether it is one of those that means are taken over."""
        return isinstance(self.ranking, Aurocs) and self.ranking.rarer >= OF_EACH


def summarise(
    answers: Sequence[Answered],
    detector: str | None = None,
    *,
    told: Mapping[float, Sequence[Answered]] | None = None,
    profile: Profile | None = None,
    wording: str = EACH_KIND,
) -> Summary:
    """Return the results of an evaluation; the same answers give the same results.

    detector: the name of what the guard's figures are for, instead of the fitted one. told:
    answers after the model was told the rule of a confidence target, by target. profile: one to
    try as it is.
    wording: how the questions were put, as a file of answers records it.
    Answers whose grade is unsure are counted, and stand in no other figure.
    """
    graded = sure(answers)
    unsure = Counter(answered.task for answered in answers if answered.unsure)
    tasks = tasks_of(graded)
    fitting = [task for task in tasks if can_be_fitted(task)]
    scored = [_scored(task, fitting) for task in tasks]
    counting = [each.ranking for each in scored if each.counts]
    rankings = [ranking for ranking in counting if isinstance(ranking, Aurocs)]
    best = best_singles(rankings)
    guards = _Guards.of(scored, fitting, name=detector)
    return {
        "schema": SCHEMA,
        "n": len(answers),
        "outcomes": _outcomes(answers),
        "detector": detector or "fitted",
        "tasks": {
            each.task.name: _task(
                each, guards.one_a_task.get(each.task.name), best, unsure[each.task.name]
            )
            for each in scored
        },
        "means": _means([each for each in scored if each.counts], rankings, best),
        "localisation": _gains(rankings, [(f"span.{n}", f"answer.{n}") for n in SINGLES]),
        "gauge": _gains(rankings, [(f"span.centred_{n}", f"span.{n}") for n in CENTRED]),
        "pooled": guards.pooled(best),
        "told": told_figures(
            graded, {target: sure(those) for target, those in (told or {}).items()}
        ),
        "profile": profile_figures(tasks, profile, wording=wording) if profile else None,
        "examples": examples_of(tasks, guards.together),
    }


@dataclass(frozen=True)
class _Guards:
    """P(wrong) by two guards: one made for each task, and one for all, which knows no tasks."""

    tasks: Sequence[Task]
    one_a_task: Mapping[str, Floats]
    together: Floats | None

    @classmethod
    def of(cls, scored: Sequence[_Scored], fitting: Sequence[Task], *, name: str | None) -> _Guards:
        tasks = [each.task for each in scored]
        if not fitting:
            return cls(tasks, {}, None)
        single = [_by(task, name) for task in tasks] if name else None
        risk = np.concatenate(single) if single else all_together(tasks)
        one_a_task = {}
        for number, each in enumerate(scored):
            if each.task in fitting:
                own = single[number] if single else _once(each.fitted[IN_DOMAIN])
                one_a_task[each.task.name] = p_wrong(own, [each.task])
        return cls(tasks, one_a_task, p_wrong(risk, tasks))

    def pooled(self, best: Sequence[str]) -> Pooled | NoFigures:
        """Figures over all rows; each task a share of them, as large as it is."""
        if self.together is None:
            return {"reason": f"no task has {FEWEST} right and {FEWEST} wrong answers to fit to"}
        graded = graded_of([a for task in self.tasks for a in task.answers])
        apart = [
            self.one_a_task.get(task.name, np.full(len(task.answers), np.nan))
            for task in self.tasks
        ]
        known = np.isfinite(self.together)
        curves = {"guard": self.together}
        for name in (*best, LENGTH):
            curves[name] = np.concatenate([_risk(task, name) for task in self.tasks])
        return {
            "one_for_all": guard_figures(graded, self.together),
            "one_a_task": guard_figures(graded, np.concatenate(apart)),
            "roc": {name: roc(risk[known], graded.wrong[known]) for name, risk in curves.items()},
        }


def _scored(task: Task, fitting: Sequence[Task]) -> _Scored:
    others = [other.without(task) for other in fitting if other is not task]
    fitted: dict[str, Risk] = {}
    if task in fitting:
        fitted[IN_DOMAIN] = in_domain(task, others)
        if len(others) > 1:
            fitted[OUT_OF_DOMAIN] = out_of_domain(task, others)
    probed = probes(task, others)
    kept = task.ranked
    wrong = task.wrong[kept]
    if wrong.all() or not wrong.any():
        what = "wrong" if wrong.any() else "right"
        reason = f"all {len(wrong)} located answers are {what}: nothing to tell apart"
        return _Scored(task, fitted, probed, NotDefined(reason, len(wrong)))
    risks: dict[str, Risk] = {**_risks(task), **fitted, **probed}
    return _Scored(
        task, fitted, probed, aurocs({n: risk[kept] for n, risk in risks.items()}, wrong)
    )


def _risks(task: Task) -> dict[str, Floats]:
    """Everything that needs no fitting here: each single signal of the span and of the whole
    answer, and probes on neurons, which were fitted before.
    """
    names = [f"{part}.{single}" for part in PARTS for single in SINGLES]
    return {name: _risk(task, name) for name in (*names, LENGTH, *task.probes)}


def _once(risk: Risk) -> Floats:
    """One score an answer, where single answers are looked at."""
    return risk.once if isinstance(risk, CrossFitted) else risk


def _risk(task: Task, name: str) -> Floats:
    if name == LENGTH:
        return task.feature("span.tokens")
    if is_neurons(name):
        return task.log_odds(name)
    part, _, single = name.partition(".")
    return task.single(single, part)


def _by(task: Task, name: str) -> Floats:
    if is_neurons(name):
        return np.where(task.ranked, task.log_odds(name), np.nan)
    detector = Detector.parse(name)
    values = task.feature(f"span.{detector.signal}:{detector.pooling}")
    return np.where(task.ranked, values if detector.riskier == "high" else -values, np.nan)


def _task(each: _Scored, p: Floats | None, best: Sequence[str], unsure: int) -> TaskFigures:
    task, ranking = each.task, each.ranking
    located = Counter(type(answered.located) for answered in task.answers)
    found: TaskFigures = {
        "n": len(task.answers),
        "outcomes": _outcomes(task.answers) | {"unsure": unsure},
        "unanswerable": sum(not answered.answerable for answered in task.answers),
        "not_located": located[NotLocated],
        "nothing_to_check": located[NothingToCheck],
        "ranked": int(task.ranked.sum()),
        "wrong_of_ranked": int(task.wrong[task.ranked].sum()),
    }
    if isinstance(ranking, NotDefined):
        found["reason"] = ranking.reason
        return found
    names = [*ranking.values, *ranking.missing]
    found["auroc"] = {name: measured(ranking.measured(name)) for name in names}
    kept = task.fittable
    curves = {name: _once(risk) for name, risk in each.fitted.items()}
    curves |= {name: _risk(task, name) for name in (*best, LENGTH)}
    found["gain"] = _above([ranking], [*each.fitted, *task.probes], [USUAL, *best])
    if not task.wrong[kept].all() and task.wrong[kept].any():
        found["roc"] = {name: roc(risk[kept], task.wrong[kept]) for name, risk in curves.items()}
    if p is None:
        found["guard"] = {"reason": f"fewer than {FEWEST} answers of a class to fit to"}
    else:
        found["guard"] = guard_figures(graded_of(task.answers), p)
    baselines, probe = _baselines(each, best), _probe(each, ranking, best)
    if baselines is not None:
        found["baselines"] = baselines
    if probe is not None:
        found["probe"] = probe
    return found


def _probe(each: _Scored, ranking: Aurocs, best: Sequence[str]) -> Probe | None:
    """How far probes on hidden states are above signals and fitted detectors, or why not known."""
    found = about(each.task)
    if found is not None and each.probes:
        found["gain"] = _above([ranking], list(each.probes), [*best, *each.fitted])
    return found


def _baselines(each: _Scored, best: Sequence[str]) -> Numbers | NoBaselines | None:
    """p(true) and agreement beside others, on the rows that they were measured on."""
    task = each.task
    has = np.array([all(m in a.measured for m in MEASURES) for a in task.answers], dtype=bool)
    kept = has & task.ranked
    wrong = task.wrong[kept]
    if not has.any():
        return None
    if wrong.all() or not wrong.any():
        return {"n": int(kept.sum()), "reason": "one class only"}
    risks: dict[str, Risk] = {
        **{m: np.array([1 - a.measured.get(m, np.nan) for a in task.answers]) for m in MEASURES},
        **{name: _risk(task, name) for name in best},
        **each.fitted,
    }
    ranking = aurocs({name: risk[kept] for name, risk in risks.items()}, wrong)
    return {name: measured(ranking.measured(name)) for name in risks}


def _means(counting: Sequence[_Scored], rankings: Sequence[Aurocs], best: Sequence[str]) -> Means:
    """Means over the tasks with enough answers of each class, each task counting the same."""
    if not rankings:
        reason = f"no task has {OF_EACH} right and {OF_EACH} wrong answers that were located"
        return {"tasks": [], "reason": reason}
    fixed = [*best, CHOSEN] if len(rankings) > 1 else list(best)
    rankings = with_chosen(rankings)
    names = dict.fromkeys(name for ranking in rankings for name in ranking.values)
    fitted, probed = ([n for n in of if n in names] for of in (_FITTED, (PROBE, ELSEWHERE)))
    neurons = [name for name in names if is_neurons(name)]
    return {
        "tasks": [each.task.name for each in counting],
        "best_singles": list(best),
        "auroc": {name: measured(mean_auroc(rankings, name)) for name in names},
        "gain": _above(rankings, [*fitted, *neurons], [USUAL, *fixed]),
        "probe_gain": _above(rankings, probed, [*best, *fitted]),
    }


def _above(rankings: Sequence[Aurocs], names: Sequence[str], best: Sequence[str]) -> Gains:
    """How much the AUROC of each name is above that of each of the best single signals."""
    return {
        name: {other: measured(mean_auroc(rankings, name, other=other)) for other in best}
        for name in names
    }


def _gains(rankings: Sequence[Aurocs], pairs: Sequence[tuple[str, str]]) -> list[Compared]:
    """Mean AUROC of each pair, and of the first above the second."""
    return [
        {
            "name": name,
            "against": other,
            "auroc": measured(mean_auroc(rankings, name)),
            "auroc_against": measured(mean_auroc(rankings, other)),
            "gain": measured(mean_auroc(rankings, name, other=other)),
        }
        for name, other in pairs
    ]


def _outcomes(answers: Sequence[Answered]) -> dict[str, int]:
    """declined: unanswerable questions that the model rightly left unanswered."""
    said = Counter(
        "declined" if a.declined and a.outcome == "right" else a.outcome for a in answers
    )
    return {outcome: said[outcome] for outcome in (*get_args(Outcome), "declined")}
