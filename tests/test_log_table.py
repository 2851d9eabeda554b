"""A log as Parquet is scored as the log is, row by row, whatever is wrong with one of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from energy_guard import Guard
from energy_guard.backends import ModelInfo, Scripted
from energy_guard.cli.app import app
from energy_guard.errors import InputError
from energy_guard.files import held
from energy_guard.log import LogEntry, TraceLog, read_log
from energy_guard.log_table import (
    COLUMNS,
    NEEDED,
    batches_in,
    entries_in,
    entry_of,
    write_table,
)
from energy_guard.profile.other_models import other_models
from energy_guard.profile.store import store, user_path
from energy_guard.request import Finished, Request

SAID = [("Ber", 0.97, "gen"), ("Os", 0.6, "lo"), ("Tur", 0.2, "ku"), ("…", 0.4, "é")]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers with spans, without, and one with bytes of a split character."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    backend = Scripted.saying(*([(one, p), (two, 0.9)] for one, p, two in SAID * 3))
    guard = Guard(backend, log=TraceLog(path), profile=None)
    for n in range(8):
        guard.ask(Request.chat(f"Which town, {n}?", context=("Oslo is a town.",) if n % 2 else ()))
    for n in range(4):
        guard.ask(f"Hi {n}!")
    return path


def run(*command: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, [str(part) for part in command])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def results_in(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(folder).to_pylist()
    return rows


def test_a_log_comes_back_from_parquet_as_it_was(log: Path, tmp_path: Path) -> None:
    entries = list(read_log(log))
    write_table(entries, tmp_path / "log.parquet")
    [batch] = batches_in(tmp_path / "log.parquet")
    back = list(entries_in(batch))
    assert len(back) == len(entries) == 12
    for was, now in zip(entries, back, strict=True):
        assert isinstance(now, LogEntry)
        assert now.trace.to_json() == was.trace.to_json()
        same = was.model_dump(exclude={"trace", "result"})
        assert now.model_dump(exclude={"trace", "result"}) == same
        assert (now.stored, now.located) == (was.stored, was.located)


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
@pytest.mark.parametrize("more", [[], ["--detector", "entropy:mean", "--locator", "whole"]])
def test_results_are_those_of_the_log(
    log: Path, tmp_path: Path, name: str, more: list[str]
) -> None:
    given = log
    if name == "log.parquet":
        given = tmp_path / name
        write_table(read_log(log), given)
    expected = run("score", "--from-log", log, "--json", *more)["results"]
    summary = run("score", "--from-log", given, "--out", tmp_path / "out", "--json", *more)
    found = results_in(tmp_path / "out")
    for name in ("verdict", "shown", "reason", "p_wrong", "score", "detector", "label"):
        assert [row[name] for row in found] == [each[name] for each in expected]
    spans = [each["span"] and each["span"]["text"] for each in expected]
    assert [row["span"] for row in found] == spans
    assert [row["row"] for row in found] == list(range(12))
    assert (summary["rows"], summary["failed"]) == (12, 0)


def test_a_row_that_cannot_be_scored_has_its_error_and_the_others_their_scores(
    log: Path, tmp_path: Path
) -> None:
    write_table(read_log(log), tmp_path / "log.parquet")
    rows = parquet.read_table(tmp_path / "log.parquet").to_pylist()
    rows[1]["margin"] = rows[1]["margin"][:-1]
    rows[2]["log_partition"] = None
    rows[3]["entropy"][0] = -5.0
    rows[4]["extras"] = "[not JSON"
    rows[5]["span_tokens"] = [None]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "bad.parquet")
    run("score", "--from-log", tmp_path / "log.parquet", "--out", tmp_path / "good", "--json")
    summary = run(
        "score", "--from-log", tmp_path / "bad.parquet", "--out", tmp_path / "o", "--json"
    )
    assert summary["failed"] == 5
    for good, bad in zip(results_in(tmp_path / "good"), results_in(tmp_path / "o"), strict=True):
        if 1 <= bad["row"] <= 5:
            assert (bad["verdict"], bad["shown"], bad["score"]) == ("unscored", False, None)
        else:
            assert bad == good
    errors = [row["error"] for row in results_in(tmp_path / "o")[1:4]]
    assert "do not fit together" in errors[0] and "log_partition" in errors[1]


def test_a_table_of_another_program_needs_few_columns_and_its_answers_are_found(
    log: Path, tmp_path: Path
) -> None:
    """float32 is enough, and the row after the last token may be missing."""
    write_table(read_log(log), tmp_path / "log.parquet")
    table = parquet.read_table(tmp_path / "log.parquet").select([*NEEDED, "question"])
    nll = arrow.array(
        [[float(np.float32(x)) for x in row] for row in table["token_logit"].to_pylist()],
        arrow.list_(arrow.float32()),
    )
    at = table.schema.get_field_index("token_logit")
    table = table.set_column(at, "token_logit", nll)
    parquet.write_table(table, tmp_path / "few.parquet")
    run("score", "--from-log", tmp_path / "few.parquet", "--out", tmp_path / "few", "--json")
    expected = run("score", "--from-log", log, "--locator", "automatic", "--json")["results"]
    for found, known in zip(results_in(tmp_path / "few")[:8], expected[:8], strict=True):
        assert found["span"] == known["span"]["text"]
        assert math.isclose(found["score"], known["score"], abs_tol=1e-5)


def test_an_answer_that_nobody_judged_is_found_when_it_is_scored(tmp_path: Path) -> None:
    backend = Scripted.saying([("Os", 0.6), ("lo", 0.9)])
    *_, end = backend.generate([Request.chat("Which town?")])
    assert isinstance(end, Finished)
    write_table([entry_of(end.trace, backend.info, question="Which town?")], tmp_path / "a.parquet")
    run("score", "--from-log", tmp_path / "a.parquet", "--out", tmp_path / "out", "--json")
    [row] = results_in(tmp_path / "out")
    assert (row["span"], round(row["score"], 2)) == ("Oslo", 0.51)


def test_what_is_no_log_is_refused_by_name(log: Path, tmp_path: Path) -> None:
    write_table(read_log(log), tmp_path / "log.parquet")
    table = parquet.read_table(tmp_path / "log.parquet").drop_columns(["margin"])
    parquet.write_table(table, tmp_path / "less.parquet")
    with pytest.raises(InputError, match=r"less\.parquet is no log: it lacks margin"):
        list(batches_in(tmp_path / "less.parquet"))
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        list(batches_in(tmp_path / "text.parquet"))
    private = TraceLog(tmp_path / "private.jsonl", texts=False)
    Guard(Scripted.saying([("Oslo", 0.9)]), log=private).ask("Which town?")
    with pytest.raises(InputError, match="private log"):
        write_table(read_log(private.path), tmp_path / "p.parquet")
    assert set(NEEDED) < set(COLUMNS)


def test_a_folder_of_results_is_gone_on_with_where_it_was_cut(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("energy_guard.log_table.ROWS", 5)
    command = ["score", "--from-log", log, "--out", tmp_path / "out", "--json"]
    run(*command)
    whole = results_in(tmp_path / "out")
    files = sorted((tmp_path / "out").glob("*.parquet"))
    assert len(files) == 3
    files[1].unlink()
    kept = files[0].stat().st_mtime_ns
    refused = CliRunner().invoke(app, [str(part) for part in command])
    assert isinstance(refused.exception, InputError) and "--resume" in refused.exception.hint
    run(*command, "--resume")
    assert results_in(tmp_path / "out") == whole
    assert files[0].stat().st_mtime_ns == kept
    other = CliRunner().invoke(app, [*map(str, command), "--resume", "--detector", "margin:min"])
    assert "by other rules" in str(other.exception)


@pytest.mark.parametrize(("kept", "known"), [(True, None), (False, "other models")])
def test_a_question_in_a_table_without_passages_is_known(
    tmp_path: Path, kept: bool, known: str | None
) -> None:
    """The profile needs to know what was asked; null, as of logs of version 0.1, does not say."""
    *_, end = Scripted.saying([("Os", 0.6), ("lo", 0.9)]).generate([Request.chat("Which town?")])
    assert isinstance(end, Finished)
    model = ModelInfo("unknown", "00ff" * 8, backend="llama-cpp")
    write_table([entry_of(end.trace, model, question="Which town?")], tmp_path / "a.parquet")
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    given = [{**row, "context": None} for row in rows]
    table = arrow.Table.from_pylist(given)
    parquet.write_table(table if kept else table.drop_columns(["context"]), tmp_path / "b.parquet")
    run("score", "--from-log", tmp_path / "b.parquet", "--out", tmp_path / "out", "--json")
    [row] = results_in(tmp_path / "out")
    assert row["p_wrong_from"] == known
    assert any("it is not used" in note for note in row["notes"]) == (known is None)


def test_a_log_that_fails_midway_leaves_no_shorter_table(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("energy_guard.log_table.ROWS", 5)
    write_table(read_log(log), tmp_path / "log.parquet")
    was = (tmp_path / "log.parquet").read_bytes()
    (tmp_path / "bad.jsonl").write_text(log.read_text() + "not JSON\n")
    for name in ("log.parquet", "new.parquet"):
        with pytest.raises(InputError, match="line 13"):
            write_table(read_log(tmp_path / "bad.jsonl"), tmp_path / name)
    assert (tmp_path / "log.parquet").read_bytes() == was
    assert {file.name for file in tmp_path.iterdir()} == {"bad.jsonl", "log.parquet"}


@pytest.mark.parametrize("column", ["model_fingerprint", "model_backend"])
@pytest.mark.parametrize("odd", ["f" * 300, "../" * 20, "a\0b"])
def test_a_row_of_what_is_no_model_has_no_profile_and_the_others_their_results(
    log: Path, tmp_path: Path, column: str, odd: str
) -> None:
    write_table(read_log(log), tmp_path / "log.parquet")
    rows = parquet.read_table(tmp_path / "log.parquet").to_pylist()
    rows[1][column] = odd
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "odd.parquet")
    summary = run(
        "score", "--from-log", tmp_path / "odd.parquet", "--out", tmp_path / "out", "--json"
    )
    assert (summary["rows"], summary["failed"]) == (12, 0)
    assert results_in(tmp_path / "out")[1]["p_wrong_from"] is None


def test_a_folder_is_not_gone_on_with_by_another_profile_nor_by_two_at_once(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --profile the rules are what is found for each model, and that may change."""
    monkeypatch.setattr("energy_guard.profile.store.user_data_path", lambda *_, **__: tmp_path)
    command = ["score", "--from-log", str(log), "--out", str(tmp_path / "out"), "--json"]
    run(*command)
    run(*command, "--resume")
    with held(tmp_path / "out" / "_score.lock"):
        busy = CliRunner().invoke(app, [*command, "--resume"])
    assert "another run is at work" in str(busy.exception)
    model = ModelInfo("unknown", "00ff" * 8, backend="llama-cpp")
    store(other_models().profile_of(model), user_path(model))
    other = CliRunner().invoke(app, [*command, "--resume"])
    assert isinstance(other.exception, InputError) and "by other rules" in str(other.exception)
