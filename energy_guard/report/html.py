"""Results as HTML, for notebooks. Text from a model is data: everything is escaped.

Nothing here sets the colour of the page: what stands on it takes the notebook's, light or dark,
and what has a colour behind it has a dark one in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from energy_guard.report.levels import Level, Piece, coloured
from energy_guard.report.terminal import COLUMNS, VERDICTS, rests_on

_COLOURS: Final[Mapping[Level | None, str]] = {
    "low": "#d8f3dc",
    "raised": "#ffe8a3",
    "high": "#ffb3ad",
    None: "#e9ecef",
}


def result_html(result: Mapping[str, Any]) -> str:
    """Return one result: the verdict first, then the heat-mapped answer and its legend.

    The words of a withheld answer are folded away, and so is a reason that may quote them.
    """
    answer = f'<div style="white-space: pre-wrap">{answer_html(result)}</div>'
    legend = f'<div style="font-size: 0.85em">{legend_html()}</div>'
    if result["shown"]:
        below = answer + legend
    else:
        reason = f"<div>{escape(result['reason'])}</div>"
        summary = "<summary>what the model wrote, and why it is withheld</summary>"
        below = (
            f"<div>shown instead: {escape(result['text'])}</div>"
            f"<details>{summary}{reason}{answer}{legend}</details>"
        )
    warning = f"<div>{escape(result['warning'])}</div>" if result["warning"] else ""
    return (
        '<div style="font-family: sans-serif; line-height: 1.6">'
        f"<div>{_verdict(result)}</div>{warning}{below}</div>"
    )


def answer_html(result: Mapping[str, Any]) -> str:
    """Return the model's answer, heat-mapped, with the numbers of each token on hovering."""
    return "".join(_piece(piece, result["tokens"][piece.tokens[0]]) for piece in coloured(result))


def legend_html() -> str:
    """Return what the colours of tokens mean."""
    names: Mapping[Level | None, str] = {
        "low": "low",
        "raised": "raised",
        "high": "high",
        None: "not known",
    }
    swatches = " ".join(_coloured(level, name) for level, name in names.items())
    return f"risk of each token: {swatches} (its numbers: point at it)"


def _verdict(result: Mapping[str, Any]) -> str:
    """The verdict with its reason; with the bare numbers if the reason may quote the withheld."""
    mark, _ = VERDICTS[result["verdict"]]
    line = f"<b>{mark} {escape(result['verdict'])}</b>"
    if result["shown"] or result["verdict"] == "unscored":  # an unscored one quotes nothing
        line += f": {escape(result['reason'])}"
    elif result["p_wrong"] is not None:
        line += f": P(wrong) is {result['p_wrong']:.2f}"
    elif result["score"] is not None:
        line += f": {escape(result['detector'])} is {result['score']:.2f}"
    basis = rests_on(result)
    return line + (f" ({basis})" if basis else "")


def _piece(piece: Piece, token: Mapping[str, Any]) -> str:
    numbers = "; ".join(
        f"{heading} {token[name]:.2f}" for name, heading in COLUMNS if token[name] is not None
    )
    return _coloured(piece.level, piece.text, numbers)


def _coloured(level: Level | None, text: str, title: str = "") -> str:
    hover = f' title="{escape(title)}"' if title else ""
    style = f"background: {_COLOURS[level]}; color: #212529"
    return f'<span style="{style}"{hover}>{escape(text)}</span>'
