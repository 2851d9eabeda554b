"""Text that is let go a sentence behind: none comes out that would be withheld."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from energy_guard import Guard, Policy
from energy_guard.backends import Scripted
from energy_guard.events import Done, GuardEvent, Retracted, Text
from energy_guard.release import Release

STRICT = Policy(detector="nll:max", warn=0.5, abstain=1.0)
Answer = Sequence[tuple[str, float]]
PARIS: Answer = [("The city is ", 0.99), ("Paris", 0.97), (".", 0.99), (" It", 0.99)]
RIVER: Answer = [(" lies on the", 0.99), (" Seine", 0.98), (".", 0.99)]
WRONG: Answer = [
    (" lies on the", 0.99),
    (" Wolga", 0.01),
    (".", 0.99),
    (" So", 0.9),
    (" it is.", 0.9),
]
MORE: Answer = [(" Next", 0.9), (" one", 0.99), (" now.", 0.99)]
UNSURE: Answer = [("The city is ", 0.99), ("Timbuktu", 0.2), (".", 0.99), (" It", 0.99), *RIVER]
THINKING: Answer = [("<think>Hm. ", 0.99), ("Lyon? ", 0.3), ("Well.</think>\n\n", 0.9)]

ANSWERS = {
    "shown": [*PARIS, *RIVER],
    "withheld at its end": [*PARIS, *WRONG],
    "withheld at its beginning": UNSURE,
    "one sentence": PARIS[:3],
    "no sentence": [("Paris", 0.99)],
    "empty": [],
    "after reasoning": [*THINKING, *PARIS, *RIVER],
    "lines": [("- Paris", 0.97), ("\n", 0.99), ("- Lyon", 0.96), ("\n", 0.9), ("- Nice", 0.95)],
}


def events(answer: Answer, release: Release, policy: Policy = STRICT) -> list[GuardEvent]:
    guard = Guard(Scripted.saying(answer), policy)
    return list(guard.stream("Which city?", release=release))


def text(found: Sequence[GuardEvent]) -> str:
    return "".join(event.text for event in found if isinstance(event, Text))


def result(found: Sequence[GuardEvent]) -> dict[str, object]:
    assert isinstance(found[-1], Done)
    return found[-1].result.to_dict()


@pytest.mark.parametrize("name", ANSWERS)
def test_the_result_is_the_one_without_streaming(name: str) -> None:
    answer = ANSWERS[name]
    found = events(answer, "sentence")
    whole = Guard(Scripted.saying(answer), STRICT).ask("Which city?")
    assert result(found) == whole.to_dict()
    assert not whole.shown or text(found) == whole.text


def test_a_sentence_comes_out_while_the_next_one_is_written() -> None:
    class Watched(Scripted):
        written = 0

        def _play(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            for event in super()._play(*args, **kwargs):
                self.written += hasattr(event, "step")
                yield event

    backend = Watched.saying([*PARIS, *RIVER])
    first = next(
        event
        for event in Guard(backend, STRICT).stream("Which city?", release="sentence")
        if isinstance(event, Text)
    )
    assert first.text == "The city is "
    assert backend.written < len([*PARIS, *RIVER])


def test_no_sentence_comes_out_that_would_be_withheld() -> None:
    found = events([*PARIS, *WRONG, *MORE], "sentence")
    assert text(found) == "The city is Paris."
    assert any(isinstance(event, Retracted) for event in found)
    assert text(events(UNSURE, "sentence")) == ""
    assert "Timbuktu" in text(events(UNSURE, "token"))


def test_a_retry_begins_anew() -> None:
    again = STRICT.model_copy(update={"retries": 1})
    guard = Guard(Scripted.saying([*PARIS, *WRONG], [*PARIS, *RIVER]), again)
    found = list(guard.stream("Which city?", release="sentence"))
    tried = next(n for n, event in enumerate(found) if isinstance(event, Retracted))
    assert text(found[:tried]) == "The city is Paris."
    assert text(found[tried:]) == "The city is Paris. It lies on the Seine."


def test_an_event_loop_gets_the_same() -> None:
    async def read() -> list[GuardEvent]:
        guard = Guard(Scripted.saying([*PARIS, *WRONG]), STRICT)
        return [event async for event in guard.astream("Which city?", release="sentence")]

    found = asyncio.run(read())
    assert text(found) == "The city is Paris."
    assert result(found) == result(events([*PARIS, *WRONG], "sentence"))
