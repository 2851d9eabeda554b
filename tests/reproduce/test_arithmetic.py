"""Figures of planted errors, from sums whose numbers are known."""

from __future__ import annotations

import json
import math

import pytest

from energy_guard.backends.base import ModelInfo
from energy_guard.energy import Row
from energy_guard.report.plots import arithmetic_plot
from energy_guard.report.reproduced import arithmetic_sheet
from energy_guard.reproduce.arithmetic import arithmetic_figures
from energy_guard.reproduce.planted_sums import OFFSETS, ReadSum, planted_sums
from energy_guard.trace import Step, Trace

INFO = ModelInfo("tiny", "00ff", backend="scripted")


def trace(nll: float, last: float) -> Trace:
    """Two tokens, the second with this nll; `last`: log-partition of the row after them."""
    rows = [Row(5.0, 0.0, 0.1, 1.0), Row(6.0, 0.0, 0.1, 1.0), Row(last, 0.0, 0.1, 1.0)]
    steps = [Step(1, b"1", 5.0 - 0.1, rows[0]), Step(2, b"2", 6.0 - nll, rows[1])]
    return Trace.from_steps(steps, last_row=rows[2])


def read(n: int) -> list[ReadSum]:
    """Results with larger errors have a higher nll; the row after tells nothing."""
    found = []
    for number, planted in enumerate(planted_sums(n, [9])):
        noise = 0.01 * number
        wrong = tuple(trace(0.2 + noise + at * 0.01 * n / 3, 7.0) for at in range(len(OFFSETS)))
        found.append(ReadSum(planted, trace(0.2 + noise, 7.0), wrong))
    return found


def test_each_size_of_error_has_the_auroc_of_every_signal() -> None:
    figures = arithmetic_figures(read(30), INFO)
    assert [cell["off_by"] for cell in figures["cells"]] == [list(each) for each in OFFSETS]
    nll = [cell["auroc"]["nll:mean"]["value"] for cell in figures["cells"]]
    assert nll == pytest.approx(
        [0.5, 1 - (20 * 20 / 2) / 900, 1 - (10 * 10 / 2) / 900, 1.0], abs=0.02
    )
    for cell in figures["cells"]:  # the rows are the same: spilled energy is nll and a constant
        spilled = cell["auroc"]["spilled_energy:mean"]["value"]
        assert spilled == cell["auroc"]["nll:mean"]["value"]
        assert cell["auroc"]["marginal_energy:mean"]["value"] == 0.5
        assert cell["sums"] == 30
    assert "NaN" not in json.dumps(figures)


def test_the_table_and_the_picture_have_every_size() -> None:
    figures = arithmetic_figures(read(30), INFO)
    sheet = arithmetic_sheet(figures)
    assert [row[0] for row in sheet.rows] == [f"9 digits, off by {a} to {b}" for a, b in OFFSETS]
    assert sheet.rows[3][sheet.headings.index("nll:mean")].startswith("1.000 (")
    svg = arithmetic_plot(figures)
    assert svg.count("9 digits, off by") == 4
    assert "spilled_energy:mean" in svg


def after_a_blank(found: Trace, nll: float) -> Trace:
    """The same result behind a blank with a token of its own, as base models write it."""
    row = Row(4.0, 0.0, 0.1, 1.0)
    blank = Step(3, b" ", 4.0 - nll, row)
    rows = [Row(level, 0.0, 0.1, 1.0) for level in (5.0, 6.0, 7.0)]
    logits = found.token_logit.tolist()
    steps = [Step(1, b"1", logits[0], rows[0]), Step(2, b"2", logits[1], rows[1])]
    return Trace.from_steps([blank, *steps], last_row=rows[2])


def test_a_blank_before_the_result_is_no_part_of_it() -> None:
    plain = read(12)
    base = [
        ReadSum(
            each.planted,
            after_a_blank(each.right, 9.0),
            tuple(after_a_blank(wrong, 8.0) for wrong in each.wrong),
        )
        for each in plain
    ]
    expected, found = arithmetic_figures(plain, INFO), arithmetic_figures(base, INFO)
    for was, cell in zip(expected["cells"], found["cells"], strict=True):
        assert cell["auroc"]["nll:max"] == was["auroc"]["nll:max"]
        assert cell["auroc"]["nll:mean"]["value"] == was["auroc"]["nll:mean"]["value"]


def test_a_signal_that_is_missing_has_a_reason_and_no_curve() -> None:
    short = [
        ReadSum(
            each.planted,
            Trace.from_steps([Step(1, b"1", 4.9, Row(5.0, 0.0, 0.1, 1.0))]),
            each.wrong,
        )
        for each in read(3)
    ]
    cell = arithmetic_figures(short, INFO)["cells"][0]
    missing = cell["auroc"]["spilled_energy:mean"]
    assert missing["value"] is None and "3 of 6 answers" in missing["reason"]
    assert "spilled_energy:mean" not in cell["roc"]
    assert math.isfinite(cell["auroc"]["nll:mean"]["value"] or math.nan)
    assert arithmetic_plot({"schema": 1, "model": {}, "cells": [cell]})
