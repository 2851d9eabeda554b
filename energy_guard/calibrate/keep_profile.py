"""A promise on questions of one's own, by a profile that stays as it is.

Nothing is learnt from the answers, so that all of them certify: a promise takes two and a half
times as many questions if a detector and its P(wrong) are to be learnt from them, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

from energy_guard.calibrate.certify import certify
from energy_guard.calibrate.kinds import kinds
from energy_guard.calibrate.learn import in_splits
from energy_guard.calibrate.make_profile import Made, Wish, labelled, limits, ranking
from energy_guard.calibrate.split import question_key
from energy_guard.errors import ConfigError, InputError
from energy_guard.profile import Certificate, Profile
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.questions.rows import Question
from energy_guard.questions.unsure import sure
from energy_guard.request import Sampling

_MULTIPLES: Final = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 3.0)


def thresholds(max_risk: float) -> tuple[float, ...]:
    """Return limits on P(wrong) to test, fixed before any answer is seen.

    They lie around the risk that is to be promised: if P(wrong) is right, more than that may be
    wrong of what is shown only below a limit above it. The last one shows all.

    >>> thresholds(0.25)
    (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.425, 0.5, 0.75, 1.0)
    """
    return (*(round(t, 6) for m in _MULTIPLES if (t := m * max_risk) < 1), 1.0)


def check_kept(profile: Profile, wish: Wish, *, raw: bool) -> None:
    """Check, before anything is asked, that a profile can be kept for a promise.

    Args:
        profile: The profile.
        wish: What is to be promised.
        raw: Whether questions are asked in plain text.

    Raises:
        ConfigError: Nothing is to be promised, or the profile is for answers that come about in
            another way than these will.

    """
    if wish.max_risk is None:
        raise ConfigError(
            "a profile that is kept as it is gets a promise, and none was asked for",
            "Say how much may be wrong of what is shown: --max-risk 0.25.",
        )
    if profile.retries:
        raise ConfigError(
            "this profile is for a policy that tries again, and a promise on that is made with it",
            "Calibrate with that policy: --policy FILE --max-risk …",
        )
    if profile.mode == "raw" and not raw:
        raise ConfigError("this profile is for plain text", "Ask as it was made: --shots N.")
    if profile.mode == "chat" and raw:
        raise ConfigError("this profile is for chats", "Leave --shots out.")
    if profile.sampling is not None and replace(profile.sampling, seed=None) != Sampling():
        raise ConfigError(
            "this profile is for answers that are drawn at random, and calibrate asks for the "
            "likeliest ones",
            "Keep a profile that was made by calibrate.",
        )


def check_new(rows: Sequence[Question], profile: Path) -> None:
    """Check that questions are none of those that a profile was made from.

    Args:
        rows: The questions.
        profile: Its file. What it was made from is known if the answers lie beside it.

    Raises:
        InputError: Some are, or it is not known any more.

    """
    answers = answers_of(profile)
    if not answers.exists():
        return
    if is_interrupted(profile, answers):
        raise InputError(
            f"{answers} has the answers of a run that was interrupted, and what {profile} was made "
            "from is not known any more",
            "Finish that run with --resume, and promise by the profile that it makes.",
        )
    known = {question_key(a.question, a.context) for a in read_answers(answers)[1]}
    again = sum(question_key(row.question, row.context) in known for row in rows)
    if again:
        raise InputError(
            f"{again} of {len(rows)} questions are among those that {profile} was made from, and "
            "a promise on these holds for no others",
            "Give other questions.",
        )


def answers_of(profile: Path, what: str = "answers") -> Path:
    """Return where answers are kept that a profile is made from, beside its file."""
    return profile.with_name(f"{profile.stem}.{what}.jsonl")


def is_interrupted(profile: Path, answers: Path) -> bool:
    """Whether a profile's answers were asked after it, so that it was not made from all of them."""
    return not profile.exists() or profile.stat().st_mtime < answers.stat().st_mtime


def promised(
    profile: Profile,
    answers: Sequence[Answered],
    max_risk: float,
    confidence: float = 0.95,
    earlier: Sequence[Certificate] = (),
) -> Made:
    """Test which limit on a profile's P(wrong) holds what is wished, on all of these answers.

    Args:
        profile: Is kept, but for its limits and its certificates. See `check_kept`.
        answers: Graded ones to questions that it was not made from; one of each question counts,
            and none whose grade is unsure.
        max_risk: The share of wrong answers among those shown that is to be promised.
        confidence: How sure.
        earlier: Certificates, beside the profile's own, that were made with these questions
            before: each is a look.

    """
    rows = [
        answered.scored_by(profile.scorer)
        for answered in chain.from_iterable(in_splits(sure(answers)).values())
    ]
    looks = _each_once(*profile.certificates, *earlier)
    certificate = certify(
        labelled(rows, profile),
        thresholds(max_risk),
        max_risk=max_risk,
        confidence=confidence,
        basis=profile.basis,
        earlier=looks,
    )
    training = profile.training
    update = {
        "certificates": _each_once(*looks, certificate),
        "training": training and training.model_copy(update={"certify": certificate.n}),
    }
    return Made(
        profile.model_copy(update=update | limits(Wish(max_risk), certificate)),
        certificate,
        *ranking(rows),
        outcomes=Counter(answered.outcome for answered in answers),
        kinds=kinds(rows, profile),
    )


def _each_once(*certificates: Certificate) -> tuple[Certificate, ...]:
    return tuple(c for n, c in enumerate(certificates) if c not in certificates[:n])
