"""Locators that look for a form: numbers, patterns, fields, tags, labels, quotes."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.energy import Row
from energy_guard.errors import ConfigError, PromptError
from energy_guard.locate import Asked, Located, NotLocated, Span, locator
from energy_guard.locate.quote import MOST_TRIES, prompt
from energy_guard.trace import Step, Trace

ROW = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)


def characters(text: str) -> Trace:
    """One token a character, so that a span's tokens are its characters."""
    return Trace.from_steps([Step(0, letter.encode(), 1.0, ROW) for letter in text], ROW)


def find(spec: str, text: str, asked: Asked = Asked()) -> Located:  # noqa: B008  it is frozen
    return locator(spec)(characters(text), asked)


def found(spec: str, text: str, asked: Asked = Asked()) -> str:  # noqa: B008
    """The characters of the tokens found."""
    span = find(spec, text, asked)
    assert isinstance(span, Span), span
    return "".join(text[token] for token in span.tokens)


def reason(spec: str, text: str, asked: Asked = Asked()) -> str:  # noqa: B008
    missing = find(spec, text, asked)
    assert isinstance(missing, NotLocated), missing
    return missing.reason


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("6 times 7 is 42.", "42"),
        ("It is 1,234.5 in all", "1,234.5"),
        ("1.234.567,89", "1.234.567,89"),
        ("1\u202f234 km", "1\u202f234"),
        ("so x = −3", "−3"),
        ("so x=-3!", "-3"),
        ("10–12", "12"),
        ("5-3", "3"),
        ("it is 3/4", "3/4"),
        ("1 3/4 cups", "1 3/4"),
        ("3½", "3½"),
        ("½", "½"),
        (r"\frac{3}{4}", r"\frac{3}{4}"),
        (r"\boxed{42}", "42"),
        ("10 % of them", "10 %"),
        ("99.5%.", "99.5%"),
        ("on 05/17/2020", "2020"),
        ("17.05.1990", "1990"),
        ("1,2,3,4", "4"),
        ("1, 2, 3", "3"),
        ("about 3 × 10^8 m/s", "3 × 10^8"),
        ("10⁸", "10⁸"),
        ("2.5e-3", "2.5e-3"),
        ("٣٫٥", "٣٫٥"),
        ("１２", "１２"),
        ("42. That is it", "42"),
        ("12,345,67", "67"),
        ("3 apples and vitamin B12", "3"),
    ],
)
def test_the_last_number(text: str, number: str) -> None:
    assert found("last-number", text) == number


@pytest.mark.parametrize("text", ["none", "vitamin B12", "H2"])
def test_no_number_is_not_located(text: str) -> None:
    assert "number" in reason("last-number", text)


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "{:,}"]))
def test_every_whole_number_is_found_whole(value: int, form: str) -> None:
    text = form.format(value)
    assert found("last-number", f"After 7 days it is {text}.") == text


@pytest.mark.parametrize(
    ("pattern", "text", "part"),
    [
        ("Answer: (.+)", "So.\nAnswer: Paris\nBye", "Paris"),
        (r"\d+", "in 1969 or 1970", "1969"),
        ("(?i)ANSWER", "the answer", "answer"),
        ("x*", "aa xx", "xx"),
        (r"none|(\d+)", "none, or 7", "7"),
        (r"Answer:(\s*\w+)", "Answer:  Paris", "Paris"),
        ("a:b", "x a:b", "a:b"),
    ],
)
def test_a_pattern_gives_its_first_match_or_its_group(pattern: str, text: str, part: str) -> None:
    assert found(f"regex:{pattern}", text) == part


@pytest.mark.parametrize("pattern", ["z", "x*", r"none|(\d+)", r"\s"])
def test_a_pattern_without_a_match_is_not_located(pattern: str) -> None:
    assert pattern in reason(f"regex:{pattern}", "it is none")


def test_a_pattern_that_would_run_for_ever_is_given_up() -> None:
    began = time.perf_counter()
    assert "longer than" in reason("regex:^(?:(a|aa)+)+$", "a" * 60 + "b")
    assert time.perf_counter() - began < 10


def test_a_pattern_does_not_see_reasoning() -> None:
    assert found("regex:Lyon|Paris", "<think>Lyon</think>Paris") == "Paris"


CITIES = '{"city": "Paris", "seen": [{"name": "A \\"b\\""}, {"name": "Nice"}], "n": -1.5, "e": ""}'


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("city", "Paris"),
        ("seen.0.name", 'A \\"b\\"'),
        ("seen[1].name", "Nice"),
        ("seen", 'A \\"b\\"Nice'),
        ("n", "-1.5"),
    ],
)
@pytest.mark.parametrize("frame", ["{}", "```json\n{}\n```", "Sure:\n```\n{}\n```\nBye", " {}\n"])
def test_a_json_field_is_found_where_it_was_written(path: str, value: str, frame: str) -> None:
    assert found(f"json:{path}", frame.replace("{}", CITIES)) == value


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("a", '{"a": 1, "a": 2}', "2"),
        ("a.b", '{"a": {"b": 1}, "a": {"b": 3}}', "3"),
        ("café", '{"caf\\u00e9": "x"}', "x"),
        ("0", '["p", "q"]', "p"),
        ("[1]", '["p", "q"]', "q"),
        ("b", '{"a": {"b": 1}, "b": 2}', "2"),
        ("a", '{"b": "a", "a": "b"}', "b"),
        ("n", '{"n": ' + "9" * 5000 + "}", "9" * 5000),
    ],
)
def test_the_field_that_a_json_reader_would_give(path: str, text: str, value: str) -> None:
    assert found(f"json:{path}", text) == value


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("x", CITIES, "no field"),
        ("a.b", '{"a": {"b": 1}, "a": {"c": 3}}', "no field"),
        ("e", CITIES, "empty"),
        ("city", '{"city": "Par', "not a JSON"),
        ("city", "city: Paris", "not a JSON"),
        ("city", "```py\n{'city': 'Paris'}\n```", "not a JSON"),
        ("city", '"city"', "not a JSON"),
    ],
)
def test_a_missing_field_is_not_located(path: str, text: str, why: str) -> None:
    assert why in reason(f"json:{path}", text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(value=JSON, indent=st.sampled_from([None, 1]), plain=st.booleans())
def test_any_json_value_is_found_by_its_characters(
    value: object, indent: int | None, plain: bool
) -> None:
    text = json.dumps({"before": value, "field": value}, indent=indent, ensure_ascii=plain)
    whole = json.dumps(value, ensure_ascii=plain)
    span = find("json:field", text)
    if not isinstance(value, dict | list) and value != "":
        assert isinstance(span, Span)
        assert span.text == (whole[1:-1] if isinstance(value, str) else whole)
    elif isinstance(span, Span):
        assert span.start > text.rindex('"field"') or '"field"' in whole


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("<answer>Paris</answer>", "Paris"),
        ("So <answer> Lyon </answer> no: <answer> Paris\n</answer>", "Paris"),
        ("<answer>Paris</answer> <answer>Ly", "Paris"),
        ("<ANSWER id='1'>Paris</Answer>", "Paris"),
        ("<answer>Lyon <answer>Paris</answer>", "Paris"),
        ("<think><answer>Lyon</answer></think><answer>Paris</answer>", "Paris"),
    ],
)
def test_the_last_complete_tag(text: str, part: str) -> None:
    assert found("tag:answer", text) == part


@pytest.mark.parametrize(
    "text", ["Paris", "<answer>Paris", "Paris</answer>", "<answers>x</answers>"]
)
def test_no_complete_tag_is_not_located(text: str) -> None:
    assert "complete" in reason("tag:answer", text)


def test_an_empty_tag_is_not_located() -> None:
    assert "empty" in reason("tag:answer", "<answer> </answer> Paris")


@pytest.mark.parametrize(
    ("spec", "choices", "text", "label"),
    [
        ("labels:yes,no", (), "No, I say.", "No"),
        ("labels: yes , no ", (), "yes", "yes"),
        ("labels:yes,no", ("Paris",), "yes Paris", "yes"),
        ("labels", ("Paris", "Lyon"), "Not sure, but Paris.", "Paris"),
        ("labels", ("A", "B", "C"), "The answer is a fruit: B", "B"),
        ("labels", ("A", "B"), "b) the second", "b"),
        ("labels", ("A", "B"), "**B**", "B"),
        ("labels", ("New York", "York"), "In New\nYork.", "New\nYork"),
        ("labels", ("caf\u00e9", "bar"), "the cafe\u0301!", "cafe\u0301"),
        ("labels", ("是", "不是"), "答案：不是。", "不是"),
    ],
)
def test_the_label_that_is_named(
    spec: str, choices: tuple[str, ...], text: str, label: str
) -> None:
    assert found(spec, text, Asked("Which?", choices)) == label


@pytest.mark.parametrize("text", ["yes and no", "maybe", "nobody", "不是"])
def test_several_labels_or_none_are_not_located(text: str) -> None:
    assert "choices" in reason("labels:yes,no,是", text)


@pytest.mark.parametrize("choices", [(), ("", " ")])
def test_labels_need_choices(choices: tuple[str, ...]) -> None:
    assert "no choices" in reason("labels", "yes", Asked("Which?", choices))


ANSWER = "He was born in the city of York, not in New York."


@pytest.mark.parametrize(
    "reply", ["York", ' "York." ', "Quote: York", "<think>New?</think>\nYork", "“York”\n", "`York`"]
)
def test_a_quote_is_found_at_its_first_place(reply: str) -> None:
    span = find("quote", ANSWER, Asked("Where?", ask=lambda prompt: reply))
    assert isinstance(span, Span)
    assert (span.text, span.start) == ("York", ANSWER.index("York"))


def test_a_quote_is_rather_a_word_than_a_part_of_one() -> None:
    span = find("quote", "The category is: cat", Asked("What?", ask=lambda prompt: "cat"))
    assert isinstance(span, Span)
    assert span.start == 17


@pytest.mark.parametrize("reply", ["Leeds", "", " . ", '""', "york", ANSWER, "<think>York"])
def test_after_five_replies_that_quote_nothing_there_is_no_answer(reply: str) -> None:
    prompts: list[str] = []

    def ask(text: str) -> str:
        prompts.append(text)
        return reply

    assert "5" in reason("quote", ANSWER, Asked("Where?", ask=ask))
    assert len(prompts) == MOST_TRIES == 5
    assert len(set(prompts)) == 5


def test_a_later_try_counts() -> None:
    replies = iter(["Leeds", "Hull", "York"])
    assert found("quote", ANSWER, Asked("Where?", ask=lambda prompt: next(replies))) == "York"


def test_a_quote_needs_a_model() -> None:
    assert "no model" in reason("quote", ANSWER)


def test_a_prompt_that_is_too_long_is_said() -> None:
    def ask(text: str) -> str:
        raise PromptError("the prompt is too long")

    assert "too long" in reason("quote", ANSWER, Asked("Where?", ask=ask))


def test_an_error_of_the_engine_is_not_hidden() -> None:
    def ask(text: str) -> str:
        raise ConfigError("boom")

    with pytest.raises(ConfigError):
        find("quote", ANSWER, Asked("Where?", ask=ask))


def test_the_model_is_not_shown_reasoning() -> None:
    prompts: list[str] = []
    asked = Asked("Where?", ask=lambda text: prompts.append(text) or "York")  # type: ignore[func-returns-value]
    assert found("quote", f"<think>Leeds</think>{ANSWER}", asked) == "York"
    assert "Leeds" not in prompts[0]


@given(question=st.text(), answer=st.text(), number=st.integers(0, MOST_TRIES - 1))
def test_no_text_breaks_out_of_its_line_of_the_prompt(
    question: str, answer: str, number: int
) -> None:
    lines = prompt(question, answer, number).splitlines()
    assert len(lines) == len(prompt("", "", number).splitlines())
    assert json.loads(lines[-3].removeprefix("Question: ")) == question
    assert json.loads(lines[-2].removeprefix("Answer: ")) == answer
    assert lines[-1] == "Quote:"
