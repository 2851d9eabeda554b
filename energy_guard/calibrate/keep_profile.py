"""A promise on questions of one's own, by a profile that stays as it is.

Nothing is learnt from the answers, so that all of them certify: a promise takes two and a half
times as many questions if a detector and its P(wrong) are to be learnt from them, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Final

from energy_guard.calibrate.certify import GRID, certify
from energy_guard.calibrate.kinds import kinds
from energy_guard.calibrate.learn import in_splits
from energy_guard.calibrate.make_profile import Made, Wish, labelled, limits, ranking
from energy_guard.errors import ConfigError
from energy_guard.profile import Certificate, Profile
from energy_guard.questions.answered import Answered
from energy_guard.questions.unsure import sure

THRESHOLDS: Final = tuple(step / GRID for step in range(1, GRID + 1))
"""Of P(wrong): they are fixed before any answer is seen."""


def check_kept(profile: Profile, wish: Wish) -> None:
    """Check, before anything is asked, that a profile can be kept for a promise.

    Raises:
        ConfigError: Nothing is to be promised, or the profile is for answers that are tried again.

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


def promised(
    profile: Profile,
    answers: Sequence[Answered],
    wish: Wish,
    earlier: Sequence[Certificate] = (),
) -> Made:
    """Test which limit on a profile's P(wrong) holds what is wished, on all of these answers.

    Args:
        profile: Is kept, but for its limits and its certificates.
        answers: Graded ones to questions that it was not made from; one of each question counts,
            and none whose grade is unsure.
        wish: What is to be promised.
        earlier: Certificates that were made with these questions before, each a look.

    Raises:
        ConfigError: As in `check_kept`.

    """
    check_kept(profile, wish)
    rows = [
        answered.scored_by(profile.scorer)
        for answered in chain.from_iterable(in_splits(sure(answers)).values())
    ]
    certificate = certify(
        labelled(rows, profile),
        THRESHOLDS,
        max_risk=wish.max_risk or 0.0,
        confidence=wish.confidence,
        basis=profile.basis,
        earlier=earlier,
    )
    made = (*earlier, *(() if certificate in earlier else (certificate,)))
    return Made(
        profile.model_copy(update={"certificates": made, **limits(wish, certificate)}),
        certificate,
        *ranking(rows),
        outcomes=Counter(answered.outcome for answered in answers),
        kinds=kinds(rows, profile),
    )
