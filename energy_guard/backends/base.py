"""What every backend is: the protocol, and what identifies an engine."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from energy_guard.request import Event, Request


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model answers: profiles and policies belong to one fingerprint.

    fingerprint: hexadecimal digest of weights, quantisation and adapters.

    >>> ModelInfo("tiny", "00ff", "scripted").backend
    'scripted'
    """

    name: str
    fingerprint: str
    backend: str


@runtime_checkable
class Backend(Protocol):
    """An engine that writes text and shows the raw row of every step."""

    @property
    def info(self) -> ModelInfo:
        """Name, fingerprint and kind of the engine."""
        ...

    @property
    def exact_signals(self) -> frozenset[str]:
        """Signals that this backend gives exactly; the others it does not give."""
        ...

    def generate(self, requests: Sequence[Request]) -> Generator[Event, None, None]:
        """Answer the requests; events carry the index of their request as `sequence`.

        Holds the engine's lock until the generator is exhausted or closed. Raises InputError
        before any work where a request cannot be served, EngineBusyError where the engine
        stays in use, EngineError where it fails.
        """
        ...

    def replay(self, request: Request, answer: str | Sequence[int]) -> Generator[Event, None, None]:
        """Yield the same events for an answer that exists already, as text or token ids."""
        ...
