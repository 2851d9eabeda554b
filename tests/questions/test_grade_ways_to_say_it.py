"""The many ways in which people and models write one right answer, kind by kind."""

from __future__ import annotations

import pytest

from energy_guard.questions.grade import grade

WHO, WHICH, WHEN, MANY = "Who did it?", "Which one is it?", "When was it?", "How many are there?"
RIGHT = {
    "abbreviations within a sentence": [
        (WHICH, "St. Moritz", "They went to St. Moritz in winter."),
        (WHO, "Dr. Watson", "It was Dr. Watson."),
        (WHO, "Jonathan Swift", "Mr. Jonathan Swift, b. 1667, wrote it."),
        (WHICH, "Mount Kenya", "It is Mt. Kenya."),
        (WHICH, "United States", "He moved to the U.S. in 1920."),
        (WHICH, "U.S.A.", "The United States."),
        (WHICH, "Saint Lucia", "St Lucia"),
        (WHO, "J. R. R. Tolkien", "It was J.R.R. Tolkien."),
    ],
    "names shorter and longer": [
        (WHO, "Ludwig van Beethoven", "Beethoven"),
        (WHO, "Ludwig van Beethoven", "It was Beethoven who composed it."),
        (WHO, "Marie Curie", "Marie Skłodowska Curie"),
        (WHO, "Sir Isaac Newton", "Isaac Newton"),
        (WHO, "Isaac Newton", "Sir Isaac Newton did."),
        (WHO, "John Fitzgerald Kennedy", "John F. Kennedy"),
        (WHO, "Judith Ann Miller", "Judith Miller played her."),
        (WHO, "Miller, Judith", "Judith Miller"),
        (WHO, "Jim Carter", "James Carter"),
        (WHO, "Sammy Davis Jr.", "Sammy Davis"),
        (WHO, "Kathryn Bigelow", "Katheryn Bigelow"),
        (WHO, "A. K. Mathur", "Ashok Kumar Mathur"),
        (WHO, "Pope John Paul II", "John Paul II"),
    ],
    "places and companies": [
        (WHICH, "Austin", "Austin, Texas"),
        (WHICH, "Austin, Texas", "Austin"),
        (WHICH, "Ford", "The Ford Motor Company"),
        (WHICH, "Ford Company", "Ford"),
        (WHICH, "Danube", "the Danube River"),
        (WHICH, "River Thames", "The Thames."),
        (WHICH, "Netherlands", "the Dutch"),
        (WHICH, "Great Britain", "The British did."),
    ],
    "titles and brackets": [
        (WHICH, "Moby-Dick: or, The Whale", "Moby Dick"),
        (WHICH, "Emma (novel)", "The novel is Emma."),
        (WHICH, "pigeons or doves", "They are pigeons."),
        (WHICH, "Spider-Man", "Spiderman"),
        (WHICH, "AC/DC", "ACDC"),
    ],
    "numerals": [
        (WHICH, "Louis XIV", "Louis the Fourteenth"),
        (WHICH, "Louis 14", "Louis XIV"),
        (WHICH, "Article Two", "Article II of it."),
        (WHICH, "World War I", "World War One"),
        (WHICH, "Apollo 11", "Apollo XI"),
    ],
    "dates in any order": [
        (WHEN, "3 October 1990", "October 3rd, 1990"),
        (WHEN, "3 October 1990", "1990-10-03"),
        (WHEN, "1990-10-03", "am 3. Oktober 1990"),
        (WHEN, "3 October 1990", "le 3 octobre 1990"),
        (WHEN, "3 October 1990", "el 3 de octubre de 1990"),
        (WHEN, "3 October 1990", "3.10.1990"),
        (WHEN, "October 1990", "It was on October 3, 1990."),
        (WHEN, "1990", "On the 3rd of October 1990."),
        (WHEN, "44 BC", "In 44 B.C."),
        (WHEN, "1960s", "in the sixties"),
        (WHEN, "the 1960s", "During the 1960's."),
        (WHEN, "19th century", "The nineteenth century"),
        (WHEN, "3 October 1990", "1990年10月3日"),
        (WHEN, "3 October 1990", "3 октября 1990 года"),
        (WHEN, "October 3, 1990", "In 1990."),
    ],
    "numbers": [
        (MANY, "206", "An adult has 206, while a baby has about 300."),
        (MANY, "twelve", "There are 12."),
        (MANY, "12", "a total of twelve"),
        (MANY, "1,250,000", "1.25 million"),
        (MANY, "1250000", "1.250.000"),
        (MANY, "1250000", "1 250 000"),
        (MANY, "1234567", "12,34,567"),
        (MANY, "-40", "It is −40 degrees."),
        (MANY, "0.75", "3/4"),
        (MANY, "3/4", "0.75"),
        (MANY, "10^6", "10⁶"),
        (MANY, "3e8", "3 × 10⁸"),
        (MANY, "7", "The answer is \\boxed{7}."),
        (MANY, "1/2", "$\\frac{1}{2}$"),
        (MANY, "42", "४२"),
        (MANY, "42", "٤٢"),
        (MANY, "42", "４２"),
        (MANY, "three hundred", "三百"),
        (MANY, "2.5", "2,5"),
        (MANY, "1234.5", "1.234,5"),
        (MANY, "9500", "9{,}500"),
        (MANY, "21", "twenty-one"),
        (MANY, "16 or older", "You must be 16."),
        (MANY, "365", "365 or 366 in leap years"),
    ],
    "units and money": [
        ("How far?", "5 km", "5 kilometres"),
        ("How far?", "5 km", "5000 m"),
        ("How far?", "26.2 miles", "42.195 km, or 26.2 miles"),
        ("How much?", "$12", "12 dollars"),
        ("How much?", "€5.50", "5,50 €"),
        ("What share?", "0.5", "50%"),
        ("What share?", "62%", "62 percent"),
        ("How long?", "2 hours", "120 minutes"),
        ("How tall?", "5.97 m (19 ft 7 in)", "5.97 meters (19 feet, 7 inches)"),
        ("How far?", "100 m", "100m"),
    ],
    "other scripts": [
        ("首都はどこ？", "東京", "首都は東京です。"),
        ("首都是哪里？", "北京", "中国的首都是北京。"),
        ("수도는?", "부산", "답은 부산입니다."),
        ("Где?", "Москва", "Это было в Москве."),
        ("Где?", "Нижний Новгород", "В Нижнем Новгороде."),
        ("राजधानी?", "नई दिल्ली", "राजधानी नई दिल्ली है।"),
        ("Şehir?", "İzmir", "Şehir İzmir'dir."),
        ("哪一年？", "1949年", "成立于1949年。"),
        ("เมือง?", "เชียงใหม่", "เมืองคือเชียงใหม่ครับ"),
        ("أين؟", "القاهرة", "العاصمة هي القاهرة."),
    ],
    "letters with marks": [
        (WHICH, "Tromsø", "Tromso"),
        (WHICH, "Łódź", "Lodz"),
        (WHICH, "Zürich", "Zurich"),
        (WHO, "Björk", "Bjork"),
        (WHICH, "Große Straße", "Grosse Strasse"),
        (WHICH, "Kırşehir", "Kirsehir"),
        (WHICH, "São Paulo", "Sao Paulo"),
        (WHO, "Dvořák", "It was Dvorak."),
        (WHICH, "co\u00adoperate", "cooperate"),
        (WHO, "Ærø", "Aero"),
    ],
    "lists": [
        ("Which three?", "red, green and blue", "Blue, red, and green."),
        ("Which three?", "red, green and blue", "1. green\n2. blue\n3. red"),
        ("Which two?", "Akrotiri and Dhekelia", "Dhekelia and Akrotiri"),
    ],
    "denials of something else": [
        (WHICH, "Oslo", "It isn't Bergen, it's Oslo."),
        (WHICH, "Oslo", "Not Bergen but Oslo."),
        (WHICH, "Oslo", "Nicht Bergen, sondern Oslo."),
        (WHICH, "Oslo", "No es Bergen, sino Oslo."),
        (WHICH, "Oslo", "Ce n'est pas Bergen, c'est Oslo."),
        (WHICH, "Oslo", "Bergen. Wait, actually it's Oslo."),
        (WHICH, "Oslo", "Oslo, not Bergen."),
        (WHICH, "Oslo", "It is none other than Oslo."),
        (WHICH, "Oslo", "Without a doubt, Oslo."),
        (WHICH, "Oslo", "Bergen? No, it's Oslo."),
        (WHO, "Ann Lee", "Contrary to popular belief it was not Bob Ray but Ann Lee."),
        ("Which city did not sign?", "Oslo", "Oslo did not sign."),
        (WHICH, "东京", "不是大阪，而是东京。"),
        (WHICH, "東京", "大阪ではなく東京です。"),
        (WHICH, "Москва", "Не Казань, а Москва."),
        (WHICH, "Oslo", "Non è Bergen, ma Oslo."),
        (WHICH, "Oslo", "It is not only the capital: it is Oslo."),
    ],
    "hedges": [
        (WHO, "Ann Lee", "I think it was Ann Lee, but I'm not sure."),
        (WHO, "Ann Lee", "Probably Ann Lee."),
        (WHO, "Ann Lee", "I don't know, maybe Ann Lee?"),
        (WHO, "Ann Lee", "As a language model I have no opinions. However, it was Ann Lee."),
    ],
    "signs and letters": [
        ("Which grade?", "A", "A"),
        ("Which grade?", "A", "The grade is A."),
        ("Which type?", "A+", "It is A+."),
        ("Which gas?", "CO2", "CO₂"),
        ("Which?", "H2O", "水的化学式是H₂O。"),
        ("Which sign?", "+", "+"),
        ("Which language?", "C++", "It is written in C++."),
        ("Which?", "E", "It is tuned to E."),
        ("Which letter?", "X", "**X**"),
    ],
    "yes and no": [
        ("Is ice cold?", "yes", "Yes, it is."),
        ("Is ice cold?", "yes", "Ice is indeed cold."),
        ("Is ice hot?", "no", "Ice is not hot."),
        ("Is ice hot?", "no", "Not really."),
        ("Is ice cold?", "yes", "No doubt it is."),
        ("Ist Eis kalt?", "ja", "Ja, sehr."),
        ("Ist Eis heiß?", "nein", "Nein."),
        ("¿Es frío?", "sí", "Sí, mucho."),
        ("Est-ce froid ?", "oui", "Oui."),
        ("Is it true?", "false", "This is not true."),
        ("Can ice burn?", "no", "Ice cannot burn."),
        ("Is ice cold?", "yes", "**Answer:** yes"),
        ("冰是冷的吗？", "是", "是的。"),
    ],
    "marks of a page": [
        (WHICH, "Oslo", "**Oslo**"),
        (WHICH, "Oslo", "# Answer\n- `Oslo`"),
        (WHICH, "Oslo", "The answer is [Oslo](https://example.org/oslo)."),
        (WHICH, "Oslo", "Oslo[1]."),
        (WHICH, "Oslo", "It is in Oslo1."),
    ],
}
WRONG = {
    "mentions that claim nothing": [
        (WHO, "Ann Lee", "Many people believe Ann Lee did it, but it was Bob Ray."),
        (WHICH, "Oslo", "Oslo. Wait, actually it's Bergen."),
        (WHICH, "Oslo", "Bergen, not Oslo."),
        (WHICH, "Oslo", "It is Bergen rather than Oslo."),
        (WHICH, "大阪", "不是大阪，而是东京。"),
        (WHICH, "大阪", "大阪ではなく東京です。"),
        (WHICH, "Казань", "Не Казань, а Москва."),
        (WHICH, "Oslo", "Neither Oslo nor Bergen."),
        ("Is Oslo or Bergen larger?", "Bergen", "Oslo is larger than Bergen."),
        (WHICH, "Bergen", "Nicht Bergen, sondern Oslo."),
        (WHICH, "Bergen", "Ce n'est pas Bergen, c'est Oslo."),
        (WHICH, "Bergen", "No es Bergen, sino Oslo."),
        (WHO, "Edison", "Edison never invented it, Tesla did."),
        (WHICH, "A", "It is a mistake."),
        ("Which grade?", "A", "A good one: B."),
    ],
}
TABLE = [(kind, *row) for kind, rows in RIGHT.items() for row in rows]


@pytest.mark.parametrize(("kind", "question", "gold", "answer"), TABLE)
def test_another_way_to_say_it_is_right(kind: str, question: str, gold: str, answer: str) -> None:
    assert grade(question, [gold], answer).outcome == "right"


@pytest.mark.parametrize(
    ("kind", "question", "gold", "answer"),
    [(kind, *row) for kind, rows in WRONG.items() for row in rows],
)
def test_a_mention_that_claims_nothing_is_wrong(
    kind: str, question: str, gold: str, answer: str
) -> None:
    assert grade(question, [gold], answer).outcome == "wrong"


LETTERS = ("Paris", "London", "New London")


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "b)",
        "(B)",
        "B. London",
        "The answer is B.",
        "London",
        "It is London.",
        "Answer: B) London",
        "Not Paris but London.",
        "**B**",
        "The correct choice is (B) because it is the capital.",
    ],
)
def test_a_choice_is_picked_by_letter_by_text_or_by_both(answer: str) -> None:
    assert grade("Which?", ["London"], answer, LETTERS).outcome == "right"
    assert grade("Which?", ["B"], answer, LETTERS).outcome == "right"


@pytest.mark.parametrize(
    ("question", "gold", "answer"),
    [
        ("On what date was it?", "3 October 1990", "In 1990."),
        ("What is it?", "electrical fire", "fire"),
        ("Which three?", "red, green and blue", "red and green"),
        (WHO, "George W. Bush", "George H. W. Bush"),
    ],
)
def test_what_a_person_should_look_at_is_unsure(question: str, gold: str, answer: str) -> None:
    found = grade(question, [gold], answer)
    assert found.outcome == "unsure"
    assert found.reason.endswith(".")


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("Station A", "It was station A."),
        ("Station A", "Station A is the one that closed."),
        ("vitamin A", "Vitamin A, mostly"),
        ("Once Upon a Time", "Once Upon A Time"),
        ("11500", "There are 11500."),
        ("115,000", "The town has 115000."),
    ],
)
def test_a_letter_is_a_name_and_a_large_number_is_no_year(gold: str, answer: str) -> None:
    assert grade("Which one, or how many?", (gold,), answer).outcome == "right"


@pytest.mark.parametrize(
    "answer",
    ["It came out on August 22, 19801.", "In 19801.", "It ran from 1975 to 19801. It ended there."],
)
def test_the_number_of_a_note_behind_a_year_is_left_out(answer: str) -> None:
    assert grade("When did it come out, or end?", ("1980",), answer).outcome == "right"
