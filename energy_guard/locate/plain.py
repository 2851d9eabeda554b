"""Locators that look at the characters only: whole, lines, patterns, numbers, tags."""

from __future__ import annotations

import re
from typing import Final

import regex

from energy_guard.errors import ConfigError
from energy_guard.locate.sentences import sentence_ranges
from energy_guard.locate.span import Asked, Found, Locator, NotLocated, trimmed
from energy_guard.reasoning import REASONING_TAGS
from energy_guard.text import Range


def _whole(answer: str, asked: Asked) -> Found:
    return [(0, len(answer))]


whole: Final = Locator(_whole, any_end=True)
"""The whole answer, without the blanks around it and without reasoning text."""


@Locator
def first_line(answer: str, asked: Asked) -> Found:
    """The first line that is not blank."""
    return [(0, len(answer.splitlines()[0].rstrip()))]


@Locator
def first_sentence(answer: str, asked: Asked) -> Found:
    """The first sentence that has a letter or a digit, without its list marker."""
    return sentence_ranges(answer)[:1] or NotLocated("no sentence has a letter or a digit")


@Locator
def last_number(answer: str, asked: Asked) -> Found:
    """The last number in digits of any script, with its sign, fraction or per cent.

    A space groups digits only if it is a no-break space. Digits at the end of a word with
    letters before them (H2, B12) are no number.
    """
    numbers = [match.span() for match in _NUMBER.finditer(answer)]
    return numbers[-1:] or NotLocated("the answer has no number")


def by_pattern(pattern: str) -> Locator:
    """Make a locator of a regular expression: its first match, or group 1 of it if there is one.

    Of several matches the first counts that is not blank. Raises ConfigError for a pattern that
    does not compile, or that could take all memory. A search longer than a second is given up, and
    that is said.
    """
    _check_size(pattern)
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise ConfigError(
            f"regex:{pattern} is not a regular expression: {error}",
            "Put the answer in group 1, such as regex:Answer: (.+).",
        ) from error

    @Locator
    def find(answer: str, asked: Asked) -> Found:
        try:
            found = _first_match(compiled, answer)
        except TimeoutError:
            return NotLocated(f"the search for regex:{pattern} took longer than a second")
        except MemoryError:
            return NotLocated(f"the search for regex:{pattern} took all memory")
        return [found] if found else NotLocated(f"nothing matches regex:{pattern}")

    return find


def by_tag(name: str) -> Locator:
    """Make a locator of what stands in the last complete <name>…</name>, in any letter case.

    Raises ConfigError if `name` cannot be a tag's name, or is that of reasoning.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"tag:{name} does not name a tag", "Write tag:NAME, such as tag:answer.")
    if name.casefold() in REASONING_TAGS:
        raise ConfigError(f"tag:{name} is reasoning, which is never part of the answer")
    tags = re.compile(rf"<(?P<close>/?){re.escape(name)}(?:\s[^<>]*)?>", re.IGNORECASE)

    @Locator
    def find(answer: str, asked: Asked) -> Found:
        opened: int | None = None
        found: Range | None = None
        for tag in tags.finditer(answer):
            if not tag["close"]:
                opened = tag.end()
            elif opened is not None:
                found, opened = (opened, tag.start()), None
        if found is None:
            return NotLocated(f"there is no complete <{name}>…</{name}>")
        start, end = trimmed(answer, *found)
        return [(start, end)] if start < end else NotLocated(f"<{name}> is empty")

    return find


_SECONDS: Final = 1.0

_SHOWN: Final = 60
_LONGEST: Final = 2000
_MOST_BRACKETS: Final = 50
_MOST_REPEATS: Final = 10_000
_LARGEST: Final = 200_000
_RECURSION: Final = re.compile(r"\(\?(?:R|[+-]?\d+|&\w+|P>\w+)\)")
_REPEAT: Final = re.compile(
    r"(?P<group>\))?\s*(?:\+|\{\s*(?P<least>\d+)\s*(?P<most>,\s*\d*\s*)?\})"
)


def _check_size(pattern: str) -> None:
    """Raise ConfigError for what the limit on a search's time does not hold.

    While it compiles, what is repeated is written out as often as it must stand there, and once
    more if it may stand there oftener. Groups inside one another multiply, and those side by side
    are taken for such.
    """
    too_much = None
    if len(pattern) > _LONGEST:
        too_much = f"has {len(pattern)} characters, more than {_LONGEST}"
    elif max(pattern.count("("), pattern.count("[")) > _MOST_BRACKETS:
        too_much = f"has more than {_MOST_BRACKETS} brackets of one kind"
    elif _RECURSION.search(pattern):
        too_much = "calls itself or a part of itself"
    else:
        copies, size = 1, len(pattern)
        for repeat in _REPEAT.finditer(pattern):
            written = int(repeat["least"] or 1) + bool(repeat["most"] or not repeat["least"])
            most = repeat["most"].strip(" ,") if repeat["most"] else ""
            if max(written, int(most or 0)) > _MOST_REPEATS:
                too_much = f"repeats more than {_MOST_REPEATS} times"
            if repeat["group"]:
                copies *= max(1, written)
            else:
                size += written
        if copies * size > _LARGEST:
            too_much = too_much or "repeats too much inside one another"
    if too_much is not None:
        shown = pattern if len(pattern) <= _SHOWN else f"{pattern[:_SHOWN]}…"
        raise ConfigError(f"regex:{shown} {too_much}", "Write a simpler one.")


_NUMBER = regex.compile(
    r"""
    (?<![^\W\d_])(?<!\d)                          # not inside a word, not inside a number
    (?:(?<!\w)[-−–+])?
    (?:
      \\[dt]?frac\{\d+\}\{\d+\}
    | (?<![/\d][.,/]?)(?:\d{1,3}[ ])?\d+\s?[/⁄]\s?\d+(?![/\d])
    | (?<!\d[.,/])
      (?: \d{1,3}(?P<group>[,.'’٬\u00a0\u202f])\d{3}(?:(?P=group)\d{3})*(?:(?!(?P=group))[.,٫]\d+)?
        | \d+(?:[.,٫]\d+)? )
      (?![.,/]?\d)
      (?:\s?[×x*·⋅]\s?10(?=\s?\^|[⁻⁰¹²³⁴-⁹]))?
      (?:\s?\^\s?\{?[-−]?\d+\}?|[⁻⁰¹²³⁴-⁹]+|[eE][-+−]?\d+)?
      (?:[ ]?[½⅓⅔¼¾⅕-⅞])?
    | [½⅓⅔¼¾⅕-⅞]
    | \d+
    )
    (?:\s?[%‰٪])?
    """,
    regex.VERBOSE,
)


def _first_match(compiled: regex.Pattern[str], text: str) -> Range | None:
    """Where the first match that is not blank stands; TimeoutError after `_SECONDS`."""
    group = min(1, compiled.groups)
    for match in compiled.finditer(text, timeout=_SECONDS):
        if match.start(group) >= 0:
            start, end = trimmed(text, *match.span(group))
            if start < end:
                return start, end
    return None
