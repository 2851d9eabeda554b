"""Results as HTML, for notebooks. Text from a model is data: everything is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from energy_guard.report.levels import Level, Piece, coloured
from energy_guard.report.terminal import COLUMNS, VERDICTS, is_uncalibrated

_COLOURS: Final[Mapping[Level | None, str]] = {
    "low": "#d8f3dc",
    "raised": "#ffe8a3",
    "high": "#ffb3ad",
    None: "#e9ecef",
}


def result_html(result: Mapping[str, Any]) -> str:
    """One result: the heat-mapped answer (numbers on hovering), verdict and reason."""
    mark, _ = VERDICTS[result["verdict"]]
    note = " (uncalibrated)" if is_uncalibrated(result) else ""
    answer = answer_html(result)
    warning = f"<div>{escape(result['warning'])}</div>" if result["warning"] else ""
    instead = f"<div>shown instead: {escape(result['text'])}</div>"
    shown = "" if result["text"] == result["answer"] else instead
    return (
        '<div style="font-family: sans-serif; line-height: 1.6; color: #212529">'
        f'<div style="white-space: pre-wrap">{answer}</div>'
        f"<div><b>{mark} {escape(result['verdict'])}</b>: {escape(result['reason'])}{note}</div>"
        f"{warning}{shown}</div>"
    )


def answer_html(result: Mapping[str, Any]) -> str:
    """The model's answer, heat-mapped, with the numbers of each token on hovering."""
    return "".join(_piece(piece, result["tokens"][piece.tokens[0]]) for piece in coloured(result))


def _piece(piece: Piece, token: Mapping[str, Any]) -> str:
    numbers = "; ".join(
        f"{heading} {token[name]:.2f}" for name, heading in COLUMNS if token[name] is not None
    )
    return (
        f'<span style="background: {_COLOURS[piece.level]}" title="{escape(numbers)}">'
        f"{escape(piece.text)}</span>"
    )
