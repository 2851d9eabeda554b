"""Tables: CSV, TSV and Parquet."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from energy_guard.errors import InputError
from energy_guard.extras import needs_extra
from energy_guard.questions.reading.record import Record

PARQUET: Final = b"PAR1"
"""What a Parquet file begins with."""

_DELIMITERS: Final = ",;\t"
_EMPTY: Final = ("", "NaN", "nan")
"""Cells with nothing in them, as pandas writes them."""


def csv_records(text: str, path: Path, *, delimiter: str | None = None) -> list[Record]:
    """Read a table with its header line.

    Cells stay as they are written, but for what pandas makes of other columns: empty cells become
    None, columns of true and false become bool, and columns of whole numbers that end in ".0",
    as those with gaps do, lose it.

    Args:
        text: All of the file.
        path: For messages.
        delimiter: What stands between cells; None: a comma, semicolon or tab, whichever the
            header line has most of.

    Raises:
        InputError: Lines and quotes do not make a table; names the line.

    """
    text = text.replace("\r\n", "\n")  # in quoted cells, too
    header = text.partition("\n")[0]
    between = delimiter or max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    places: list[str] = []
    rows: list[list[str | None]] = []
    names: list[str] | None = None
    begins = 1
    try:
        for cells in reader:
            place, begins = f"{path}, line {begins}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if names is None:
                names = [cell.strip() for cell in cells]
                _check_names(names, place)
                continue
            if len(cells) != len(names):
                raise InputError(
                    f"{place}: there are {len(cells)} cells under {len(names)} headings",
                    'Put cells with a comma or a line break in them between ": "York, old".',
                )
            places.append(place)
            rows.append([None if cell.strip() in _EMPTY else cell for cell in cells])
    except csv.Error as error:
        raise InputError(
            f"{path}, line {begins}: this is no row of a table: {error}",
            'Write a " inside a cell twice, and end lines as usual.',
        ) from error
    columns = [_column(cells) for cells in zip(*rows, strict=True)]
    return [
        Record(place, {n: cell for n, cell in zip(names or (), cells, strict=True) if n}, True)
        for place, cells in zip(places, zip(*columns, strict=True), strict=True)
    ]


def parquet_records(raw: bytes, path: Path) -> list[Record]:
    """Read a Parquet file.

    Raises:
        InputError: It is damaged, or two columns share a name.
        MissingExtraError: pyarrow is not installed.

    """
    with needs_extra("eval"):
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    try:
        table = parquet.read_table(io.BytesIO(raw))
    except (arrow.ArrowException, OSError) as error:
        message = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as Parquet: {message}", "Write it anew."
        ) from error
    _check_names(table.column_names, str(path))
    return [
        Record(f"{path}, row {number}", values)
        for number, values in enumerate(table.to_pylist(), 1)
    ]


def _column(cells: Sequence[str | None]) -> list[str | bool | None]:
    """The cells of one column, which say together of what type they are."""
    filled = [cell for cell in cells if cell is not None]
    if all(cell.strip().casefold() in _BOOLS for cell in filled):
        return [None if cell is None else _BOOLS[cell.strip().casefold()] for cell in cells]
    if all(_WHOLE.fullmatch(cell.strip()) for cell in filled):
        return [None if cell is None else cell.strip().removesuffix(".0") for cell in cells]
    return list(cells)


_BOOLS: Final = {"true": True, "false": False}
_WHOLE: Final = re.compile(r"-?\d+\.0")


def _check_names(names: Sequence[str], place: str) -> None:
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise InputError(f"{place}: two columns are called {twice[0]!r}", "Rename one of them.")
