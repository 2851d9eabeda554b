"""A year within a sentence, in several languages: the gold year is right and another is wrong."""

from __future__ import annotations

from itertools import product

from energy_guard.questions.grade import grade

SENTENCES = (
    "{y}",
    "{y}.",
    "In {y}.",
    "It was on March 4, {y}.",
    "It was on 4 March {y}.",
    "On the 4th of March, {y}, it opened.",
    "It opened in {y}, after nine years of work.",
    "The bridge, which is 212 m long, was opened in {y}.",
    "The year was {y}!",
    "**{y}**",
    "It was opened in early {y} (some say late spring).",
    "{y}-03-04",
    "04/03/{y}",
    "March {y}",
    "around {y}",
    "I think it was {y}, but I'm not sure.",
    "Answer: {y}",
    "The bridge opened in {y}; 12 people spoke.",
    "Sie wurde am 4. März {y} eröffnet.",
    "Im Jahr {y}.",
    "Die Brücke wurde {y} eröffnet.",
    "Le pont a ouvert le 4 mars {y}.",
    "C'était en {y}.",
    "Se abrió el 4 de marzo de {y}.",
    "Fue en {y}.",
    "Fu aperto il 4 marzo {y}.",
    "Nel {y}.",
    "Foi inaugurada em 4 de março de {y}.",
    "De brug werd op 4 maart {y} geopend.",
    "Bron invigdes den 4 mars {y}.",
    "Most otwarto 4 marca {y} roku.",
    "Мост открыли 4 марта {y} года.",
    "В {y} году.",
    "Köprü 4 Mart {y}'te açıldı.",
    "大桥于{y}年3月4日通车。",
    "{y}年です。",
    "다리는 {y}년 3월 4일에 열렸습니다.",
    "Ponte din {y}.",
    "Híd {y}. március 4-én nyílt meg.",
)
YEARS = (1066, 1492, 1789, 1873, 1905, 1945, 1969, 1999, 2000, 2004, 2021)


def graded(gold: int, said: int, sentence: str) -> str:
    return grade("When was the bridge opened?", [str(gold)], sentence.format(y=said)).outcome


def test_a_gold_year_within_a_sentence_is_right() -> None:
    pairs = list(product(SENTENCES, YEARS))
    missed = [(s, y) for s, y in pairs if graded(y, y, s) != "right"]
    assert len(missed) <= 0.02 * len(pairs), missed


def test_another_year_within_a_sentence_is_wrong() -> None:
    pairs = [(s, y, other) for s, y in product(SENTENCES, YEARS) for other in (y + 1, y - 10)]
    assert [
        (s, y) for s, y, other in pairs if graded(y, other, s) not in ("wrong", "refused")
    ] == []
