"""The object of results.json, key by key: evaluations write it, tables and plots read it.

Only shapes: nothing is computed here. mypy holds both sides to them.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, final

Points = list[list[float]]
"""A curve: a point is a list of its coordinates."""


class Number(TypedDict):
    """A number with its interval and n; value is None if there is none, and `reason` says why."""

    value: float | None
    n: int
    low: NotRequired[float]
    high: NotRequired[float]
    note: NotRequired[str]
    reason: NotRequired[str]


Numbers = dict[str, Number]
Gains = dict[str, Numbers]
"""How far the first name is above the second."""


@final
class NoFigures(TypedDict):
    """Why there are no figures of this kind."""

    reason: str


class ReliabilityPoint(TypedDict):
    """Answers with similar P(wrong): its mean, and the share of them that is wrong."""

    p_wrong: float
    wrong: Number


class Histogram(TypedDict):
    """How many right and wrong answers have their P(wrong) in each of equal parts of 0 to 1."""

    right: list[int]
    wrong: list[int]


class Target(TypedDict):
    """What answering earns at one confidence target; see `estimates.confidence_targets`."""

    target: float
    penalty: float
    always: Number
    guard: Number
    oracle: Number
    gain: Number
    share: Number
    coverage: Number
    accuracy: Number
    abstained_unanswerable: Number


@final
class GuardFigures(TypedDict):
    """Risk and coverage, calibration, and what answering earns, of one guard on n rows."""

    n: int
    without_p_wrong: int
    aurc: Number
    aurc_excess: Number
    coverage_at_risk: Numbers
    risk_coverage: Points
    brier_skill: Number
    calibration_error: Number
    reliability: list[ReliabilityPoint]
    histogram: Histogram
    targets: list[Target]


class Probe(TypedDict):
    """A probe on hidden states: of which layers, and its gains or why there is none."""

    layers: list[int]
    gain: NotRequired[Gains]
    reason: NotRequired[str]


class NoBaselines(TypedDict):
    """Rows with baselines that are of one class only."""

    n: int
    reason: str


class TaskFigures(TypedDict):
    """One task. reason: why its answers cannot be ranked; then all further keys are missing."""

    n: int
    outcomes: dict[str, int]
    unanswerable: int
    not_located: int
    nothing_to_check: int
    ranked: int
    wrong_of_ranked: int
    reason: NotRequired[str]
    auroc: NotRequired[Numbers]
    gain: NotRequired[Gains]
    roc: NotRequired[dict[str, Points]]
    guard: NotRequired[GuardFigures | NoFigures]
    baselines: NotRequired[Numbers | NoBaselines]
    probe: NotRequired[Probe]


class Means(TypedDict):
    """Means over the tasks with enough answers of each class; reason: why there are none."""

    tasks: list[str]
    reason: NotRequired[str]
    best_singles: NotRequired[list[str]]
    auroc: NotRequired[Numbers]
    gain: NotRequired[Gains]
    probe_gain: NotRequired[Gains]


class Compared(TypedDict):
    """Two single signals by their mean AUROC, and how far the first is above the second."""

    name: str
    against: str
    auroc: Number
    auroc_against: Number
    gain: Number


@final
class Pooled(TypedDict):
    """All rows together: one guard for all tasks, one for each, and ROC curves by name."""

    one_for_all: GuardFigures
    one_a_task: GuardFigures
    roc: dict[str, Points]


class Told(TypedDict):
    """S_t of answers after the model was told a target's rule, and of the same without.

    right_of_answered: after it was told, of what it did not decline.
    """

    target: float
    declined: int
    right_of_answered: Number
    untold: Number
    told: Number


class ProfileRow(TypedDict):
    """A stored profile on the answers of a task, or of all."""

    n: int
    auroc: Number
    wrong: Number
    coverage: Number
    risk: Number
    brier_skill: Number
    calibration_error: Number


class Promised(TypedDict):
    """What a profile promises of the answers that it shows."""

    max_risk: float
    confidence: float


class ProfileFigures(TypedDict):
    """A stored profile as it is: how it ranks, what it shows, how right its P(wrong) is."""

    detector: str
    abstain: float
    notes: list[str]
    promise: Promised | None
    rows: dict[str, ProfileRow]


class ExampleAnswers(TypedDict):
    """Wrong answers with the highest risk and with the lowest, as `answer_html` takes them."""

    catches: list[dict[str, Any]]
    misses: list[dict[str, Any]]


class PassesCompared(TypedDict):
    """What the same answers were called in both passes: n in common, and how often the same."""

    same: Number
    kappa: float | None
    kappa_reason: NotRequired[str]


class LabelFigures(TypedDict):
    """Who says which answers are right, and how far the grader and people agree.

    labels: how many by each person. others: answers that only the grader looked at. unfitting:
    labels of answers that are not there. agree: of the answers with both a label and a grade, for
    each grade and for all, the share that people call the same.
    """

    labels: dict[str, int]
    others: int
    unfitting: int
    grader: str | None
    agree: Numbers
    passes: PassesCompared | None


class Summary(TypedDict):
    """What answers alone say; see `evaluate.summary.summarise`."""

    schema: int
    n: int
    outcomes: dict[str, int]
    detector: str
    tasks: dict[str, TaskFigures]
    means: Means
    localisation: list[Compared]
    gauge: list[Compared]
    pooled: Pooled | NoFigures
    told: list[Told]
    profile: ProfileFigures | None
    examples: ExampleAnswers


class Results(Summary):
    """All of results.json: the summary, and how the answers were made.

    made_with: what answers depend on; see `questions.ask`. too_long: of each task, questions that
    did not fit the context. labels: who graded.
    """

    labels: NotRequired[LabelFigures]
    command: str
    versions: dict[str, str]
    made_with: dict[str, Any]
    too_long: dict[str, int]
