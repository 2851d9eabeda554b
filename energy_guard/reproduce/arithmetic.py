"""How well signals tell right results of sums from planted wrong ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.energy import Floats
from energy_guard.evaluate.figures import measured, roc
from energy_guard.evaluate.paired_auroc import aurocs
from energy_guard.report.reproduced import ArithmeticCell, ArithmeticFigures
from energy_guard.reproduce.energies import ENERGIES
from energy_guard.reproduce.planted_sums import OFFSETS, ReadSum
from energy_guard.score import POOLINGS, usual_side
from energy_guard.trace import SCHEMA, Trace

SIGNALS: Final = (*ENERGIES, "nll")
PAPERS: Final = "mean"
"""The pooling of the paper: the mean over the result's tokens."""

POOLED: Final = (PAPERS, "max", "sum")


def arithmetic_figures(sums: Sequence[ReadSum], info: ModelInfo) -> ArithmeticFigures:
    """Return the AUROC of every signal for each number of digits and each size of error.

    Args:
        sums: As `read_sums` returns them.
        info: Which model it was.

    """
    return {
        "schema": SCHEMA,
        "model": {"name": info.name, "fingerprint": info.fingerprint, "backend": info.backend},
        "cells": list(_cells(sums)),
    }


def _cells(sums: Sequence[ReadSum]) -> Iterator[ArithmeticCell]:
    for digits in dict.fromkeys(each.planted.digits for each in sums):
        some = [each for each in sums if each.planted.digits == digits]
        for number, (least, most) in enumerate(OFFSETS):
            yield _cell(some, number, digits, least, most)


def _cell(
    sums: Sequence[ReadSum], number: int, digits: int, least: int, most: int
) -> ArithmeticCell:
    traces = [*(each.right for each in sums), *(each.wrong[number] for each in sums)]
    wrong = np.arange(len(traces)) >= len(sums)
    risks = {
        f"{signal}:{pooling}": _risk(traces, signal, pooling)
        for signal in SIGNALS
        for pooling in POOLED
    }
    ranking = aurocs(risks, wrong)
    known = {name: risk for name, risk in risks.items() if name.endswith(f":{PAPERS}")}
    return {
        "digits": digits,
        "off_by": [least, most],
        "sums": len(sums),
        "auroc": {name: measured(ranking.measured(name)) for name in risks},
        "roc": {n: roc(r, wrong) for n, r in known.items() if np.isfinite(r).all()},
    }


def _risk(traces: Sequence[Trace], signal: str, pooling: str) -> Floats:
    """What grows with risk, of each result, shape (n,); NaN if the signal is missing."""
    sign = -1 if usual_side(signal) == "low" else 1
    pool = POOLINGS[pooling]
    return np.array([sign * pool(t.signal(signal)[_result(t)]) for t in traces])


def _result(trace: Trace) -> slice:
    """The tokens of the result, without a blank before it that has a token of its own."""
    pieces = trace.pieces[: trace.content_end]
    blank = next((at for at, piece in enumerate(pieces) if piece.strip()), 0)
    return slice(blank, trace.content_end)
