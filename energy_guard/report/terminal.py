"""Results in a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from energy_guard.policy import UNCALIBRATED, Policy
from energy_guard.report.levels import Level, coloured
from energy_guard.report.printable import printable

STYLES: Final[Mapping[Level | None, str]] = {
    "low": "green",
    "raised": "yellow",
    "high": "bold red",
    None: "dim",
}
"""Colour of a token by its level of risk."""

VERDICTS: Final = {
    "accept": ("✓", "bold green"),
    "warn": ("!", "bold yellow"),
    "abstain": ("✗", "bold red"),
    "unscored": ("?", "bold magenta"),
}

COLUMNS: Final = (
    ("nll", "nll"),
    ("entropy", "entropy"),
    ("margin", "margin"),
    ("logit_energy", "logit E"),
    ("marginal_energy", "marginal E"),
    ("spilled_energy", "spilled E"),
    ("centred_spilled_energy", "centred ΔE"),
)
"""The signals that a table shows, with their headings."""

_MAX_ROWS: Final = 8

_MOST_GAIN: Final = 20.0
"""Nats beyond which it makes no difference to a reader how much likelier an answer is."""


def result_view(result: Mapping[str, Any]) -> RenderableType:
    """Everything about one result: answer, span, signals, verdict."""
    return Group(heat_map(result), *details(result))


def details(result: Mapping[str, Any]) -> list[RenderableType]:
    """What stands below an answer: the exact answer, its signals, the verdict and its reason."""
    parts: list[RenderableType] = []
    if result["span"] is not None:
        parts += [
            Text.assemble(("exact answer: ", "dim"), printable(result["span"]["text"])),
            signals(result),
        ]
    weakest = weakest_sentence(result)
    if weakest is not None:
        parts.append(weakest)
    return [*parts, *outcome(result), *remarks(result)]


def outcome(result: Mapping[str, Any]) -> list[RenderableType]:
    """The verdict with its reason, and what is shown in the place of a withheld answer."""
    parts: list[RenderableType] = [verdict_line(result)]
    if result["warning"]:
        parts.append(Text(printable(result["warning"]), "yellow"))
    if not result["shown"]:
        parts.append(Text.assemble(("shown instead: ", "dim"), printable(result["text"])))
    return parts


def remarks(result: Mapping[str, Any]) -> list[Text]:
    """What is promised about answers like this one, and what may shift its P(wrong)."""
    lines = [*support_lines(result), *(f"note: {n}" for n in result["notes"] if n != UNCALIBRATED)]
    if result["promise"] and result["shown"]:
        risk, confidence = (result["promise"][name] for name in ("max_risk", "confidence"))
        lines.insert(0, f"promised: at most {risk:.3g} of shown answers wrong ({confidence:.3g})")
    return [Text(printable(line), "dim") for line in lines]


def support_lines(result: Mapping[str, Any]) -> list[str]:
    """How far the answer rests on its passages, if that was to be measured."""
    support = result["support"]
    if support is None:
        return []
    lines = []
    if support["gain"] is not None:
        times = math.exp(min(support["gain"], _MOST_GAIN))
        told = f"{times:.2g}" if times < 10 else f"{times:,.0f}"
        lines.append(f"support by the passages: each token of the answer is {told} times as likely")
    if (confirmed := support.get("confirmed")) is not None:
        yes = 1 / (1 + math.exp(-confirmed))
        said = f"the model says yes with {yes:.2f}, no with {1 - yes:.2f}"
        lines.append(f"asked whether the passages say so, {said}")
    if not lines:
        lines.append("support by the passages: not measured")
    if support["elsewhere"]:
        lines.append(f"in no passage: {', '.join(support['elsewhere'])}")
    return lines


def weakest_sentence(result: Mapping[str, Any]) -> Text | None:
    """The sentence with the highest risk, if there are several with one."""
    scored = [sentence for sentence in result["sentences"] if sentence["score"] is not None]
    if len(scored) < 2:
        return None
    worst = max(scored, key=lambda sentence: sentence["score"])
    return Text.assemble(
        ("weakest sentence: ", "dim"), printable(worst["text"]), (f" ({worst['score']:.2f})", "dim")
    )


def heat_map(result: Mapping[str, Any]) -> Text:
    """The model's answer, each token coloured by its risk."""
    text = Text()
    for piece in coloured(result):
        text.append(printable(piece.text), STYLES[piece.level])
    return text


def signals(result: Mapping[str, Any]) -> Table:
    """A row for each token of the exact answer: the riskiest ones if there are many."""
    levels = {index: piece.level for piece in coloured(result) for index in piece.tokens}
    chosen = result["span"]["tokens"]
    rows = sorted(sorted(chosen, key=lambda t: -(result["tokens"][t]["nll"] or 0))[:_MAX_ROWS])
    left_out = len(chosen) - len(rows)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("token" if not left_out else f"token (of {len(chosen)})")
    for _, heading in COLUMNS:
        table.add_column(heading, justify="right")
    for index in rows:
        token = result["tokens"][index]
        numbers = ["–" if token[name] is None else f"{token[name]:.2f}" for name, _ in COLUMNS]
        shown = Text(printable(token["text"]).strip() or "⋯", STYLES[levels.get(index)])
        table.add_row(shown, *numbers)
    return table


def verdict_line(result: Mapping[str, Any]) -> Text:
    """The verdict, its reason, and what it rests on if that is no calibration of this model."""
    mark, style = VERDICTS[result["verdict"]]
    line = Text.assemble((f"{mark} {result['verdict']}", style), ": ", printable(result["reason"]))
    if (basis := rests_on(result)) is not None:
        line.append(f" ({basis})", "dim")
    return line


def rules(policy: Policy, p_wrong_from: str | None = None) -> str:
    """What a policy does with a risk, in one line.

    p_wrong_from: what its profile's P(wrong) comes from; None if there is no profile.
    """
    what = "P(wrong)" if policy.on == "p_wrong" else policy.detector or "the score"
    basis = _RESTS_ON.get(p_wrong_from, "calibrated") if policy.on == "p_wrong" else "uncalibrated"
    warn, abstain = policy.warn, policy.abstain
    parts = ["warn on every answer" if warn is None else f"accept below {warn:g}"]
    if warn is not None and warn != abstain:
        parts.append(f"warn from {warn:g}")
    parts.append("never abstain" if abstain is None else f"abstain from {abstain:g}")
    if policy.retries:
        parts.append(f"{policy.retries} × again before that")
    return f"{what}, {basis}: {', '.join(parts)}"


def risk_legend() -> Text:
    """What the colours of tokens mean."""
    return Text(" · ").join(Text(level, STYLES[level]) for level in ("low", "raised", "high"))


def rests_on(result: Mapping[str, Any]) -> str | None:
    """What a verdict rests on if that is not a calibration on this model's labelled answers."""
    if result["thresholds"]["on"] == "score":
        return "uncalibrated"
    return _RESTS_ON.get(result["p_wrong_from"])


_RESTS_ON: Final[Mapping[str | None, str]] = MappingProxyType(
    {"other models": "from other models", "traffic": "estimated from traffic"}
)
