"""Attacked: a guard in an event loop, whose tasks are cancelled at any moment."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from random import Random
from typing import Any, Final

from energy_guard import Guard, Result, load

from .case import Case, Kind, Make
from .models import MODEL, prepare
from .threads import Alone, check_nothing_is_left, request

_NEIGHBOURS: Final = 2


def open_tasks(folder: Path) -> Make:
    backend: Any = load(folder / MODEL, n_ctx=128, n_threads=1)
    guard, alone = Guard(backend), Alone(folder / MODEL)
    asyncio.run(guard.aask(request(0)))  # starts the engine's own thread, which stays
    began = time.monotonic()
    guard.ask(request(1))
    usual = time.monotonic() - began

    def make(number: int, dice: Random) -> Case:
        after = dice.uniform(0, 2 * usual)
        streams, twice = dice.random() < 0.5, dice.random() < 0.3
        at = dice.randrange(_NEIGHBOURS + 1)

        async def cancelled() -> None:
            if streams:
                async for _ in guard.astream(request(number)):
                    await asyncio.sleep(0)
            else:
                await guard.aask(request(number))

        async def all_of_them() -> list[Result]:
            others = [guard.aask(request(500 + number + n)) for n in range(_NEIGHBOURS)]
            tasks: list[asyncio.Task[Any]] = [asyncio.create_task(each) for each in others[:at]]
            task = asyncio.create_task(cancelled())
            tasks += [asyncio.create_task(each) for each in others[at:]]
            await asyncio.sleep(after)
            task.cancel()
            if twice:
                await asyncio.sleep(0)
                task.cancel()
            [ended] = await asyncio.gather(task, return_exceptions=True)
            assert ended is None or isinstance(ended, asyncio.CancelledError), repr(ended)
            return await asyncio.gather(*tasks)

        def run() -> None:
            before = {*threading.enumerate()}
            results = asyncio.run(all_of_them())
            check_nothing_is_left(backend, before)
            for n, result in enumerate(results):
                alone.check(500 + number + n, result)
            alone.check(7, guard.ask(request(7)))

        kind = "astream" if streams else "aask"
        return Case(
            f"{kind}, number {at} of {_NEIGHBOURS + 1}, after {after:.4f} s"
            f"{', twice' if twice else ''}",
            run,
        )

    return make


KIND: Final = Kind("asynchronous tasks, cancelled", 50, open_tasks, prepare, limit_s=60)
