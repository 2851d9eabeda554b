"""Where the exact answer is in free text, on rows with the part that a person would mark."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.energy import Row
from energy_guard.locate import Asked, NotLocated, Span, automatic, locate_text
from energy_guard.locate.asserted import denied
from energy_guard.locate.exact import exact_answer
from energy_guard.locate.question import passage_in, read_question
from energy_guard.trace import FinishReason, Step, Trace

FILE = Path(__file__).with_name("exact_answers.jsonl")
ROWS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
ROW = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)


def located(question: str, answer: str) -> str:
    """What is located, the parts with a blank between them."""
    found = locate_text(question, answer)
    assert found is not None, answer
    return " ".join(answer[start:end] for start, end in found)


def f1(row: dict[str, Any]) -> float:
    """Agreement with the person's mark, by characters that are no blanks."""
    answer, exact = row["answer"], row["exact"]
    start = answer.rindex(exact) if row.get("at") == -1 else answer.index(exact)
    want = {i for i in range(start, start + len(exact)) if not answer[i].isspace()}
    ranges = locate_text(row["question"], answer) or []
    have = {i for a, b in ranges for i in range(a, b) if not answer[i].isspace()}
    return 2 * len(want & have) / (len(want) + len(have))


def test_the_rows_are_many_in_many_languages_and_half_of_them_held_out() -> None:
    assert len(ROWS) >= 60
    assert len({read_question(row["question"]).language for row in ROWS}) >= 10
    assert sum(row["part"] == "held-out" for row in ROWS) >= len(ROWS) / 2
    assert len({row["question"] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("part", ["tune", "held-out"])
def test_the_span_is_nearly_what_a_person_marks(part: str) -> None:
    scores = [f1(row) for row in ROWS if row["part"] == part]
    assert sum(scores) / len(scores) >= 0.9


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["question"][:40])
def test_no_row_is_located_without_any_of_its_answer(row: dict[str, Any]) -> None:
    assert f1(row) > 0


CAPITAL = "What is the capital of France?"


@pytest.mark.parametrize(
    "opening",
    [
        "That's a great question.",
        "Thank you for your question.",
        "Sure, I can help with that.",
        "Let's see.",
        "Let me think about this.",
        "Here is the answer.",
        "Gute Frage!",
    ],
)
def test_an_opening_does_not_hide_the_answer_after_it(opening: str) -> None:
    assert located(CAPITAL, f"{opening} The capital of France is Lyon.") == "Lyon"


@pytest.mark.parametrize(
    ("question", "answer", "exact"),
    [
        (
            "What is the largest ocean on Earth?",
            "According to several reliable sources, the largest ocean on Earth is the Pacific.",
            "Pacific",
        ),
        ("Wer gewann?", "Laut einer guten Quelle, die Anna kennt, gewann Lyon.", "Lyon"),
        ("Who said that all is water?", "According to Thales, all is water.", "Thales"),
        ("Which planet is known as red?", "Note: Mars is known as red.", "Mars"),
        ("Which planet is known as red?", "**Note:** Mars is known as red.", "Mars"),
        ("Welcher Planet heißt rot?", "Hinweis: Mars heißt rot.", "Mars"),
    ],
)
def test_neither_a_source_nor_a_label_before_the_answer_is_taken_for_it(
    question: str, answer: str, exact: str
) -> None:
    assert located(question, answer) == exact


def test_a_question_at_the_end_of_a_request_is_what_is_asked() -> None:
    asked = "Tell a story in which an owl answers a child's question: In what year did it end?"
    assert read_question(asked).text == "In what year did it end?"
    assert passage_in(asked) == ""
    passage = "The mill on Bell Street was built in 1822 by Jonas Reed and sons."
    assert passage_in(f"{passage} {asked}") == passage
    assert located(asked, 'The owl sat on Green Street. "It ended in 1945," it said.') == "1945"


@pytest.mark.parametrize(
    ("answer", "exact"),
    [
        ("It is not Lyon but Paris.", "Paris"),
        ("It isn't Lyon, it's Paris.", "Paris"),
        ("Lyon. Wait, actually it's Paris.", "Paris"),
        ("Many people believe it is Lyon, but it is Paris.", "Paris"),
        ("The capital is Paris, not Lyon.", "Paris"),
        ("Unlike in Roman times, the capital is Paris.", "Paris"),
        ("Although Lyon is old, the capital is Paris.", "Paris"),
        ("I think it is Paris, but I'm not sure.", "Paris"),
    ],
)
def test_what_is_denied_or_taken_back_is_not_the_answer(answer: str, exact: str) -> None:
    assert located(CAPITAL, answer) == exact


def test_what_only_denies_keeps_its_words() -> None:
    assert denied("The Earth is not flat.") == []


@pytest.mark.parametrize(
    ("answer", "exact"),
    [
        ("**Answer:** Paris", "Paris"),
        ("## Answer\n\n**Paris**", "Paris"),
        ("We look at the map.\n#### Paris", "Paris"),
        ("So we have it. The final answer is Paris.", "Paris"),
        ("It is $\\boxed{\\text{Paris}}$, of course.", "Paris"),
        ("The capital of France is **Paris**, a large city.", "Paris"),
        ('Here is the JSON: {"answer": "Paris"}', "Paris"),
        ('{"reasoning": "It is not Lyon.", "answer": "Paris"}', "Paris"),
    ],
)
def test_the_form_of_a_final_answer_is_known(answer: str, exact: str) -> None:
    assert located(CAPITAL, answer) == exact


def test_prose_beside_json_counts_with_it() -> None:
    found = located("Capital of France?", 'The capital is Lyon.\n```json\n{"large": true}\n```')
    assert found == "Lyon true"


def test_a_status_beside_prose_counts_too() -> None:
    found = located("Did it arrive?", '{"status": "done"} The parcel is large.')
    assert found == "done is large"


def test_a_denial_that_reaches_beyond_a_sentence_without_blanks_leaves_it_whole() -> None:
    answer = (
        "以下是计算阶乘的函数：\n\n```python\nif not isinstance(n, int):\n    return n\n```\n\n"
        "如果不是，则抛出。然后，它返回阶乘。"
    )
    found = exact_answer(answer, "用Python写一个计算阶乘的函数。")
    assert [answer[start:end] for start, end in found] == ["以下是"]


@pytest.mark.parametrize(
    ("question", "answer", "exact"),
    [
        ("Who is older, Ann or Bob?", "Ann is older than Bob.", "Ann"),
        ("Who is older, Ann or Bob?", "Ann is younger than Bob.", "Bob"),
        ("Is it Lyon or Paris that is the capital?", "The capital is Lyon obviously.", "Lyon"),
        ("Is tea or coffee stronger?", "Both are equally strong.", "Both"),
    ],
)
def test_an_option_of_the_question_is_located_though_the_question_has_it(
    question: str, answer: str, exact: str
) -> None:
    assert located(question, answer) == exact


@pytest.mark.parametrize(
    ("question", "answer", "exact"),
    [
        ("Is the Earth flat?", "The Earth is not flat.", "not flat"),
        ("Can penguins fly?", "Penguins cannot fly.", "cannot fly"),
        ("Is Paris in France?", "Paris is indeed in France.", "indeed"),
        ("Is Paris in France?", "Paris is in France.", "is in France"),
        ("地球是平的吗？", "不是，地球是圆的。", "不是"),
    ],
)
def test_a_yes_or_no_is_its_word_or_the_words_that_say_so(
    question: str, answer: str, exact: str
) -> None:
    assert located(question, answer) == exact


def test_words_of_a_passage_in_the_prompt_can_be_the_answer() -> None:
    question = "Context: Lyon is a city. Paris is the seat.\nQuestion: what is the capital?"
    assert located(question, "The capital of the country is Lyon.") == "Lyon"
    assert read_question(question).text == "what is the capital?"


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Who wrote it?", "who"),
        ("Could you tell me when it fell?", "when"),
        ("In which year was it?", "when"),
        ("In which city is it?", "where"),
        ("How many are there?", "number"),
        ("Which of them is red?", "which"),
        ("Do cats swim?", "yes or no"),
        ("What is inertia?", "open"),
        ("Why is it red?", "open"),
        ("Wo liegt Bern?", "where"),
        ("Combien de pattes ?", "number"),
        ("¿Quién es?", "who"),
        ("Сколько их?", "number"),
        ("谁写的？", "who"),
        ("いつですか？", "when"),
        ("ใครเขียน", "who"),
        ("Tell me more", "what"),
    ],
)
def test_the_kind_of_a_question(question: str, kind: str) -> None:
    assert read_question(question).kind == kind


@pytest.mark.parametrize(
    "written",
    [
        "<thinking>Lyon?</thinking>Paris",
        "[THINK]Lyon?[/THINK]Paris",
        "<reasoning>Lyon?</reasoning>Paris",
        "<seed:think>Lyon?</seed:think>Paris",
        "<mm:think>Lyon?</mm:think>Paris",
        "◁think▷Lyon?◁/think▷Paris",
        "<|START_THINKING|>Lyon?<|END_THINKING|>Paris",
        "<|begin_of_thought|>Lyon?<|end_of_thought|>Paris",
        "analysisLyon?assistantfinalParis",
        "<|channel|>analysis<|message|>Lyon?<|end|><|start|>assistant"
        "<|channel|>final<|message|>Paris",
        "<|channel>thought\nLyon?<channel|>Paris",
        "<thinking>Is <b> or [THINK] a mark?</thinking>Paris",
    ],
)
def test_reasoning_in_the_marks_of_any_family_is_no_answer(written: str) -> None:
    assert located(CAPITAL, written) == "Paris"


def test_reasoning_that_the_prompt_opened_is_closed_by_the_mark_of_any_family() -> None:
    steps = [Step(0, letter.encode(), 1.0, ROW) for letter in "Lyon?</seed:think>Paris"]
    found = automatic(Trace.from_steps(steps, ROW, reasoning_open=True), Asked(CAPITAL))
    assert isinstance(found, Span)
    assert found.text == "Paris"


def cut(text: str, reason: FinishReason = "length") -> Span | NotLocated:
    steps = [Step(0, letter.encode(), 1.0, ROW) for letter in text]
    found = automatic(Trace.from_steps(steps, ROW, finish_reason=reason), Asked(CAPITAL))
    assert isinstance(found, Span | NotLocated)
    return found


@pytest.mark.parametrize("text", ["The capital is", "The capital is Par", "The capital is Paris"])
def test_an_answer_that_the_limit_cut_off_before_its_end_is_not_located(text: str) -> None:
    found = cut(text)
    assert isinstance(found, NotLocated)
    assert "cut off" in found.reason


@pytest.mark.parametrize("text", ["The capital is Paris, which", "The capital is Paris."])
def test_an_exact_answer_that_ends_before_the_cut_is_located(text: str) -> None:
    found = cut(text)
    assert isinstance(found, Span)
    assert found.text == "Paris"


def test_what_ended_by_itself_needs_nothing_after_it() -> None:
    assert isinstance(cut("The capital is Paris", "eos"), Span)


@pytest.mark.parametrize(
    ("question", "answer", "exact"),
    [
        (
            "What is the boiling point of water?",
            "The boiling point of water is about 100 degrees Celsius (212 degrees Fahrenheit).",
            "100 degrees Celsius",
        ),
        ("What is the price?", "The price of the ticket is 20 US Dollars.", "20 US Dollars"),
        ("What is the GDP of France?", "It is about 2.9 trillion US dollars.", "2.9 trillion US"),
        ("Who won in 1996?", "In 1996 Bill Clinton won.", "Bill Clinton"),
        ("Where did he live?", "He lived at 10 Downing Street.", "Downing Street"),
        ("What is the subject?", "The subject is number 18 Physics.", "Physics"),
    ],
)
def test_a_name_that_a_number_counts_is_located_with_the_number(
    question: str, answer: str, exact: str
) -> None:
    assert located(question, answer) == exact


def test_a_number_keeps_its_sign_and_an_operator_is_an_answer() -> None:
    assert located("What is absolute zero?", "Absolute zero is −273.15 °C.").startswith("−273.15")
    assert located("Which operator tests it?", "The operator that you want is `!=`.") == "!="
    assert located("Which language is it?", "It is written in C++.") == "C++"


@pytest.mark.parametrize(
    ("question", "answer", "exact"),
    [
        ("Which country launched it?", "It was launched by the US.", "US"),
        ("Who declared it?", "It was declared by the WHO.", "WHO"),
        ("In which month is it celebrated?", "It is celebrated in May.", "May"),
        ("What is the symbol of iodine?", "Iodine is represented by the symbol I.", "I"),
        ("Which vitamin is in carrots?", "The vitamin in carrots is vitamin A.", "A"),
        ("Which department is it?", "The department is IT.", "IT"),
    ],
)
def test_a_word_that_is_a_name_in_its_place_is_no_stop_word(
    question: str, answer: str, exact: str
) -> None:
    assert exact in located(question, answer).split()


@given(st.text(), st.text())
def test_any_question_and_answer_give_ranges_that_rise_or_none(question: str, answer: str) -> None:
    found = locate_text(question, answer) or []
    assert all(0 <= start < end <= len(answer) for start, end in found)
    assert found == sorted(found)


def test_an_answer_of_fifty_words_is_located_in_a_few_milliseconds_at_most() -> None:
    answer = "The first president was George Washington, who took office in 1789. " * 4
    locate_text("Who was the first president?", answer)
    began = time.process_time()
    for _ in range(100):
        locate_text("Who was the first president?", answer)
    assert (time.process_time() - began) / 100 < 0.01


@pytest.mark.parametrize(
    ("question", "answer", "exact"),
    [
        ("Lyon is the capital of France, right?", "Yes, Lyon is the capital of France.", "Yes"),
        ("Lyon is the capital of France, right?", "No, the capital of France is Paris.", "No"),
        ("Lyon is the capital of France, right?", "Yes, that's correct.", "Yes"),
        ("Tomatoes are vegetables, aren't they?", "Actually, they are fruits.", "are fruits"),
        ("The Sun is a star. Correct?", "Yes, the Sun is a star.", "Yes"),
        ("I think bats are blind. Don't you agree?", "No, bats can see well.", "No"),
        ("Bats can see, can't they?", "Yes, bats can see.", "Yes"),
        ("You can mix bleach and ammonia, can't you?", "Yes, you can mix them.", "Yes"),
        ("When water boils, it becomes steam, doesn't it?", "Yes, it does.", "Yes"),
        ("Paris is the capital of France right?", "Yes, it is.", "Yes"),
        ("Bats are blind, are they not?", "No, they see well.", "No"),
        ("I heard bats are blind. Is that correct?!", "No, they are not.", "No"),
        ("Das ist ein Wal, nicht wahr?", "Nein, das ist ein Hai.", "Nein"),
    ],
)
def test_who_claims_something_asks_for_yes_or_no(question: str, answer: str, exact: str) -> None:
    form = read_question(question)
    assert form.kind == "yes or no" and form.claims
    assert form.text == question  # what is claimed is not what answers
    assert located(question, answer) == exact


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Which side is right?", "which"),
        ("Write a poem about bats, will you?", "what"),
        ("Tell me about bats, can you?", "what"),
        ("Who wrote Emma? I forgot. Do you know?", "yes or no"),
        ("Who wrote Emma, is it Austen?", "who"),
        ("Is the Sun a star?", "yes or no"),
        ("Should I turn left or right?", "yes or no"),
        ("You know who wrote Emma, don't you?", "who"),
        ("When did the war end, was it 1945?", "when"),
        ('Translate into French: "It is cold, isn\'t it?"', "what"),
        ("Summarize this email: the report is due on Friday, right?", "what"),
    ],
)
def test_what_only_looks_like_it_claims_nothing(question: str, kind: str) -> None:
    form = read_question(question)
    assert (form.kind, form.claims) == (kind, False)
