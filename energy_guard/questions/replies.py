"""What workers say of questions that they were asked: in any order, late, perhaps twice.

Knows nothing of where workers run. Each reply has the very line that the file of answers gets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from energy_guard.errors import EnergyGuardError, MismatchError
from energy_guard.policy import differences
from energy_guard.questions.answered import Answered
from energy_guard.questions.rows import Question


@dataclass(frozen=True, slots=True)
class Failed:
    """A question without an answer, and why.

    id: the row's. reason: in words, with what to do next.
    """

    id: str
    reason: str

    @classmethod
    def of(cls, id: str, error: EnergyGuardError) -> Failed:
        """Keep what an error says."""
        return cls(id, str(error).replace("\n", " "))


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """What came of one question at a worker.

    said: the object that is one line of the file of answers; or why there is none. asked: the
    digest of how the worker asks, see `digest_of`.
    """

    said: Mapping[str, Any] | Failed
    asked: str

    @property
    def id(self) -> str:
        """The row's."""
        return self.said.id if isinstance(self.said, Failed) else str(self.said["id"])


def digest_of(made_with: Mapping[str, Any]) -> str:
    """Return a digest of all that answers depend on, see `questions.ask.made_with`."""
    return hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()[:32]


def check_alike(here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Check that a worker asks as all of them are to.

    Args:
        here: what answers are to depend on.
        there: what they depend on at the worker.

    Raises:
        MismatchError: it is another model, or asks in another way.
    """
    keys = sorted(here.keys() | there.keys())
    differ = differences({k: here.get(k) for k in keys}, {k: there.get(k) for k in keys})
    if differ:
        raise MismatchError(
            f"a worker has another model, or asks in another way: {'; '.join(differ)}",
            "Give every machine the same model file and the same versions of all packages.",
        )


def merged(
    replies: Iterable[Sequence[WorkerReply]], rows: Sequence[Question], *, asked: str
) -> Iterator[list[Answered | Failed]]:
    """Yield what came of each row once, as it comes.

    The first answer to a row counts. What comes again, comes after all, or belongs to no row is
    passed over.

    Args:
        replies: in any order, together what came at the same time.
        rows: what is asked.
        asked: the digest of how all of them are to be asked.

    Raises:
        MismatchError: a reply comes from a worker that asks in another way.
        InputError: a reply holds no answer.
    """
    missing = {row.id for row in rows}
    for together in replies:
        came: list[Answered | Failed] = []
        for reply in together:
            if reply.asked != asked:
                raise MismatchError(
                    f"the answer to {reply.id!r} comes from a worker with another model or wording",
                    "Nothing of it is kept. Start again with --resume.",
                )
            if reply.id in missing:
                missing.remove(reply.id)
                said = reply.said
                came.append(said if isinstance(said, Failed) else Answered.from_dict(said))
        if came:
            yield came
