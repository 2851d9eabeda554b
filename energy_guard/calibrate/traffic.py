"""A profile whose level fits where it is used, from logs of answers that nobody has graded.

Read from logs and files of answers is what the starting profile has a P(wrong) of. Everything else
is counted by the reason why it is left out. Nothing is asked of a model, and no grade is read but
to undo that graded answers are not labelled in the order of chance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.calibrate.prior_shift import LabelledScores, Shift, shift_of
from energy_guard.energy import Floats
from energy_guard.errors import InputError
from energy_guard.judge import Judge
from energy_guard.log import LogEntry, read_log
from energy_guard.profile import Calibration, Profile, Traffic
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.questions.grade import Outcome
from energy_guard.questions.labels import Label, digest_of
from energy_guard.questions.refusal import is_refusal
from energy_guard.questions.rows import Question
from energy_guard.questions.to_label import is_answers
from energy_guard.questions.wording import EACH_KIND, WORDINGS, kind_of
from energy_guard.score import Score, Unscored

FEWEST: Final = 50
"""Answers with P(wrong) that an estimate needs at the least."""


@dataclass(frozen=True)
class Seen:
    """An answer that counts: P(wrong) by the starting profile, what its label and grade say."""

    p_wrong: float
    label: Outcome | None = None
    grade: Outcome | None = None


@dataclass(frozen=True)
class Gathered:
    """What was read.

    seen: the answers that count. left_out: how many others there are, by the reason. unknown: how
    many of those that count do not say which system prompt they were asked with. labels_used: how
    many of the labels are of an answer that was read.
    """

    seen: tuple[Seen, ...]
    left_out: Mapping[str, int]
    unknown: int
    labels_used: int

    @property
    def p_wrong(self) -> Floats:
        """P(wrong) of each by the starting profile, shape (n,)."""
        return np.array([each.p_wrong for each in self.seen])

    @property
    def told(self) -> LabelledScores | None:
        """The labels that say right or wrong; None if there is none.

        Graded answers are labelled as many of one grade as of the other, so each label stands for
        its share of the answers with that grade.
        """
        known = [each for each in self.seen if each.label in ("right", "wrong")]
        if not known:
            return None
        every, among = (Counter(map(_stratum, rows)) for rows in (self.seen, known))
        reached = sum(every[stratum] for stratum in among)
        return LabelledScores(
            np.array([each.p_wrong for each in known]),
            np.array([each.label == "wrong" for each in known]),
            np.array([every[s] / among[s] * len(known) / reached for s in map(_stratum, known)]),
        )


@dataclass(frozen=True)
class Relevelled:
    """A profile with its level moved, by what, and how many answers are shown before and after."""

    profile: Profile
    shift: Shift
    shown_before: int
    shown_after: int


def models_in(paths: Sequence[Path]) -> list[ModelInfo]:
    """Return the models whose answers are in logs or files of answers, each once."""
    found: dict[tuple[str, str], ModelInfo] = {}
    for path in paths:
        if is_answers(path):
            models = [ModelInfo(**read_answers(path)[0]["model"])]
        else:
            models = [entry.model_info for entry in read_log(path)]
        found |= {(info.fingerprint, info.backend): info for info in models}
    return list(found.values())


def gather(
    paths: Sequence[Path], start: Profile, *, system: str | None, labels: Mapping[str, Label]
) -> Gathered:
    """Read answers, and what the starting profile says of them.

    Args:
        paths: Trace logs, and files of answers.
        start: The profile.
        system: The system prompt of the answers that count; None: that of the profile, and if it
            does not say either, any.
        labels: What people said, by digests.

    Returns:
        Each answer to a question once, in order.

    Raises:
        InputError: A file cannot be read, or holds something else.

    """
    wanted = start.system_prompt if system is None else system
    seen: list[Seen] = []
    left_out: Counter[str] = Counter()
    read: set[str | None] = set()
    counted: set[str] = set()
    unknown = 0
    for path in paths:
        for stored in _stored(path, start, labels):
            read.add(stored.digest)
            said = _why_left_out(stored, wanted)
            if said is None and stored.digest in counted:
                said = "the same answer to the same question once more"
            if said is not None:
                left_out[said] += 1
            elif isinstance(stored.result, float):
                seen.append(Seen(stored.result, stored.label, stored.grade))
                unknown += stored.system is None and wanted is not None
                counted |= {stored.digest} if stored.digest else set()
    return Gathered(tuple(seen), dict(left_out.most_common()), unknown, len(read & labels.keys()))


def relevelled(start: Profile, gathered: Gathered, *, system: str | None) -> Relevelled:
    """Return a profile whose level is that of these answers, without certificates.

    Args:
        start: The profile that gave them their P(wrong).
        gathered: The answers.
        system: The system prompt that it is for; None: that of the starting profile.

    Raises:
        InputError: The answers are too few, the profile cannot be moved, or nothing about its level
            can be learnt from its scores.

    """
    check_start(start)
    n, told = len(gathered.seen), gathered.told
    if n < FEWEST:
        raise InputError(
            f"{n} answers with P(wrong) are too few: at least {FEWEST} are needed",
            f"Collect {FEWEST - n} more, asked as the profile's questions were"
            + (f"; left out were {_listed(gathered.left_out)}." if gathered.left_out else "."),
        )
    if told is None and not any(curve.slope or curve.knots for curve in _curves(start)):
        raise InputError(
            "the profile's score does not tell wrong from right answers, so scores alone say "
            "nothing about how many are wrong",
            "Label about 30 answers (energy-guard label), and give them: --labels FILE.",
        )
    shift = shift_of(gathered.p_wrong, base_of(start), told=told)
    curves = {
        name: curve and curve.shifted(shift.log_odds)
        for name, curve in (
            ("calibration", start.calibration),
            ("whole_answer", start.whole_answer),
        )
    }
    made = start.model_copy(
        update={
            **curves,
            "certificates": (),
            "system_prompt": start.system_prompt if system is None else system,
            "p_wrong_from": "traffic",
            "traffic": Traffic(
                answers=n,
                labelled=0 if told is None else len(told.wrong),
                share=shift.share,
                before=shift.before,
                start=start.basis,
                log_odds=shift.log_odds,
            ),
        }
    )
    odds = np.log(gathered.p_wrong) - np.log1p(-gathered.p_wrong)
    after = 1 / (1 + np.exp(-(odds + shift.log_odds)))
    shown = [int((p < start.abstain).sum()) for p in (gathered.p_wrong, after)]
    return Relevelled(made, shift, *shown)


def check_start(start: Profile) -> None:
    """Raise InputError if a profile is none to start from: moved before, or of several attempts."""
    if start.p_wrong_from == "traffic":
        raise InputError(
            "this profile was moved to the level of logged answers before",
            "Start from the one that it was made from (--profile FILE): estimates upon estimates "
            "drift away.",
        )
    if start.retries or start.early_stop:
        raise InputError(
            "this profile is for a policy that tries again or stops early, and logs keep one "
            "answer of each question",
            "Start from a profile without retries.",
        )


def base_of(profile: Profile) -> float:
    """Return the share of wrong answers among all that a profile's curves are right for.

    That is the share among those that they were fitted to, unless the curves were moved since.
    """
    curves = _curves(profile)
    wrong, n = sum(curve.n_wrong for curve in curves), sum(curve.n for curve in curves)
    at_home = math.log(wrong / (n - wrong))
    odds = math.exp(profile.elsewhere_slope * at_home + profile.elsewhere)
    return odds / (1 + odds)


def _curves(profile: Profile) -> list[Calibration]:
    return [c for c in (profile.calibration, profile.whole_answer) if c is not None]


@dataclass(frozen=True)
class _Stored:
    """An answer as it was read; result: its P(wrong), or why there is none."""

    result: float | str
    system: str | None
    digest: str | None
    label: Outcome | None
    refused: bool
    grade: Outcome | None = None


def _why_left_out(stored: _Stored, system: str | None) -> str | None:
    if isinstance(stored.result, str):
        return stored.result
    if None not in (system, stored.system) and stored.system != system:
        return "asked with another system prompt"
    if stored.refused or stored.label == "refused":
        return "the model said that it does not know"
    return None


def _stored(path: Path, start: Profile, labels: Mapping[str, Label]) -> Iterator[_Stored]:
    if not is_answers(path):
        judge = Judge.assemble(profile=start)
        for entry in read_log(path):
            yield _of_entry(entry, judge, start, labels)
        return
    made_with, answers = read_answers(path)
    for answered in answers:
        yield _of_answered(answered, made_with, start, labels)


def _of_entry(
    entry: LogEntry, judge: Judge, start: Profile, labels: Mapping[str, Label]
) -> _Stored:
    info, text, digest = entry.model_info, entry.trace.text, None
    if entry.texts and entry.question is not None:
        digest = digest_of(entry.question, None, entry.choices, text)
    result: float | str | None = _otherwise(
        start,
        model=info.fingerprint,
        backend=info.backend,
        mode=entry.mode,
        locator=entry.locator,
        scoring=entry.scoring,
    )
    if result is None and entry.result.get("attempts") != 1:
        result = _SEVERAL
    if result is None:
        result = _p_wrong(judge.assess_stored(entry, relocate=False).score, start)
    given = labels.get(digest) if digest else None
    return _Stored(
        result,
        entry.system_prompt,
        digest,
        given.label if given else entry.label,
        refused=is_refusal(text, entry.question or ""),
    )


def _of_answered(
    answered: Answered, made_with: Mapping[str, Any], start: Profile, labels: Mapping[str, Label]
) -> _Stored:
    text = answered.trace.text
    digest = digest_of(answered.question, answered.context, answered.choices, text)
    model = made_with["model"]
    result: float | str | None = _otherwise(
        start,
        model=model["fingerprint"],
        backend=model["backend"],
        mode=made_with.get("mode", "chat"),
        locator=made_with["locator"],
    )
    if result is None and (made_with.get("retries") or made_with.get("early_stop")):
        result = _SEVERAL
    if result is None:
        result = _p_wrong(answered.scored_by(start.scorer).score, start)
    given = labels.get(digest)
    return _Stored(
        result,
        _system_of(answered, made_with),
        digest,
        given.label if given else None,
        refused=is_refusal(text, answered.question),
        grade=answered.outcome,
    )


_SEVERAL: Final = "chosen among several attempts, or stopped early"

_OTHERWISE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "model": "of another model",
        "backend": "of another engine",
        "mode": "asked in another mode (chat or raw)",
        "locator": "located by another locator",
        "scoring": "scored in another way (fast or token by token)",
    }
)
"""What is said of answers that the profile is not for."""


def _otherwise(start: Profile, **actual: str) -> str | None:
    differ = (
        said
        for key, said in _OTHERWISE.items()
        if actual.get(key, getattr(start, key)) != getattr(start, key)
        and getattr(start, key) is not None
    )
    return next(differ, None)


def _p_wrong(score: Score | Unscored, start: Profile) -> float | str:
    if isinstance(score, Unscored):
        return "with nothing to check" if score.nothing_to_check else "without a score"
    p = start.p_wrong(score)
    return "unlike all that the profile was made from" if p is None else p


def _system_of(answered: Answered, made_with: Mapping[str, Any]) -> str | None:
    """The system prompt of an evaluation's question; None if it is not known, or was no chat."""
    if made_with.get("mode") == "raw":
        return None
    system = made_with.get("wording")
    if system == EACH_KIND:
        asked = answered.question, answered.answers, answered.context, answered.choices
        system = WORDINGS[kind_of(Question(answered.id, answered.task, *asked))].system
    rule = made_with.get("rule")
    return f"{system} {rule}" if system and rule else system


def _stratum(seen: Seen) -> str | None:
    """By what answers are chosen for labelling (`to_label.in_order`)."""
    return seen.grade if seen.grade in (None, "right", "unsure") else "other"


def _listed(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items())
