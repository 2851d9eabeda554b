"""A log as Parquet: one row an answer, and each number of its tokens in a list.

For logs of millions of answers, and for answers of another program that has these numbers. All
numbers are exact. `NEEDED` columns have to be there, the other `COLUMNS` may be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.errors import InputError
from energy_guard.extras import needs_extra
from energy_guard.files import writing_whole
from energy_guard.json_text import read_json
from energy_guard.log import LogEntry
from energy_guard.trace import SCHEMA, Trace, extra_from_json, extras_to_json

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

ROWS: Final = 10_000
"""Answers that are read, scored and written at once: some tens of megabytes."""

_NUMBERS: Final = ("token_logit", "entropy", "margin", "log_partition", "row_mean")
_FLAGS: Final = ("inverse_temperature", "reasoning_open", "log_probabilities")

COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # the trace: see `energy_guard.trace.Trace`
        "ids": "list<int64>",
        "pieces": "list<binary>",
        **dict.fromkeys(_NUMBERS, "list<double>"),
        "content_bytes": "int64",
        "finish_reason": "string",
        "prompt_tokens": "int64",
        "inverse_temperature": "double",
        "reasoning_open": "bool",
        "log_probabilities": "bool",
        "extras": "string",
        # the model
        "model_name": "string",
        "model_fingerprint": "string",
        "model_backend": "string",
        # what was asked, and how: see `energy_guard.log`
        "question": "string",
        "choices": "list<string>",
        "context": "list<string>",
        "system_prompt": "string",
        "mode": "string",
        "scoring": "string",
        # what came of it when it was written
        "time": "string",
        "locator": "string",
        "nothing_to_check": "bool",
        "stopped": "string",
        "unusable": "string",
        "claims": "list<list<int64>>",
        "verdict": "string",
        "span_tokens": "list<int64>",
        "span_text": "string",
        "label": "string",
    }
)
"""What each column holds, as Arrow calls its type. pieces: the bytes of each token. extras: JSON.
context: empty if there were no passages, as without the column; null if that is not known.
locator: none if the exact answer was not looked for yet; then that is done when it is scored."""

NEEDED: Final = ("ids", "pieces", *_NUMBERS, "finish_reason", "model_fingerprint", "model_backend")
"""Columns that no table goes without."""


def arrow_module() -> Any:
    """Return pyarrow, with what reads and writes Parquet; MissingExtraError without it."""
    with needs_extra("eval"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow


def entry_of(
    trace: Trace,
    model: ModelInfo,
    *,
    question: str | None = None,
    choices: Sequence[str] = (),
    context: Sequence[str] = (),
    mode: Literal["chat", "raw"] = "chat",
) -> LogEntry:
    """Return the entry of an answer that nobody has judged yet.

    Args:
        trace: its numbers.
        model: which model wrote it.
        question: what was asked, if it is known.
        choices: among which the answer is.
        context: its passages.
        mode: whether a chat template was applied.
    """
    return _entry(
        {
            **_of_trace(trace),
            **_of_model(model.name, model.fingerprint, model.backend),
            "question": question,
            "choices": choices,
            "context": context,
            "mode": mode,
        }
    )


def write_table(entries: Iterable[LogEntry], path: Path) -> None:
    """Write a log as one Parquet file, some thousands of answers at a time.

    Args:
        entries: of a log with texts, such as `read_log` gives.
        path: the file; what is there is replaced when all of the log is written.

    Raises:
        InputError: the log cannot be read, or is private: then it has no numbers of tokens.
        MissingExtraError: pyarrow is not installed.
        OSError: the file cannot be written.
    """
    arrow = arrow_module()

    with (
        writing_whole(path) as file,
        arrow.parquet.ParquetWriter(file, _schema(), compression="zstd") as writer,
    ):
        for batch in batches_of(entries):
            writer.write_batch(batch)


def batches_of(entries: Iterable[LogEntry]) -> Iterator[pa.RecordBatch]:
    """Yield entries as tables of `ROWS`; the errors are those of `write_table`."""
    arrow = arrow_module()

    coming = iter(entries)
    while rows := [_row(entry) for entry in islice(coming, ROWS)]:
        yield arrow.RecordBatch.from_pylist(rows, _schema())


def batches_in(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield a table as parts of at most `ROWS`.

    Args:
        path: a Parquet file, or a folder of them, which are read in the order of their names.

    Raises:
        InputError: a file cannot be read, or lacks a column.
        MissingExtraError: pyarrow is not installed.
    """
    arrow = arrow_module()

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} has no *.parquet", "Give a log as Parquet, or the file of one.")
    for file in files:
        try:
            opened = arrow.parquet.ParquetFile(file)
            missing = [name for name in NEEDED if name not in opened.schema_arrow.names]
            if missing:
                raise InputError(
                    f"{file} is no log: it lacks {', '.join(missing)}",
                    "energy_guard.log_table says what each column holds.",
                )
            known = [name for name in opened.schema_arrow.names if name in COLUMNS]
            yield from opened.iter_batches(ROWS, columns=known)
        except (arrow.ArrowException, OSError) as error:
            what = str(error).splitlines()[0]
            raise InputError(
                f"{file} cannot be read as Parquet: {what}", "Write it anew."
            ) from error


def entries_in(batch: pa.RecordBatch) -> Iterator[LogEntry | InputError]:
    """Yield the entry of each row, or why it is none.

    Raises:
        InputError: a column has another type.
    """
    arrow = arrow_module()

    try:
        columns = [_values(batch.column(name).cast(_type(name))) for name in batch.schema.names]
    except arrow.ArrowException as error:
        raise InputError(
            f"a column has another type: {error}", "See energy_guard.log_table."
        ) from error
    for values in zip(*columns, strict=True):
        named = zip(batch.schema.names, values, strict=True)
        row = {name: value for name, value in named if value is not None}
        if "question" in row and "context" not in batch.schema.names:
            row["context"] = ()  # who asks and has no such column gave none; null is not known
        try:
            yield _entry(row)
        except InputError as error:
            yield error


def _schema() -> pa.Schema:
    arrow = arrow_module()
    return arrow.schema([(name, _type(name)) for name in COLUMNS])


def _type(name: str) -> pa.DataType:
    arrow = arrow_module()
    *lists, inner = COLUMNS[name].replace(">", "").split("list<")
    kind = arrow.type_for_alias(inner)
    for _ in lists:
        kind = arrow.list_(kind)
    return kind


def _values(column: pa.Array) -> Sequence[Any]:
    """The values of a column; lists of numbers as arrays that share its memory."""
    arrow = arrow_module()
    kind = column.type
    if not (arrow.types.is_list(kind) and arrow.types.is_primitive(kind.value_type)):
        return list(column.to_pylist())
    if column.values.null_count and arrow.types.is_integer(kind.value_type):
        # One missing number would make floats of those of all other rows.
        return [None if row is None else np.array(row) for row in column.to_pylist()]
    ends = column.offsets.to_numpy()
    numbers = column.values.to_numpy(zero_copy_only=False)
    valid = column.is_valid().to_pylist()
    pairs = zip(pairwise(ends), valid, strict=True)
    return [numbers[begin:end] if there else None for (begin, end), there in pairs]


def _entry(row: Mapping[str, Any]) -> LogEntry:
    """The entry of a row, whose missing values are left out."""
    missing = [name for name in NEEDED if name not in row]
    if missing:
        raise InputError(f"the row has no {', '.join(missing)}")
    pieces = tuple(row["pieces"])
    if None in pieces:
        raise InputError("a piece is missing")
    span = row.get("span_tokens")
    return LogEntry(
        schema=SCHEMA,
        time=row.get("time", ""),
        texts=True,
        question=row.get("question"),
        choices=tuple(row.get("choices", ())),
        context=row.get("context"),
        system_prompt=row.get("system_prompt"),
        mode=row.get("mode", "chat"),
        scoring=row.get("scoring", "token-by-token"),
        locator=row.get("locator", ""),
        nothing_to_check=row.get("nothing_to_check", False),
        stopped=row.get("stopped"),
        unusable=row.get("unusable"),
        claims=row.get("claims"),
        label=row.get("label"),
        result={
            "model": {
                "name": row.get("model_name", ""),
                "fingerprint": row["model_fingerprint"],
                "backend": row["model_backend"],
            },
            "verdict": row.get("verdict", "unscored"),
            "span": None
            if span is None
            else {"tokens": span.tolist(), "text": row.get("span_text")},
        },
        trace=Trace(
            ids=row["ids"],
            pieces=pieces,
            **{name: row[name] for name in _NUMBERS},
            content_bytes=row.get("content_bytes", sum(map(len, pieces))),
            finish_reason=row["finish_reason"],
            prompt_tokens=row.get("prompt_tokens", 0),
            **{name: row[name] for name in _FLAGS if name in row},
            extras=_extras(row.get("extras", "{}")),
        ),
    )


def _extras(text: str) -> dict[str, npt.NDArray[Any]]:
    try:
        return {name: extra_from_json(values) for name, values in read_json(text).items()}
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"extras is no JSON object of arrays: {error}") from error


def _row(entry: LogEntry) -> dict[str, Any]:
    """What of an entry stands in the table."""
    if not entry.texts:
        raise InputError(
            "a private log has no numbers of tokens to put into a table", "Score it as it is."
        )
    stored = entry.stored
    asked = ("question", "choices", "context", "system_prompt", "mode", "scoring")
    came = ("time", "locator", "nothing_to_check", "stopped", "unusable", "claims", "label")
    return {
        **_of_trace(entry.trace),
        **_of_model(**stored.model.model_dump()),
        **{name: getattr(entry, name) for name in (*asked, *came)},
        "verdict": stored.verdict,
        "span_tokens": stored.span and stored.span.tokens,
        "span_text": stored.span and stored.span.text,
    }


def _of_trace(trace: Trace) -> dict[str, Any]:
    same = ("content_bytes", "finish_reason", "prompt_tokens", "ids", "pieces", *_NUMBERS, *_FLAGS)
    extras = json.dumps(extras_to_json(trace.extras))
    return {**{name: getattr(trace, name) for name in same}, "extras": extras}


def _of_model(name: str, fingerprint: str, backend: str) -> dict[str, Any]:
    return {"model_name": name, "model_fingerprint": fingerprint, "model_backend": backend}
