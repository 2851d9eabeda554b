from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_guard.energy import Row
from energy_guard.errors import ConfigError, InputError
from energy_guard.locate import (
    LOCATORS,
    Asked,
    Located,
    NothingToCheck,
    NotLocated,
    Span,
    automatic,
    first_line,
    locate_text,
    locator,
    sentences,
    span_of,
    whole,
)
from energy_guard.text import merged
from energy_guard.trace import Step, Trace

SPECS = [
    "automatic",
    "whole",
    "first-line",
    "first-sentence",
    "last-number",
    "quote",
    "labels",
    "labels:yes,Paris",
    "regex:(?s)(.+)",
    "json:city",
    "tag:answer",
]
"""Every locator, with an argument where it takes one."""

TAKE_PLAIN_TEXT = ["automatic", "whole", "first-line", "first-sentence", "quote", "regex:(?s)(.+)"]
TAKE_PLAIN_TEXT += ["labels:yes,Paris"]

ROW = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)


def trace_of(*pieces: str | bytes, content_bytes: int | None = None) -> Trace:
    raw = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    steps = [Step(number, piece, 1.0, ROW) for number, piece in enumerate(raw)]
    return Trace.from_steps(steps, ROW, content_bytes=content_bytes)


def words(text: str) -> Trace:
    """Tokens as models cut them: a space belongs to the word after it."""
    parts = text.split(" ")
    return trace_of(parts[0], *(" " + part for part in parts[1:]))


def asking(question: str, *choices: str) -> Asked:
    """The model at hand quotes "Paris", whatever it is asked."""
    return Asked(question, choices, lambda prompt: "Paris")


def located(found: Located) -> Span:
    assert isinstance(found, Span), found
    return found


@pytest.mark.parametrize(
    ("range_", "tokens"),
    [((2, 4), (1,)), ((1, 3), (0, 1)), ((3, 5), (1, 2)), ((0, 6), (0, 1, 2)), ((5, 6), (2,))],
)
def test_a_token_is_covered_where_it_shares_a_character(
    range_: tuple[int, int], tokens: tuple[int, ...]
) -> None:
    found = located(span_of(trace_of("ab", "cd", "ef"), [range_]))
    assert found.tokens == tokens
    assert found.text == "abcdef"[slice(*range_)]
    assert (found.start, found.end) == (tokens[0], tokens[-1] + 1)


@pytest.mark.parametrize("range_", [(2, 2), (6, 9)])
def test_a_range_without_a_token_is_not_located(range_: tuple[int, int]) -> None:
    assert isinstance(span_of(trace_of("ab", "cd", "ef"), [range_]), NotLocated)


def test_several_ranges_give_the_tokens_of_each_and_not_those_between() -> None:
    found = located(span_of(trace_of("ab", "cd", "ef"), [(4, 5), (0, 1)]))
    assert found == Span((0, 2), "abcde")


def test_whole_leaves_out_blanks_and_the_end_token() -> None:
    found = located(
        whole(trace_of(" ", "\n", " The", " sky", "\n\n", "<|im_end|>", content_bytes=12))
    )
    assert found == Span((2, 3), "The sky")


def test_first_line_stops_at_the_line_break() -> None:
    trace = trace_of("\n", "Par", "is", " ", "\n", "Lyon")
    assert first_line(trace) == Span((1, 2), "Paris")


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("pieces", [[], [""], [" ", "\n"]])
def test_an_empty_answer_is_not_located(name: str, pieces: list[str]) -> None:
    found = locator(name)(trace_of(*pieces), asking("What?"))
    assert isinstance(found, NotLocated)
    assert "empty" in found.reason


@pytest.mark.parametrize("name", TAKE_PLAIN_TEXT)
def test_reasoning_is_never_part_of_the_answer(name: str) -> None:
    trace = trace_of("<think>", "Lyon", " or", " Nice?\n", "</think>", "\n\n", "Par", "is")
    assert locator(name)(trace, asking("Which city?")) == Span((6, 7), "Paris")


@pytest.mark.parametrize("name", TAKE_PLAIN_TEXT)
def test_reasoning_whose_beginning_stands_in_the_prompt_is_no_answer(name: str) -> None:
    trace = trace_of("Lyon", " or", " Nice?", "</think>", "\n\n", "Par", "is")
    assert locator(name)(trace, asking("Which city?")) == Span((5, 6), "Paris")


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("pieces", [["<think>", "Paris"], ["<think>", "Paris", "</think>", "\n"]])
def test_reasoning_alone_is_not_located(name: str, pieces: list[str]) -> None:
    found = locator(name)(trace_of(*pieces), asking("Which city?"))
    assert isinstance(found, NotLocated)
    assert "reasoning" in found.reason


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        ({"city": "Paris"}, ["Paris"]),
        ({"city": {"name": "Paris", "people": 2_100_000}}, ["Paris", "2100000"]),
        ({"a": -2.5e-30, "b": True, "c": None, "d": False}, ["-2.5e-30", "true", "null", "false"]),
        ({"a": 'He said "no"', "b": "x\\"}, ['He said \\"no\\"', "x\\\\"]),
        ({"a": "same", "b": "same"}, ["same", "same"]),
        ({"key": "key"}, ["key"]),
        ({"a": "b: c", "d": '", "e": "f'}, ["b: c", '\\", \\"e\\": \\"f']),
        (["Paris", 3, []], ["Paris", "3"]),
    ],
)
def test_the_values_of_a_json_answer_are_located_and_its_keys_are_not(
    answer: object, values: list[str]
) -> None:
    text = json.dumps(answer)
    tokens = located(automatic(trace_of(*text), Asked("What?"))).tokens
    runs = [[tokens[0]]]
    for before, after in pairwise(tokens):
        if after == before + 1:
            runs[-1].append(after)
        else:
            runs.append([after])
    assert ["".join(text[t] for t in run) for run in runs] == values


@pytest.mark.parametrize("answer", ["{}", "[]", '{"city": ""}', '{"city": {}}', '{"city": NaN}'])
def test_a_json_answer_without_a_value_is_not_located(answer: str) -> None:
    assert isinstance(automatic(trace_of(answer), Asked("What?")), NotLocated)


def test_endless_brackets_are_no_reason_to_fail() -> None:
    assert isinstance(automatic(trace_of("[" * 20_000), Asked("What?")), Span | NotLocated)


CITIES = ("York", "New York", "New York City")


@pytest.mark.parametrize(
    ("answer", "choices", "text"),
    [
        ("It is New York City, I think.", CITIES, "New York City"),
        ("It is New York, I think.", CITIES, "New York"),
        ("it is NEW YORK of course", CITIES, "NEW YORK"),
        ("yes yes yes yes yes", ("yes", "no"), "yes"),
        ("We use C++ here, not others", ("C", "C++"), "C++"),
    ],
)
def test_the_one_choice_that_is_named(answer: str, choices: Sequence[str], text: str) -> None:
    assert located(automatic(words(answer), Asked("Which?", tuple(choices)))).text == text


@pytest.mark.parametrize(
    "answer", ["York or New York City", "Neither of them", "Yorkshire pudding", "New Yorkers"]
)
def test_no_choice_or_several_are_not_located(answer: str) -> None:
    found = automatic(words(answer), Asked("Which?", CITIES))
    assert isinstance(found, NotLocated)
    assert "choices" in found.reason


def test_an_empty_choice_names_nothing() -> None:
    assert isinstance(
        automatic(trace_of("It is: York"), Asked("Which?", ("", "Leeds"))), NotLocated
    )


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Paris", "Paris"),
        ("Paris.", "Paris"),
        ("The Pacific Ocean.", "The Pacific Ocean"),
        ("J. R. R. Tolkien", "J. R. R. Tolkien"),
        ("1,234.5", "1,234.5"),
        ("巴黎", "巴黎"),
    ],
)
def test_a_short_answer_is_taken_whole(answer: str, text: str) -> None:
    assert located(automatic(words(answer), Asked("What?"))).text == text


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        ("What is the capital of France?", "The capital of France is Paris.", "Paris"),
        ("What is France's capital?", "The capital of France is Paris.", "Paris"),
        (
            "Who wrote The Hobbit?",
            "The Hobbit was written by J. R. R. Tolkien.",
            "J. R. R. Tolkien",
        ),
        ("Which series is it?", "The series is called Dr. Strange. It is American.", "Dr. Strange"),
        ("What is the capital?", "It is called Paris. Lyon is not it.", "Paris"),
        ("What is the capital?", "So, that is it. It is of course Paris.", "Paris"),
    ],
)
def test_what_the_first_telling_sentence_says_beyond_the_question(
    question: str, answer: str, text: str
) -> None:
    assert located(automatic(words(answer), Asked(question))).text == text


def test_the_small_words_of_a_name_belong_to_it_and_others_do_not() -> None:
    trace = words("The painter of the picture is Leonardo da Vinci as they say.")
    found = located(automatic(trace, Asked("Who is the painter of the picture?")))
    assert found == Span((6, 7, 8), "Leonardo da Vinci")


def test_an_echo_of_the_question_is_not_located() -> None:
    question = "What is the capital of France?"
    found = automatic(words("The capital of France is the capital of France."), Asked(question))
    assert isinstance(found, NotLocated)
    assert "question" in found.reason


def test_a_leading_space_belongs_to_its_word_and_the_full_stop_is_left_out() -> None:
    trace = trace_of("So", " the", " capital", " is", " Par", "is", ".")
    assert automatic(trace, Asked("What is the capital?")) == Span((4, 5), "Paris")


@pytest.mark.parametrize("text", ["巴黎", "👍🏽", "é", "👨‍👩‍👧", "ا\u064e"])
@pytest.mark.parametrize("name", ["whole", "first-line"])
def test_characters_split_over_tokens_are_covered_whole(text: str, name: str) -> None:
    raw = [bytes([byte]) for byte in text.encode()]
    trace = trace_of("\n", *raw, "\n", "x" if name == "first-line" else "")
    assert locator(name)(trace, asking("")) == Span(tuple(range(1, len(raw) + 1)), text)


def test_a_chinese_answer_is_found_in_split_tokens() -> None:
    start, rest = "答案：".encode(), "北京".encode()
    trace = trace_of(start, rest[:2], rest[2:5], rest[5:], "。")
    assert located(automatic(trace)).tokens[-3:] == (1, 2, 3)


@pytest.mark.parametrize("name", SPECS)
def test_locators_are_given_no_label(name: str) -> None:
    assert list(inspect.signature(locator(name)).parameters) == ["trace", "asked"]


def test_what_is_asked_has_no_place_for_a_label() -> None:
    assert [field.name for field in fields(Asked)] == ["question", "choices", "ask", "passages"]


def test_every_kind_of_locator_is_in_the_help_and_tested_here() -> None:
    assert {name.partition(":")[0] for name in LOCATORS} == {s.partition(":")[0] for s in SPECS}


@pytest.mark.parametrize("spec", ["middle", "", "whole:x", "regex", "regex:", "json", "tag: ", ":"])
def test_an_unknown_locator_is_refused_with_the_names_of_all(spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        locator(spec)
    assert all(name in caught.value.hint for name in LOCATORS)


@pytest.mark.parametrize(
    "spec",
    ["regex:(", "json:a..b", "json:.", "tag:a b", "tag:think", "labels:a,,b", "labels:,"],
)
def test_a_bad_argument_is_refused_when_the_locator_is_made(spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        locator(spec)
    assert spec in caught.value.message


def test_small_talk_before_the_answer_is_not_scored() -> None:
    trace = words("Hello! Thanks for asking. The capital of France is Paris.")
    found = automatic(trace, Asked("Hi! What is the capital of France?"))
    assert located(found).text == "Paris"


def test_small_talk_alone_is_nothing_to_check() -> None:
    found = automatic(words("Hello! How can I help you today?"), Asked("Hi there"))
    assert found == NothingToCheck("small talk")


@pytest.mark.parametrize(
    ("answer", "asked"),
    [("Hello!", Asked("Hi", choices=("Hello", "Bye"))), ('{"say": "Hello!"}', Asked("Hi"))],
)
def test_choices_and_json_are_always_checked(answer: str, asked: Asked) -> None:
    assert located(automatic(words(answer), asked)).text.startswith("Hello")


def test_reasoning_between_parts_of_the_answer_is_left_out() -> None:
    trace = trace_of("It", " is", "<think>", "Lyon", "</think>", " Paris", ".")
    assert whole(trace) == Span((0, 1, 5, 6), "It is Paris.")


def test_reasoning_at_the_end_that_is_cut_off_is_left_out() -> None:
    trace = trace_of("Par", "is", ".", "\n", "<think>", "or", " Lyon")
    assert whole(trace) == Span((0, 1, 2), "Paris.")


PARTS = """<think> </think> {"a": "b" } [ 1.5 yes Dr. 。 👍🏽 e\u0301 Paris . 's \\" <answer>
    </answer> {"city":"x"} ```json ``` 1. - −3 3/4 % Hello! A. U.S. ! … ~~~ "city":""".split()
PARTS += [" ", "\n", "\u200d", " the", "\x00", "\u2028", "\r"]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PARTS), max_size=15).map("".join),
    st.lists(st.sampled_from(PARTS), max_size=15).map(" ".join),
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Any text, cut anywhere (inside characters too), with an end token after it."""
    raw = draw(TEXTS).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=20)))
    pieces = [raw[a:b] for a, b in pairwise([0, *cuts, len(raw)])]
    return trace_of(*pieces, b"<|im_end|>", content_bytes=len(raw))


def assert_valid(span: Span, trace: Trace) -> None:
    assert span.tokens
    assert all(a < b for a, b in pairwise(span.tokens))
    assert span.tokens[0] >= 0
    assert span.tokens[-1] < trace.content_end
    assert span.text
    if "think>" not in trace.text:
        assert span.text in trace.text


@settings(max_examples=200, deadline=None)
@given(
    trace=traces(),
    question=TEXTS,
    choices=st.lists(TEXTS, max_size=3).map(tuple),
    reply=TEXTS,
)
def test_any_text_in_any_split_is_located_or_not(
    trace: Trace, question: str, choices: tuple[str, ...], reply: str
) -> None:
    for spec in SPECS:
        found = locator(spec)(trace, Asked(question, choices, lambda prompt: reply))
        if isinstance(found, Span):
            assert_valid(found, trace)
        else:
            assert found.reason
    for sentence in sentences(trace):
        assert_valid(sentence, trace)


@settings(max_examples=100, deadline=None)
@given(trace=traces(), question=TEXTS)
def test_the_same_text_is_located_again_in_the_same_place(trace: Trace, question: str) -> None:
    for spec in SPECS:
        first, again = (locator(spec)(trace, asking(question, "yes", "no")) for _ in range(2))
        assert first == again


@settings(max_examples=100, deadline=None)
@given(hidden=st.text(max_size=20).filter(lambda text: "think>" not in text), spec=st.data())
def test_what_is_thought_changes_nothing(hidden: str, spec: st.DataObject) -> None:
    name = spec.draw(st.sampled_from(SPECS))
    answer = ["<answer>", '{"city": ', '"Paris"}', "</answer>", " 3", " yes"]
    find = locator(name)
    plain = find(trace_of("", *answer), asking("Which city?", "yes"))
    thought = find(trace_of(f"<think>{hidden}</think>", *answer), asking("Which city?", "yes"))
    assert thought == plain


ANSWERS = [
    "Paris",
    "  It is Paris.  ",
    "<think>Lyon?</think>The capital is Paris.",
    "It <think>Lyon?</think> is Paris.",
    "Lyon?</think>\n\nParis",
    "<think>Lyon",
    '{"city": "Paris", "n": [1, 2]}',
    '```json\n{"city": "Paris"}\n```',
    "Hello! How can I help you?",
    "yes, <answer>Paris</answer> of 12 cities",
    "",
    "日本の首都は東京です。",
    "👍🏽 Łódź, 1945",
    "भारत की राजधानी नई दिल्ली है।",
    "Cafe\u0301<think>\u0301</think>\u0301 Paris",
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("asked", [Asked("Which city?"), Asked("Hi!"), asking("", "yes", "no")])
def test_a_text_is_located_as_its_trace_is(spec: str, answer: str, asked: Asked) -> None:
    assert_same(spec, answer, asked)


@given(
    st.sampled_from(SPECS),
    st.text(st.sampled_from('ab.?! \n1,<think>/{}":Paris\u0301巴👍🏽'), max_size=60),
)
def test_any_text_is_located_as_its_trace_is(spec: str, answer: str) -> None:
    assert_same(spec, answer, asking("Which city is it?"))


def assert_same(spec: str, answer: str, asked: Asked) -> None:
    trace = trace_of(*answer)
    ranges = locator(spec).in_text(answer, asked)
    expected = locator(spec)(trace, asked)
    if isinstance(ranges, list):
        assert all(start < end for start, end in ranges)
        assert all(end < start for (_, end), (start, _) in pairwise(ranges)), "they rise"
        assert isinstance(expected, Span)
        assert {i for start, end in ranges for i in range(start, end)} == set(expected.tokens)
    else:
        assert type(ranges) is type(expected)
        assert ranges == expected


@pytest.mark.parametrize(
    ("question", "answer", "options", "ranges"),
    [
        ("What is the capital?", "The capital is, well, the old Paris.", {}, [(30, 35)]),
        ("", '{"a": "x", "b": 12}', {}, [(7, 8), (16, 18)]),
        ("Which?", "It is York.", {"choices": ["York", "Leeds"]}, [(6, 10)]),
        ("Which?", "1 or 22", {"locator": "last-number"}, [(5, 7)]),
        ("Which?", "<think>1</think> 22", {"locator": "whole"}, [(17, 19)]),
        ("Which?", "It is Hull.", {"choices": ["York", "Leeds"]}, None),
        ("Hi!", "Hello!", {}, None),
        ("Which?", "", {}, None),
        ("Which?", "York", {"locator": "quote"}, None),
    ],
)
def test_the_exact_answer_of_a_text(
    question: str, answer: str, options: dict[str, Any], ranges: list[tuple[int, int]] | None
) -> None:
    assert locate_text(question, answer, **options) == ranges


def test_a_text_is_located_by_a_locator_that_exists_and_by_a_list_of_choices() -> None:
    with pytest.raises(ConfigError, match="no locator 'nose'"):
        locate_text("Which?", "York", locator="nose")
    with pytest.raises(InputError, match="the choices are one text"):
        locate_text("Which?", "York", choices="York")


@given(
    text=st.text(st.sampled_from("ab é日\u0301👨\u200d👩\n"), max_size=14),
    cuts=st.lists(st.integers(0, 40), max_size=8),
    ranges=st.lists(st.tuples(st.integers(0, 14), st.integers(1, 5)), min_size=1, max_size=3),
)
def test_a_span_has_each_token_that_shares_a_character(
    text: str, cuts: list[int], ranges: list[tuple[int, int]]
) -> None:
    """Tokens that split a glyph, and those without content, included."""
    raw = text.encode()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    steps = [Step(0, raw[a:b], 0.0, Row(0.0, 0.0, 0.0, 1.0)) for a, b in pairwise(edges)]
    trace = Trace.from_steps(steps)
    wanted = merged((start, start + length) for start, length in ranges)
    expected = [
        index
        for index, (begin, end) in enumerate(trace.alignment.offsets)
        if any(begin < stop and start < end for start, stop in wanted)
    ]
    found = span_of(trace, wanted)
    assert (list(found.tokens) if isinstance(found, Span) else []) == expected
