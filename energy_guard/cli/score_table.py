"""`energy-guard score --from-log … --out DIR`: a log of any size, into Parquet files of results."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.progress import MofNCompleteColumn, TimeElapsedColumn

from energy_guard.cli.screen import Console, progress, say_json, tell
from energy_guard.cli.spread import SpreadOptions
from energy_guard.errors import InputError
from energy_guard.evaluate.folder import versions
from energy_guard.files import held, write_whole
from energy_guard.json_text import read_json
from energy_guard.log import read_log
from energy_guard.log_table import arrow_module, batches_in, batches_of
from energy_guard.profile.store import own_digest
from energy_guard.score_table import TableScorer

if TYPE_CHECKING:
    import pyarrow as pa

Part = tuple[int, "pa.RecordBatch"]


def is_table(log: Path) -> bool:
    """Whether a log is Parquet: a file of that name, or a folder."""
    return log.is_dir() or log.suffix.casefold() == ".parquet"


def score_table(
    log: Path,
    out: Path,
    settings: dict[str, Any],
    spread: SpreadOptions,
    *,
    resume: bool,
    as_json: bool,
) -> None:
    """Score a log into a folder with a Parquet file for each part of it.

    Args:
        log: JSON lines, a Parquet file or a folder of them.
        out: the folder. `_made_with.json` in it says what its files are the results of.
        settings: as `Rescorer` takes them.
        spread: where the work is done.
        resume: whether the parts that are there already are kept.
        as_json: whether the summary is printed as JSON.

    Raises:
        InputError: the folder has results of something else, or may not be gone on with, or
            another run is at work in it.
    """
    with (
        _started(out, _made_with(log, settings), resume=resume),
        spread.mapping(TableScorer(settings)) as scored,
        progress(MofNCompleteColumn(), TimeElapsedColumn()) as shown,
    ):
        bar = shown.add_task("scoring", total=_count(log))

        def open_parts() -> Iterator[Part]:
            for begin, batch in _parts(log):
                if _file(out, begin).exists():
                    shown.advance(bar, batch.num_rows)
                else:
                    yield begin, batch

        for results in scored(open_parts()):
            _write(results, out)
            shown.advance(bar, results.num_rows)
    verdicts: Counter[str] = Counter()
    failed = 0
    for file in sorted(out.glob("*.parquet")):
        table = arrow_module().parquet.read_table(file, columns=["verdict", "error"])
        verdicts.update(table["verdict"].to_pylist())
        failed += len(table) - table["error"].null_count
    if failed:
        tell(f"{failed} rows could not be scored: their column error says why")
    if as_json:
        counts = {"rows": verdicts.total(), "verdicts": dict(verdicts), "failed": failed}
        say_json({"schema": 1, **counts, "out": str(out)})
        return
    Console().print(", ".join(f"{count} × {verdict}" for verdict, count in verdicts.items()))
    Console().print(str(out), soft_wrap=True)


def _parts(log: Path) -> Iterator[Part]:
    """The parts of a log, each with the number of its first row."""
    begin = 0
    reader = None if is_table(log) else read_log(log)
    for batch in batches_in(log) if reader is None else batches_of(reader):
        yield begin, batch
        begin += batch.num_rows
    for warning in reader.warnings if reader else ():
        tell(f"warning: {warning}")


def _count(log: Path) -> int | None:
    """How many rows there are; None if that would take as long as reading them."""
    arrow = arrow_module()
    if not is_table(log):
        return None
    try:
        return sum(int(arrow.parquet.read_metadata(file).num_rows) for file in _files(log))
    except (arrow.ArrowException, OSError):
        return None  # reading it will say what is wrong


def _files(log: Path) -> list[Path]:
    return sorted(log.glob("*.parquet")) if log.is_dir() else [log]


def _file(out: Path, begin: int) -> Path:
    return out / f"part-{begin:012d}.parquet"


def _write(results: pa.RecordBatch, out: Path) -> None:
    arrow = arrow_module()
    buffer = arrow.BufferOutputStream()
    table = arrow.Table.from_batches([results])
    arrow.parquet.write_table(table, buffer, compression="zstd")
    write_whole(_file(out, results["row"][0].as_py()), buffer.getvalue().to_pybytes())


def _made_with(log: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What results depend on, as JSON has it."""
    policy, profile = settings["policy"], settings["profile"]
    try:
        size = sum(file.stat().st_size for file in _files(log))
    except OSError as error:
        raise InputError(f"cannot read {log}: {error.strerror}") from error
    if profile == "auto":  # each model has its own: the shipped ones go with the version
        profile = f"auto {own_digest()}"
    given = {
        "log": log.name,
        "bytes": size,
        "version": versions()["energy-guard"],
        "policy": policy and policy.model_dump(mode="json"),
        "profile": _digest(profile) if hasattr(profile, "model_dump_json") else profile,
        **{name: settings[name] for name in ("detector", "locator", "support")},
    }
    return dict(json.loads(json.dumps(given)))


def _digest(profile: Any) -> str:
    return hashlib.sha256(profile.model_dump_json().encode()).hexdigest()[:32]


# Readers of a folder pass over what begins with an underscore.
_MADE_WITH: Final = "_made_with.json"
_LOCK: Final = "_score.lock"


@contextmanager
def _started(out: Path, made_with: dict[str, Any], *, resume: bool) -> Iterator[None]:
    """Begin a folder of results, or go on with one; meanwhile no other run does."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {out}: {error.strerror}", "Give another --out.") from error
    with held(out / _LOCK):
        _check(out, made_with, resume=resume)
        yield


def _check(out: Path, made_with: dict[str, Any], *, resume: bool) -> None:
    """Write what results depend on, or check that those that are there depend on the same."""
    file = out / _MADE_WITH
    if not any(out.glob("*.parquet")):  # nothing there, or a run that ended before its first part
        write_whole(file, json.dumps(made_with))
        return
    if not file.exists():
        raise InputError(f"{out} has Parquet files of something else", "Give another --out.")
    if not resume:
        raise InputError(
            f"{out} has results already", "Go on with --resume, or give another --out."
        )
    if read_json(file.read_text("utf-8")) != made_with:
        raise InputError(
            f"{out} has results of another log, or by other rules", "Give another --out."
        )
