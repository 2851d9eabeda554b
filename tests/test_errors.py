"""Errors travel: they are copied, and sent from one process to another."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from energy_guard import errors
from energy_guard.errors import EnergyGuardError
from energy_guard.server.errors import ApiError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, EnergyGuardError)
]
ERRORS = [kind("what happened", "what to do") for kind in KINDS]
ERRORS.append(ApiError(429, "what happened", "what to do", code="full", headers={"a": "b"}))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy]
)
def test_a_copy_of_an_error_says_the_same(
    error: EnergyGuardError, copied: Callable[[Any], Any]
) -> None:
    other = copied(error)
    assert type(other) is type(error)
    assert (str(other), vars(other)) == (str(error), vars(error))
