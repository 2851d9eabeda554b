from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from energy_guard import Guard, Policy, Profile, Result
from energy_guard.backends import Script, Scripted
from energy_guard.cli.live import show_live
from energy_guard.report.html import result_html
from energy_guard.report.levels import Level, token_level
from energy_guard.report.terminal import printable, result_view
from energy_guard.score import Detector

QUESTION = "What is it?"


def guarded(*pieces: tuple[str, float], calibrated: bool = False, **policy: Any) -> Guard:
    backend = Scripted.saying(pieces)
    if not calibrated:
        return Guard(backend, Policy(detector="nll:max", warn=1.0, abstain=2.0, **policy))
    profile = Profile(
        model=backend.info.fingerprint,
        backend="scripted",
        mode="chat",
        detector="nll:max",
        locator="automatic",
        calibration={
            "slope": 1.0,
            "intercept": -3.0,
            "n": 98,
            "n_wrong": 40,
            "lowest": 0.0,
            "highest": 5.0,
        },
    )
    return Guard(backend, profile=profile)


def said(*pieces: tuple[str, float], **options: Any) -> Result:
    return guarded(*pieces, **options).ask(QUESTION)


def shown(view: RenderableType) -> str:
    """What reaches a file that is no terminal: rich writes no codes of its own there."""
    console = Console(file=io.StringIO(), record=True, width=200)
    console.print(view)
    return console.export_text()


VERDICTS: list[tuple[str, list[tuple[str, float]]]] = [
    ("accept", [("Par", 0.9), ("is", 0.9)]),
    ("warn", [("Par", 0.3), ("is", 0.9)]),
    ("abstain", [("Par", 0.05), ("is", 0.9)]),
    ("unscored", []),
]


@pytest.mark.parametrize(("verdict", "pieces"), VERDICTS)
def test_verdict_reason_and_answer_are_shown(verdict: str, pieces: list[tuple[str, float]]) -> None:
    result = said(*pieces)
    assert result.verdict == verdict
    for text in (shown(result), result._repr_html_()):
        assert verdict in text
        assert result.reason in text
        assert ("shown instead: " + result.text in text) == (not result.shown)
    assert result.answer in shown(result)
    assert ("exact answer: Paris" in shown(result)) == (verdict != "unscored")


HOSTILE = [
    "[red]x[/]",
    "[/nothing]",
    "[link=http://a.example]b",
    "\x1b[2J",
    "x\x1b[2Jy",
    "\x1b]0;t\x07",
    "a\rb",
    "\x9b2J",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("p", [0.9, 0.3, 0.01])
def test_what_the_model_wrote_steers_no_terminal(text: str, p: float) -> None:
    view = shown(said((text, p), (" and more words", 0.9), (" follow here", 0.9)))
    assert not any(c in view for c in "\x1b\x07\r\x9b")
    assert text in view or not text.isprintable(), "what looks like markup is shown as it is"


@pytest.mark.parametrize("text", HOSTILE)
def test_what_streams_steers_no_terminal(text: str) -> None:
    console = Console(file=io.StringIO(), record=True, width=200)
    guard = guarded((text, 0.9), (" more", 0.9))
    result = show_live(console, guard, guard.stream(QUESTION))
    view = console.export_text()
    assert result.answer == text + " more"
    assert not any(c in view for c in "\x1b\x07\r\x9b")
    assert text in view or not text.isprintable()


def test_text_to_show_instead_is_no_markup() -> None:
    text = shown(said(("Paris", 0.01), abstention_text="[b]No[/b] <i>"))
    assert "shown instead: [b]No[/b] <i>" in text


def test_printable_keeps_what_is_text() -> None:
    text = "a\tb\n巴黎 👨‍👩‍👧 e\u0301 ½"
    assert printable(text) == text
    assert printable("\x1b[2J\x00\r\u202e") == "\ufffd[2J\ufffd\ufffd\ufffd"


@pytest.mark.parametrize("p", [0.9, 0.3, 0.01])
def test_html_of_what_the_model_wrote_is_escaped(p: float) -> None:
    evil = "<script>alert('1')</script>"
    result = said((evil, p), ('"><img src=x>', 0.9), abstention_text="<b>no</b>")
    html = result._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>no" not in html
    assert "&lt;script&gt;" in html
    assert html == result_html(result.to_dict())


@pytest.mark.parametrize(("verdict", "pieces"), VERDICTS)
@pytest.mark.parametrize("calibrated", [False, True])
def test_uncalibrated_stands_where_thresholds_are_on_scores(
    verdict: str, pieces: list[tuple[str, float]], calibrated: bool
) -> None:
    result = said(*pieces, calibrated=calibrated)
    assert (result.p_wrong is None) == (not calibrated or verdict == "unscored")
    for text in (shown(result), result._repr_html_()):
        assert ("uncalibrated" in text) == (not calibrated)


def test_a_stored_result_looks_as_it_did() -> None:
    result = said(("巴黎 ", 0.3), ("👍🏽", 0.9), (" is", 0.5), (" the", 0.7), (" capital", 0.2))
    stored = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert shown(result_view(stored)) == shown(result)
    assert result_html(stored) == result._repr_html_()


def test_long_answers_show_their_riskiest_tokens_only() -> None:
    pieces = [(f" word{number}", 0.9) for number in range(12)]
    pieces[7] = (" strange", 0.3)
    text = shown(said(*pieces))
    assert "token (of 12)" in text
    table = text[text.index("token (of 12)") : text.index("! warn")]
    assert "strange" in table
    assert len(table.strip().splitlines()) == 9


def test_a_missing_number_is_a_dash_and_no_zero() -> None:
    rows = np.array([[0.0, 5.0]], np.float32)
    result = Guard(Scripted([b"", b"Paris."], [Script((1,), rows)])).ask(QUESTION)
    assert result.to_dict()["tokens"][0]["spilled_energy"] is None
    rows_shown = [line.split() for line in shown(result).splitlines()]
    assert [row[-3:] for row in rows_shown if row[0] == "Paris."][1:] == [["–", "–", "–"]]


SCORE_LIMITS = {"on": "score", "warn": 1.0, "abstain": 2.0}


@pytest.mark.parametrize(
    ("detector", "thresholds", "nll", "risk", "level"),
    [
        ("nll:max", SCORE_LIMITS, 0.0, 0.99, "low"),
        ("nll:max", SCORE_LIMITS, 0.0, 1.0, "raised"),
        ("nll:max", SCORE_LIMITS, 0.0, 2.0, "high"),
        ("nll:max", SCORE_LIMITS, 9.0, None, None),
        ("nll:max", SCORE_LIMITS | {"abstain": None}, 0.0, 99.0, "raised"),
        # A sum over tokens, a probability or no threshold say nothing of one token.
        ("nll:sum", SCORE_LIMITS, 0.0, 99.0, "low"),
        ("nll:max", SCORE_LIMITS | {"on": "p_wrong"}, 0.0, 99.0, "low"),
        ("nll:max", SCORE_LIMITS | {"warn": None}, 0.0, 99.0, "low"),
        ("nll:sum", SCORE_LIMITS, math.log(2), None, "raised"),
        ("nll:sum", SCORE_LIMITS, math.log(10), None, "high"),
        ("nll:sum", SCORE_LIMITS, None, 1.0, None),
    ],
)
def test_levels(
    detector: str,
    thresholds: dict[str, Any],
    nll: float | None,
    risk: float | None,
    level: Level | None,
) -> None:
    assert token_level(Detector.parse(detector).per_token, thresholds, nll, risk) == level


def test_the_colours_of_the_heat_map_follow_the_risk() -> None:
    html = said(("sure", 0.95), (" doubtful", 0.3), (" wild", 0.05))._repr_html_()
    colours = [part.split('"', 1)[0] for part in html.split("background: ")[1:]]
    assert len(set(colours[:3])) == 3
    assert colours[3:6] == colours[:3], "the legend names them in that order"


@pytest.mark.parametrize(("verdict", "pieces"), VERDICTS)
@pytest.mark.parametrize("calibrated", [False, True])
def test_a_notebook_shows_the_verdict_first_and_a_withheld_answer_folded_away(
    verdict: str, pieces: list[tuple[str, float]], calibrated: bool
) -> None:
    result = said(*pieces, calibrated=calibrated)
    html = result._repr_html_()
    before, _, after = html.partition("<details>")
    assert before.index(result.verdict) < html.index("risk of each token")
    assert "<details open" not in html
    assert ("</details>" in after) == (not result.shown)
    if result.shown:
        assert html.index(result.verdict) < html.index(">Par<")
    elif result.answer:
        assert "Par" not in before
        assert ">Par<" in after
        assert result.reason in after
    if not result.shown and result.score is not None:
        risk = result.score if result.p_wrong is None else result.p_wrong
        assert f"is {risk:.2f}" in before


def test_what_stands_on_no_colour_of_ours_takes_the_notebooks() -> None:
    html = said(("Paris", 0.9))._repr_html_()
    for style in [part.split('"', 1)[0] for part in html.split('style="')[1:]]:
        assert ("color: #212529" in style) == ("background: " in style)
