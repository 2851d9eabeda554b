"""Ray itself: connecting, what there is of processors, and work that is spread over it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from energy_guard.errors import ConfigError, EngineBusyError, EngineError, InputError
from energy_guard.extras import needs_extra

if TYPE_CHECKING:
    import ray

Item = TypeVar("Item")
Made = TypeVar("Made")

LOCAL: Final = "ray"
"""Ray on this machine, started for one command and ended with it."""

_CLIENT: Final = "ray://"
_OBJECTS: Final = 512 * 2**20
"""Bytes of shared memory on this machine: what is on its way is answers, or a few tables."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What each worker gets, and how many workers there are; None: as many as there is room for."""

    workers: int | None = None
    cpus: int = 1
    gpus: float = 0.0


@contextmanager
def connected(on: str, share: Share) -> Iterator[int]:
    """Connect to Ray, or start it on this machine, until the block ends.

    Args:
        on: `ray` for this machine, or the address of a cluster (ray://HOST:PORT).
        share: what workers get.

    Yields:
        How many workers there are.

    Raises:
        ConfigError: the address is none, or there is not as much as the workers are to have.
        EngineBusyError: there is, and others use it.
        EngineError: Ray does not start, or does not answer.
        MissingExtraError: Ray is not installed.
    """
    if on != LOCAL and not on.startswith(_CLIENT):
        raise ConfigError(
            f"there is no way to work on {on!r}", "--on ray, or --on ray://HOST:PORT."
        )
    with needs_extra("ray"):
        import ray
    try:
        _start(on, share)
    except Exception as error:  # Ray raises this very class if it does not start in time
        raise EngineError(
            f"Ray does not start, or does not answer ({on}): {_last_line(error)}",
            "Try again when the machine has less to do, or see whether the cluster is up.",
        ) from error
    about: Any = ray
    try:
        yield _workers(about.cluster_resources(), about.available_resources(), share)
    finally:
        ray.shutdown()


def _start(on: str, share: Share) -> None:
    import ray

    if on != LOCAL:
        ray.init(on, log_to_driver=False, logging_level=logging.ERROR)
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray would report its use to its makers
    # More workers than processors take turns: Ray would keep those it has no processor for waiting.
    processors = max(os.cpu_count() or 1, (share.workers or 1) * share.cpus)
    begin = partial(
        ray.init,
        "local",
        num_cpus=processors,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=_OBJECTS,
    )
    try:
        begin()
    except Exception:  # noqa: BLE001  # its node has 30 seconds, which a busy machine misses now and then
        ray.shutdown()
        begin()


def _workers(total: dict[str, float], free: dict[str, float], share: Share) -> int:
    """How many workers there is room for, or as many as are wanted.

    What asks for more than there is would wait for ever, without a word.
    """
    wanted = {"CPU": float(share.cpus), "GPU": share.gpus}
    room = {
        name: min(int(has.get(kind, 0.0) / each) for kind, each in wanted.items() if each)
        for name, has in (("total", total), ("free", free))
    }
    count = room["free"] if share.workers is None else share.workers
    needs = f"{count or 1} workers of {share.cpus} CPU and {share.gpus:g} GPU"
    if max(count, 1) > room["total"]:
        has = f"{total.get('CPU', 0):g} CPU and {total.get('GPU', 0):g} GPU"
        raise ConfigError(f"{needs} do not fit: Ray has {has}", "Give fewer: --workers.")
    if max(count, 1) > room["free"]:
        raise EngineBusyError(
            f"{needs} do not fit beside what others use of Ray now",
            "Give fewer: --workers, or wait.",
        )
    return count


def spread(work: Callable[[Item], Made], items: Iterable[Item], *, workers: int) -> Iterator[Made]:
    """Do the same with each of many things, in any order, twice as many on their way as workers.

    Args:
        work: what is done; it is sent to each process once.
        items: to what; read as they are needed.
        workers: how many processes are at work.

    Yields:
        What came of each, as it comes.

    Raises:
        InputError: `work` raised this.
        EngineError: it raised anything else, or a process died of it.
    """
    import ray

    remote: Any = ray.remote(num_cpus=1, max_retries=1)(_done)
    sent = ray.put(work)
    coming = iter(items)
    running: list[Any] = []
    while True:
        room = 2 * workers - len(running)
        running += [remote.remote(sent, item) for item in islice(coming, room)]
        if not running:
            return
        [ended], running = ray.wait(running, num_returns=1)
        yield got(ended)


def _done(work: Callable[[Item], Made], item: Item) -> Made:
    return work(item)


def got(ref: ray.ObjectRef[Any]) -> Any:
    """Return what a worker made.

    Raises:
        InputError: it raised this.
        EngineError: it raised anything else, or its process died.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, InputError | EngineError):
            raise error.cause from error
        raise EngineError(f"a worker failed: {error.cause!r}", _SEE) from error
    except RayError as error:
        raise EngineError(f"a worker's process ended: {_last_line(error)}", _SEE) from error


_SEE: Final = "Try the model alone first: energy-guard doctor --model …"


def _last_line(error: Exception) -> str:
    """What Ray says at last, which is the reason; before it stand names and stack traces."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
