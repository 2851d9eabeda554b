"""An answer on the screen while it is written, each token coloured by its risk."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from energy_guard.cli.screen import Console
from energy_guard.cli.wrap import WordWrap
from energy_guard.events import AttemptStarted, Done, GuardEvent
from energy_guard.events import Text as TextEvent
from energy_guard.guard import Guard
from energy_guard.report.levels import token_level
from energy_guard.report.printable import printable
from energy_guard.report.terminal import STYLES
from energy_guard.result import Result


def show_live(console: Console, guard: Guard, events: Iterable[GuardEvent]) -> Result:
    """Print the events of a stream as they come; return the result at its end."""
    policy = guard.policy
    thresholds = {"on": policy.on, "warn": policy.warn, "abstain": policy.abstain}
    screen = WordWrap(console)
    try:
        for event in events:
            if isinstance(event, AttemptStarted) and event.attempt:
                screen.new_line()
                console.print(Text(f"attempt {event.attempt + 1}:", "dim"))
            elif isinstance(event, TextEvent):
                level = token_level(guard.detector.per_token, thresholds, event.nll, event.risk)
                screen.write(printable(event.text), STYLES[level])
            elif isinstance(event, Done):
                return event.result
    finally:
        screen.new_line()  # the line of the last token is open, also where the engine failed
    raise RuntimeError("a stream ends with Done")
