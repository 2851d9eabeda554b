from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.energy import Row
from energy_guard.locate import NotLocated, Span, first_sentence, sentences
from energy_guard.locate.sentences import sentence_ranges, spoken
from energy_guard.trace import Step, Trace

ROW = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)


def characters(text: str) -> Trace:
    return Trace.from_steps([Step(0, letter.encode(), 1.0, ROW) for letter in text], ROW)


@pytest.mark.parametrize(
    "text",
    [
        "It is Paris.| It is old!| Is it?",
        "Dr. Smith met J. R. R. Tolkien in the U.S. Army.| He left.",
        "It costs 3.50 dollars, i.e. too much.| Ok?",
        "Well...| I think so.| Yes",
        "Wait… maybe.| No",
        "他来了。|他走了！|真的？|是",
        "The answer is B.| Because it is.",
        "Am 3. Oktober 1990.| Dann kam der 2. Weltkrieg, z.B. so.",
        "That was in 1990.| Then it rained.",
        "It is 42.| That is it.",
        "At 5 p.m.| He ate approx. 5 apples, e.g. Granny Smith.",
        '"Stop!" he said.| "Go."| She went.',
        "No.| It is not.| No. 5 is.",
        "Quoi ?| Oui !| Non",
        "¿Qué es?| Es el Sr. López.",
        "One\n|Two\r\n|Three",
        "See www.example.com. or not",
        "Really?!| Yes.",
    ],
)
def test_where_sentences_end(text: str) -> None:
    expected = [part.strip() for part in text.split("|")]
    assert [span.text for span in sentences(characters(text.replace("|", "")))] == expected


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("1. Paris\n2. Lyon is big. Nice.\n- x\n* y", ["Paris", "Lyon is big.", "Nice.", "x", "y"]),
        ("42. That is it", ["42.", "That is it"]),
        ("## Title\n---\n\n> said", ["Title", "said"]),
        (
            "Code:\n```py\nx = 1. Y = 2\n\nz = 3\n```\nDone.",
            ["Code:", "x = 1. Y = 2\n\nz = 3", "Done."],
        ),
        ("```\ncut off. Here", ["cut off. Here"]),
        ("<think>A. B.</think>One. <think>c</think> Two.", ["One.", "Two."]),
        ("👍 Yes. 👍", ["👍 Yes."]),
    ],
)
def test_lists_code_and_reasoning(text: str, units: list[str]) -> None:
    assert [span.text for span in sentences(characters(text))] == units


@pytest.mark.parametrize("text", ["", " \n", "👍", "---", "<think>Paris."])
def test_no_sentence(text: str) -> None:
    assert sentences(characters(text)) == []
    assert isinstance(first_sentence(characters(text)), NotLocated)


def test_the_first_sentence_is_the_first_of_them() -> None:
    found = first_sentence(characters("1. Paris is big. Lyon is not."))
    assert isinstance(found, Span)
    assert (found.text, found.start) == ("Paris is big.", 3)


@given(st.text() | st.lists(st.sampled_from([*"aZ1.!?。\n -*", "Dr.", "```", "1. "])).map("".join))
def test_sentences_rise_do_not_overlap_and_lose_no_word(text: str) -> None:
    ranges = sentence_ranges(text)
    edges = [edge for pair in ranges for edge in pair]
    assert edges == sorted(edges)
    assert all(text[a:b] == text[a:b].strip() != "" for a, b in ranges)
    covered = {i for a, b in ranges for i in range(a, b)}
    lost = [text[i] for i in range(len(text)) if i not in covered and text[i].isalpha()]
    assert not lost or "```" in text or "~~~" in text  # the line that opens a fence


def test_a_long_line_takes_no_quadratic_time() -> None:
    text = "Dr. A. B. " * 3000
    assert len(sentence_ranges(text)) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'The owl said, "The play was written by Shakespeare."',
            "The play was written by Shakespeare.",
        ),
        ('He sat. "The war ended in 1945," it said.', "The war ended in 1945,"),
        ('"Who wrote it? " she asked. "It was Jane Austen!"', "Who wrote it?|It was Jane Austen!"),
        ("Die Eule rief: „Paris ist die Hauptstadt.“", "Paris ist die Hauptstadt."),
        ("猫头鹰说：“巴黎是法国的首都。”", "巴黎是法国的首都。"),
        ('She wrote "Pride and Prejudice" and "Emma".', ""),
        ('It is called "the red planet."', ""),
        ("He said 'no'.", ""),
    ],
)
def test_what_somebody_says_is_a_sentence_of_its_own(text: str, said: str) -> None:
    assert "|".join(text[start:end] for start, end in spoken(text)) == said
