"""A promise by a profile that stays as it is, on answers whose risk is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graded import INFO, answered, many

from energy_guard import Policy, Profile
from energy_guard.calibrate.keep_profile import check_kept, promised, thresholds
from energy_guard.calibrate.make_profile import Wish, make_profile
from energy_guard.errors import ConfigError
from energy_guard.questions.answered import Answered
from energy_guard.request import Sampling

WISH = Wish(max_risk=0.3)


def elsewhere(n: int = 500, *, seed: int = 1) -> list[Answered]:
    """Answers to questions that no profile was made from."""
    return many(n, seed, first=10_000)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return make_profile(many(600), INFO, locator="automatic").profile


def test_all_answers_certify_and_the_profile_stays_as_it_is(profile: Profile) -> None:
    made = promised(profile, elsewhere(), 0.3)
    certificate = made.certificate
    assert certificate is not None and certificate.n == 500
    assert tuple(row.threshold for row in certificate.tested) == thresholds(0.3)
    assert certificate.threshold is not None
    assert (made.profile.warn, made.profile.abstain) == (certificate.threshold,) * 2
    assert made.profile.basis == profile.basis == certificate.basis
    assert made.profile.calibration == profile.calibration
    assert made.profile.fitted == profile.fitted
    assert made.profile.promise(Policy(on="p_wrong", abstain=certificate.threshold)) is not None


def test_the_counts_are_those_of_the_answers_below_each_threshold(profile: Profile) -> None:
    answers = elsewhere()
    made = promised(profile, answers, 0.3)
    scores = [profile.scorer.score(a.trace, a.located, a.asked) for a in answers]
    risks = np.array([profile.p_wrong(score) or np.nan for score in scores])
    wrong = np.array([a.wrong for a in answers])
    assert made.certificate is not None
    for row in made.certificate.tested:
        assert row.answered == int((risks < row.threshold).sum())
        assert row.wrong == int((wrong & (risks < row.threshold)).sum())


def test_the_same_answers_again_are_no_second_look_and_others_are(profile: Profile) -> None:
    first = promised(profile, elsewhere(), 0.3)
    again = promised(profile, elsewhere(), 0.3, earlier=first.profile.certificates)
    assert again.certificate == first.certificate
    assert again.profile == first.profile
    made = first
    for look in (2, 3, 4):  # by the profile with the promise, which is also where it is written
        made = promised(made.profile, elsewhere(seed=look), 0.3, earlier=made.profile.certificates)
        assert made.certificate is not None and made.certificate.look == look
        assert len(made.profile.certificates) == look
    assert promised(made.profile, elsewhere(), 0.3).certificate == first.certificate


def test_nothing_is_shown_if_nothing_can_be_promised(profile: Profile) -> None:
    made = promised(profile, elsewhere(40), 0.02)
    assert made.certificate is not None and made.certificate.threshold is None
    assert (made.profile.warn, made.profile.abstain) == (0.0, 0.0)
    assert "cannot be promised" in made.certificate.reason


def test_what_is_unsure_and_what_is_asked_twice_counts_once_at_most(profile: Profile) -> None:
    rows = elsewhere(100)
    unsure = answered(20_000, wrong=False, nll=0.1, outcome="unsure")
    made = promised(profile, [*rows, rows[0], unsure], 0.3)
    assert made.certificate is not None and made.certificate.n == 100
    assert made.outcomes["unsure"] == 1


@pytest.mark.parametrize(
    ("changed", "wish", "raw", "why"),
    [
        ({}, Wish(), False, "none was asked for"),
        ({"retries": 1}, WISH, False, "tries again"),
        ({"mode": "raw"}, WISH, False, "plain text"),
        ({"mode": "chat"}, WISH, True, "for chats"),
        ({"sampling": Sampling(temperature=0.8)}, WISH, False, "drawn at random"),
    ],
)
def test_a_profile_is_not_kept_for_answers_that_come_about_otherwise(
    profile: Profile, changed: dict[str, Any], wish: Wish, raw: bool, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        check_kept(profile.model_copy(update=changed), wish, raw=raw)
    check_kept(profile, WISH, raw=False)
