"""Answers of a table, judged again: one row of results a row, whatever is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from energy_guard.errors import ConfigError, EnergyGuardError
from energy_guard.log import LogEntry
from energy_guard.log_table import arrow_module, entries_in
from energy_guard.rescore import Rescorer

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class TableScorer:
    """Scores parts of a table in any process. settings: as `Rescorer` takes them.

    Called with the number of the first row and the part, it returns the results: `row`, `verdict`,
    `shown`, `reason`, `p_wrong`, `p_wrong_from`, `score`, `detector`, `span`, `notes`, `label`
    and `error`: why a row has no result, null of all others. A row with an error is unscored and
    not shown.

    Raises ConfigError if policy or profile do not fit the model of a row.
    """

    settings: dict[str, Any]

    def __call__(self, part: tuple[int, pa.RecordBatch]) -> pa.RecordBatch:
        """Score one part."""
        arrow = arrow_module()
        begin, batch = part
        rescorer = Rescorer(self.settings)
        rows = [
            {"row": number, **_judged(rescorer, entry)}
            for number, entry in enumerate(entries_in(batch), begin)
        ]
        return arrow.RecordBatch.from_pylist(rows, _schema())


def _judged(rescorer: Rescorer, entry: LogEntry | EnergyGuardError) -> dict[str, Any]:
    """The result of one row, or its error."""
    if isinstance(entry, EnergyGuardError):
        return _failed(entry)
    try:
        result = rescorer.judged(entry, relocate=rescorer.relocates or not entry.locator)
    except ConfigError:  # of the settings, and so of every row
        raise
    except EnergyGuardError as error:
        return _failed(error)
    return {
        "verdict": result.verdict,
        "shown": result.shown,
        "reason": result.reason,
        "p_wrong": result.p_wrong,
        "p_wrong_from": result.p_wrong_from,
        "score": result.score,
        "detector": result.detector,
        "span": result.span and result.span.text,
        "notes": result.notes,
        "label": entry.label,
        "error": None,
    }


def _failed(error: EnergyGuardError) -> dict[str, Any]:
    return {"verdict": "unscored", "shown": False, "error": error.message}


def _schema() -> pa.Schema:
    arrow = arrow_module()
    text, number = arrow.string(), arrow.float64()
    return arrow.schema(
        [
            ("row", arrow.int64()),
            ("verdict", text),
            ("shown", arrow.bool_()),
            ("reason", text),
            ("p_wrong", number),
            ("p_wrong_from", text),
            ("score", number),
            ("detector", text),
            ("span", text),
            ("notes", arrow.list_(text)),
            ("label", text),
            ("error", text),
        ]
    )
