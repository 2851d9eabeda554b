"""Wrong answers that are much like the right one: at most one in a hundred may be called right."""

from __future__ import annotations

import pytest

from energy_guard.questions.grade import grade

YEAR = ("When was the bridge opened?", "1873")
DATE = ("When did the treaty come into force?", "1 November 1993")
KING = ("Which king signed it?", "Henry VIII")
WRITER = ("Who wrote the novel?", "Charlotte Brontë")
CITY = ("Which city is the capital?", "Ankara")
HEIGHT = ("How high is the tower?", "330 metres")
COUNT = ("How many strings has the instrument?", "12")
PRICE = ("What did the painting cost?", "$4.5 million")
PLANET = ("Which planet is the largest?", "Jupiter")
WAR = ("Which war ended in that year?", "World War II")
FLAT = ("Is the Earth flat?", "no")
WHALE = ("Is a whale a mammal?", "yes")
LIST = ("Which three countries border it?", "France, Germany and Belgium")
WINE = ("What is served with it?", "red wine")
HAND = ("On which finger is it worn?", "left hand ring finger")
SALT = ("What is table salt?", "sodium chloride")
PRESIDENT = ("Who was president then?", "George W. Bush")
GAS = ("Which gas is it?", "CO2")
SHARE = ("What share voted for it?", "62%")
KOREA = ("Which country hosted it?", "South Korea")

STATION = ("Which station was it?", "Station A")
PEOPLE = ("How many people live there?", "1150")

NEAR = [
    (STATION, "Station B"),
    (STATION, "the station"),
    (PEOPLE, "There are 11500."),
    (PEOPLE, "It has 115000."),
    (YEAR, "1874"),
    (YEAR, "1837"),
    (YEAR, "It was opened in 1783."),
    (YEAR, "On March 4, 1872."),
    (YEAR, "In the 1880s."),
    (YEAR, "It was opened in 1973."),
    (YEAR, "Not in 1873 but in 1875."),
    (YEAR, "It wasn't 1873, it was 1876."),
    (YEAR, "1873 BC"),
    (YEAR, "18730"),
    (DATE, "1 November 1992"),
    (DATE, "2 November 1993"),
    (DATE, "1 December 1993"),
    (DATE, "November 11, 1993"),
    (DATE, "1993-10-01"),
    (DATE, "01.12.1993"),
    (DATE, "In 1994."),
    (DATE, "November 1992"),
    (DATE, "le 1er décembre 1993"),
    (DATE, "am 1. Oktober 1993"),
    (KING, "Henry VII"),
    (KING, "Henry the Seventh"),
    (KING, "King Henry IV"),
    (KING, "Edward VIII"),
    (KING, "Henry"),
    (KING, "Henry V signed it."),
    (KING, "It was Henry III, not Henry VIII."),
    (WRITER, "Emily Brontë"),
    (WRITER, "Anne Brontë wrote it."),
    (WRITER, "It was her sister Emily Brontë."),
    (WRITER, "Charlotte Lucas"),
    (WRITER, "Charlotte Perkins Gilman"),
    (WRITER, "C. S. Lewis"),
    (WRITER, "Not Charlotte Brontë, but Jane Austen."),
    (WRITER, "Jane Austen, not Charlotte Brontë."),
    (WRITER, "Many people think Charlotte Brontë wrote it, but it was actually Anne Brontë."),
    (WRITER, "Charlotte Brontë. No, wait, it was Emily Brontë."),
    (WRITER, "Jane Austen rather than Charlotte Brontë."),
    (WRITER, "Nicht Charlotte Brontë, sondern Jane Austen."),
    (WRITER, "No fue Charlotte Brontë, sino Jane Austen."),
    (WRITER, "Ce n'est pas Charlotte Brontë, c'est Jane Austen."),
    (WRITER, "Non è stata Charlotte Brontë ma Jane Austen."),
    (WRITER, "Não foi Charlotte Brontë, mas Jane Austen."),
    (WRITER, "Het was niet Charlotte Brontë maar Jane Austen."),
    (WRITER, "Inte Charlotte Brontë utan Jane Austen."),
    (CITY, "Istanbul"),
    (CITY, "Not Ankara."),
    (CITY, "Ankara or Istanbul"),
    (CITY, "Istanbul, not Ankara"),
    (CITY, "Ankara? No, actually it's Istanbul."),
    (CITY, "Istanbul, Ankara, Izmir, Bursa"),
    (CITY, "It is Istanbul instead of Ankara."),
    (CITY, "Ankara is not the capital."),
    (CITY, "Contrary to popular belief, it is not Ankara."),
    (CITY, "Ankara was never the capital."),
    (CITY, "It's anything but clear."),
    (CITY, "Angora wool"),
    (CITY, "Alaska"),
    (HEIGHT, "330 feet"),
    (HEIGHT, "331 metres"),
    (HEIGHT, "303 metres"),
    (HEIGHT, "33 metres"),
    (HEIGHT, "3300 m"),
    (HEIGHT, "330 km"),
    (HEIGHT, "300 metres"),
    (HEIGHT, "330 miles"),
    (HEIGHT, "between 330 and 350 metres"),
    (HEIGHT, "It is 324 m high, not 330 m."),
    (COUNT, "13"),
    (COUNT, "eleven"),
    (COUNT, "twenty-one"),
    (COUNT, "120"),
    (COUNT, "1.2"),
    (COUNT, "-12"),
    (COUNT, "10 to 12"),
    (COUNT, "12-14"),
    (COUNT, "It has 6 strings."),
    (COUNT, "a dozen and one"),
    (PRICE, "$4.5 billion"),
    (PRICE, "€4.5 million"),
    (PRICE, "$5.4 million"),
    (PRICE, "$45 million"),
    (PRICE, "£4.5 million"),
    (PRICE, "$4,500"),
    (PRICE, "4.5 dollars"),
    (PLANET, "Saturn"),
    (PLANET, "Saturn is larger than Jupiter."),
    (PLANET, "Saturn, unlike Jupiter, is the largest."),
    (PLANET, "Mercury, Venus, Earth, Mars, Jupiter, Saturn"),
    (PLANET, "Juniper"),
    (WAR, "World War I"),
    (WAR, "World War 1"),
    (WAR, "World War"),
    (WAR, "the First World War"),
    (WAR, "World War III"),
    (FLAT, "Yes."),
    (FLAT, "The Earth is flat."),
    (FLAT, "Yes, the Earth is flat, no joke."),
    (FLAT, "No doubt it is flat."),
    (WHALE, "No."),
    (WHALE, "A whale is not a mammal."),
    (WHALE, "Not really, it is a fish."),
    (WHALE, "No, it's a fish; yes, a big one."),
    (LIST, "France"),
    (LIST, "France and Germany"),
    (LIST, "France, Germany and Spain"),
    (LIST, "Italy, Spain and Portugal"),
    (WINE, "white wine"),
    (WINE, "red meat"),
    (WINE, "A glass of white wine is served with it."),
    (HAND, "right hand ring finger"),
    (HAND, "left hand index finger"),
    (SALT, "potassium chloride"),
    (SALT, "sodium hydroxide"),
    (SALT, "It is sodium bicarbonate."),
    (SALT, "sodium"),
    (PRESIDENT, "George H. W. Bush"),
    (PRESIDENT, "Jeb Bush"),
    (PRESIDENT, "George Washington"),
    (PRESIDENT, "Barbara Bush was."),
    (GAS, "CO"),
    (GAS, "C2O"),
    (GAS, "O2"),
    (GAS, "NO2"),
    (GAS, "SO₂"),
    (SHARE, "38%"),
    (SHARE, "26%"),
    (SHARE, "6.2%"),
    (SHARE, "62 people"),
    (SHARE, "0.062"),
    (KOREA, "North Korea"),
    (KOREA, "South Africa"),
    (KOREA, "South Sudan"),
    (KOREA, "Korea"),
]


def test_hardly_any_near_miss_is_called_right() -> None:
    called = [
        (gold, answer)
        for (question, gold), answer in NEAR
        if grade(question, [gold], answer).outcome == "right"
    ]
    assert len(NEAR) >= 100
    assert len(called) <= len(NEAR) // 100, called


CHOICES = ("Paris", "Paris, Texas", "London", "none of these")


@pytest.mark.parametrize(
    "answer",
    [
        "Paris, Texas",
        "B",
        "(C) London",
        "London",
        "Not Paris",
        "Paris or London",
        "D",
        "The answer is C.",
    ],
)
def test_another_choice_is_not_right(answer: str) -> None:
    assert grade("Which?", ["Paris"], answer, CHOICES).outcome != "right"
