"""P(wrong) and the share that is wrong, kind of question by kind, as `calibrate` shows them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from energy_guard.calibrate.kinds import FAR_OFF, KindFigures
from energy_guard.estimates.estimate import Estimate


def by_kind(figures: Sequence[KindFigures]) -> Table:
    """Return the table of all kinds."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("kind of question")
    for heading in ("n", "wrong", "mean P(wrong)", "without P(wrong)"):
        table.add_column(heading, justify="right")
    for kind in figures:
        share = "–" if not isinstance(kind.wrong, Estimate) else f"{kind.wrong.value:.2f}"
        mean = "–" if kind.mean_p is None else f"{kind.mean_p:.2f}"
        table.add_row(kind.kind, str(kind.wrong.n), share, mean, str(kind.without))
    return table


def warnings(figures: Sequence[KindFigures]) -> list[str]:
    """Return a line for each kind whose mean P(wrong) is off; it says if that may be chance."""
    return [
        f"warning: P(wrong) of {kind.kind} is off by more than {FAR_OFF:.2f}: on average "
        f"{kind.mean_p:.2f}, and wrong are {kind.wrong.value:.3f} ({kind.wrong.low:.3f} to "
        f"{kind.wrong.high:.3f}, n = {kind.wrong.n})"
        + (": may be chance" if kind.may_be_chance else "")
        for kind in figures
        if kind.is_off and isinstance(kind.wrong, Estimate)
    ]
