"""The locator that chooses by the form of the answer."""

from __future__ import annotations

from energy_guard.locate.asserted import denied
from energy_guard.locate.code_only import stated_in_code
from energy_guard.locate.exact import exact_answer, is_opening
from energy_guard.locate.fields import Node, place, scan, values
from energy_guard.locate.labels import label_range
from energy_guard.locate.nothing import nothing_to_check, worded_parts
from energy_guard.locate.parts import boxed, final_answer
from energy_guard.locate.sentences import FENCE, sentence_ranges
from energy_guard.locate.span import Asked, Found, Locator, NothingToCheck, NotLocated
from energy_guard.text import Range


@Locator
def automatic(answer: str, asked: Asked) -> Found:
    """The values of a JSON answer; the choice that it names; otherwise what the type of the
    question and the form of the answer say (see `energy_guard.locate.exact`).

    Both JSON and choices are always checked; prose beside JSON counts as well, unless it only
    introduces it.
    """
    nodes = scan(answer)
    beside = ""
    if nodes is not None:
        beside = _without_json(answer, nodes)
        if all(is_opening(beside[start:end]) for start, end in sentence_ranges(beside)):
            if _squeezed(answer[nodes[0].start : nodes[0].end]) in _squeezed(asked.question):
                return NotLocated("the JSON answer only repeats what the question has")
            return _values(nodes) or NotLocated("the JSON answer has no value")
    if asked.choices:
        choice = _choice(answer, asked.choices)
        return choice if isinstance(choice, NotLocated) else [choice]
    if nodes is not None:
        return exact_answer(beside, asked.question) + _values(nodes)
    nothing = nothing_to_check(asked.question, answer)
    if nothing is not None:
        return NothingToCheck(nothing, tuple(worded_parts(nothing, answer)))
    found = _in_code(answer, asked.question) or exact_answer(answer, asked.question)
    return found or NotLocated("the answer says nothing beyond the words of the question")


def _in_code(answer: str, question: str) -> list[Range]:
    """The exact answer in what code states in its comments and quotes, if there is little else."""
    edges = [0, *(edge for block in FENCE.finditer(answer) for edge in block.span()), len(answer)]
    beside = "".join(answer[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
    if len(edges) == 2 or not all(is_opening(beside[a:b]) for a, b in sentence_ranges(beside)):
        return []
    kept = [" "] * len(answer)
    for start, end in stated_in_code(answer, question):
        kept[start:end] = answer[start:end]
        kept[end : end + 1] = "\n"
    return exact_answer("".join(kept), question) if any(map(str.strip, kept)) else []


def _squeezed(text: str) -> str:
    """A text without its blanks."""
    return "".join(text.split())


_FIELDS = ("final_answer", "answer", "result")


def _values(nodes: list[Node]) -> list[Range]:
    """The field that is named as the answer, if there is one; otherwise every value."""
    for name in _FIELDS:
        at = place(nodes, [name])
        if at is not None and values(nodes, at):
            return values(nodes, at)
    return values(nodes)


def _without_json(answer: str, nodes: list[Node]) -> str:
    """The answer with blanks in the place of its JSON and of the fence around it."""
    start, end = nodes[0].start, nodes[0].end
    before, after = answer[:start], answer[end:]
    opened = before.rstrip().rpartition("\n")
    if opened[2].lstrip().startswith(("```", "~~~")):
        before = f"{opened[0]}{opened[1]}{' ' * (len(before) - len(opened[0] + opened[1]))}"
        after = after.replace("```", "   ", 1).replace("~~~", "   ", 1)
    return f"{before}{' ' * (end - start)}{after}"


def _choice(answer: str, choices: tuple[str, ...]) -> Range | NotLocated:
    """The one choice that the answer names; of several the one that it settles on."""
    found = label_range(answer, choices)
    if not isinstance(found, NotLocated):
        return found
    for part in filter(None, (boxed(answer), final_answer(answer))):
        named = label_range(answer[part[0] : part[1]], choices)
        if not isinstance(named, NotLocated):
            return part[0] + named[0], part[0] + named[1]
    asserted = answer
    for start, end in denied(answer):
        asserted = asserted[:start] + " " * (end - start) + asserted[end:]
    named = label_range(asserted, choices)
    return found if isinstance(named, NotLocated) else named
