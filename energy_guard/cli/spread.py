"""Options that spread the work of a command over many processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from energy_guard.backends import Backend
from energy_guard.cli.options import EngineOptions
from energy_guard.cli.screen import tell
from energy_guard.errors import ConfigError
from energy_guard.on_ray.cluster import Item, Made, Share, connected, spread
from energy_guard.on_ray.fleet import Fleet
from energy_guard.questions.ask import Ask, ask_here


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadOptions:
    """Where the work is done.

    Raises ConfigError for options of workers without any.
    """

    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            help="ray: many processes on this machine; ray://HOST:PORT: on a cluster.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(help="With --on: processes, each with its own model.", min=1, max=4096),
    ] = None
    gpus_per_worker: Annotated[
        float, typer.Option(help="With --on: GPUs of each process; 0.5 shares one.", min=0, max=64)
    ] = 0.0

    def __post_init__(self) -> None:
        if self.on is None and (self.workers is not None or self.gpus_per_worker):
            raise ConfigError(
                "--workers and --gpus-per-worker are for work that is spread", "Add --on ray."
            )

    def check_not_given(self, what: str) -> None:
        """Raise ConfigError if the work is spread; what: needs the model in this process."""
        if self.on is not None:
            raise ConfigError(f"{what} and --on do not go together", "Leave one of them out.")

    @contextmanager
    def opened(self, engine: EngineOptions) -> Iterator[tuple[Backend, Ask]]:
        """Load the model here, or have workers load it.

        Args:
            engine: the model. A worker gets as many processors as it has threads, one unless said.

        Yields:
            The model, and who asks it.

        Raises:
            EnergyGuardError: it cannot be loaded.
        """
        if self.on is None:
            yield engine.open(), ask_here
            return
        share = Share(workers=self.workers, cpus=engine.n_threads or 1, gpus=self.gpus_per_worker)
        there = replace(
            engine,
            model=_from_anywhere(engine.model),
            n_threads=None if engine.kind == "remote" else share.cpus,
        )
        with (
            connected(self.on, share) as workers,
            Fleet.started(there.open, workers=workers, share=share, tell=tell) as fleet,
        ):
            yield fleet.backend, fleet.ask

    @contextmanager
    def mapping(
        self, work: Callable[[Item], Made]
    ) -> Iterator[Callable[[Iterable[Item]], Iterator[Made]]]:
        """Do the same with many things, without a model, here or in many processes.

        Args:
            work: what is done; for processes it has to be possible to pickle it.

        Yields:
            What does it to things, and yields what comes of them in any order.
        """
        if self.on is None:
            yield lambda items: map(work, items)
            return
        with connected(self.on, Share(workers=self.workers)) as workers:
            yield lambda items: spread(work, items, workers=workers)


def _from_anywhere(model: str) -> str:
    """A path as processes with another working directory understand it."""
    path = Path(model)
    return str(path.resolve()) if model != "demo" and path.exists() else model
