"""`energy-guard label` as people and scripts use it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from energy_guard.backends import Scripted
from energy_guard.cli import calibrate as calibrate_module
from energy_guard.cli.evaluate import evaluate
from energy_guard.cli.label import label
from energy_guard.cli.score import score
from energy_guard.errors import InputError
from energy_guard.guard import Guard
from energy_guard.log import TraceLog
from energy_guard.questions.ask import collect
from energy_guard.questions.labels import LabelFile
from energy_guard.questions.rows import Question

ESCAPE = "\x1b]0;owned\x07Bergen"
QUESTIONS = [
    Question(f"q{n}", "towns", f"town {n}?", ("Oslo",), "A passage. " * 60 if n == 0 else None)
    for n in range(6)
]
SAID = ["Oslo", "Bergen", "Oslo", ESCAPE, "Oslo", "Bergen"]


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six answers of which the grader calls three right."""
    guard = Guard(Scripted.saying(*[[(text, 0.9)] for text in _in_asked_order()]), profile=None)
    collect(guard, QUESTIONS, path=tmp_path / "answers.jsonl")
    return tmp_path


def _in_asked_order() -> list[str]:
    """Questions with a passage are asked after the others."""
    return [*SAID[1:], SAID[0]]


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Put keys into standard input, one a line."""

    def use(keys: Sequence[str]) -> None:
        raw = "".join(f"{key}\n" for key in keys).encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))

    return use


def run(folder: Path, **options: Any) -> None:
    label(folder, **{"labeller": "ann", "second_pass": False, "report": False} | options)


def given(folder: Path, number: Any = 1) -> dict[str, str | None]:
    labels = LabelFile(folder / "answers.labels.jsonl").given(number)
    return {each.id: each.label for each in labels.values()}


def grades(folder: Path) -> dict[str, str]:
    lines = (folder / "answers.jsonl").read_text().splitlines()[1:]
    return {line["id"]: line["outcome"] for line in map(json.loads, lines)}


Press = Callable[[Sequence[str]], None]


def test_every_label_is_kept_and_work_goes_on_where_it_ended(folder: Path, press: Press) -> None:
    press("rw")
    run(folder)
    first = given(folder)
    assert sorted(map(str, first.values())) == ["right", "wrong"]
    press("fur")
    run(folder)
    assert len(given(folder)) == 5
    assert first.items() <= given(folder).items()


def test_the_grades_opinion_is_told_after_the_label_only(
    folder: Path, press: Press, capsys: pytest.CaptureFixture[str]
) -> None:
    press([])
    run(folder, report=False)
    assert "grader says" not in capsys.readouterr().out
    press("rrrrrr")
    run(folder)
    said = capsys.readouterr().out
    assert said.count("→ right; the grader says right\n") == 3
    assert said.count("→ right; the grader says wrong: you differ") == 3
    assert said.index("→ right") > said.index("answer: ")


def test_no_control_character_of_an_answer_reaches_the_terminal(
    folder: Path, press: Press, capsys: pytest.CaptureFixture[str]
) -> None:
    press("rrrrrr")
    run(folder)
    said = capsys.readouterr().out
    assert "owned" in said
    assert "\x1b" not in said
    assert "\x07" not in said


def test_skipping_and_going_back(folder: Path, press: Press) -> None:
    press("rwbsq")
    run(folder)
    assert list(given(folder).values()) == ["right"]
    press(["b", "q"])
    run(folder)
    assert list(given(folder).values()) == ["right"], "of an earlier run nothing is undone"


def test_a_script_with_a_line_that_is_no_key_stops_before_it_labels_other_answers(
    folder: Path, press: Press
) -> None:
    press(["r", "yes", "w"])
    with pytest.raises(InputError, match="'yes' is no key here"):
        run(folder)
    assert list(given(folder).values()) == ["right"]


def test_a_long_passage_is_cut_until_all_of_it_is_asked_for(
    folder: Path, press: Press, capsys: pytest.CaptureFixture[str]
) -> None:
    press("ssssss")
    run(folder)
    said = capsys.readouterr().out
    assert said.count("a all of it") == 1
    at = said.split("question: ")[1:]
    place = next(n for n, part in enumerate(at) if "town 0?" in part)
    press([*("s" * place), "a", "q"])
    run(folder)
    said = " ".join(capsys.readouterr().out.split())
    assert ("A passage. " * 60).strip() in said


def test_a_person_at_a_terminal_presses_single_keys_and_wrong_ones_do_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = iter(["x", "\x1b[A", "R", KeyboardInterrupt()])

    def getchar() -> str:
        key = next(keys)
        if isinstance(key, BaseException):
            raise key
        return key

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Terminal()))
    monkeypatch.setattr(typer, "getchar", getchar)
    run(folder)
    assert list(given(folder).values()) == ["right"]
    assert capsys.readouterr().out.count("no such key") == 2


def test_the_second_pass_is_of_what_was_labelled_and_tells_how_far_both_agree(
    folder: Path, press: Press, capsys: pytest.CaptureFixture[str]
) -> None:
    press("rrwwq")
    run(folder)
    press("rrrr")
    run(folder, second_pass=True)
    assert given(folder, 2).keys() == given(folder).keys()
    assert len(given(folder)) == 4
    capsys.readouterr()
    run(folder, report=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "labels: 4 by ann, the rest (2) by the grader (built-in)" in said
    assert "both passes say the same of 0.500 (0.150–0.850) of 4; kappa 0.00" in said


def label_all(folder: Path, outcome: str) -> None:
    """Label every answer without the command."""
    from energy_guard.questions.to_label import read_readable

    file, readables = read_readable(folder)
    labels = LabelFile(file.with_name("answers.labels.jsonl"))
    for each in readables:
        labels.add(outcome, name=each.id, digest=each.digest, labeller="ann", number=1)  # type: ignore[arg-type]


def test_an_evaluation_counts_labels_in_the_place_of_grades_and_tells_the_graders_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label_all(folder, "wrong")
    evaluate(None, from_traces=folder, out=folder / "out")
    results = json.loads((folder / "out" / "results.json").read_text())
    assert results["outcomes"]["wrong"] == 6
    assert results["labels"]["labels"] == {"ann": 6}
    agree = results["labels"]["agree"]
    assert (agree["right"]["value"], agree["wrong"]["value"], agree["all"]["value"]) == (0, 1, 0.5)
    said = capsys.readouterr().out
    assert "Labels: 6 by ann, the rest (0) by the grader (built-in)." in said
    assert grades(folder)["q0"] == "right", "what is stored stays the grader's"


def test_without_labels_the_tables_say_that_the_grader_made_them_all(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(None, from_traces=folder, out=folder / "out")
    assert "Labels: all (6) by the grader (built-in)." in capsys.readouterr().out


def test_labels_of_other_answers_are_counted_and_not_used(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label_all(folder, "wrong")
    lines = (folder / "answers.jsonl").read_text().splitlines()
    (folder / "answers.jsonl").write_text("\n".join(lines[:-2]) + "\n")
    run(folder, report=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 labels are of other answers than these and are not used" in said


def test_calibration_learns_from_labels_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label_all(folder, "refused")
    from energy_guard.questions.answered import read_answers

    _, answers = read_answers(folder / "answers.jsonl")
    found = calibrate_module._labelled(answers, folder / "answers.jsonl")
    assert {answered.outcome for answered in found} == {"refused"}
    assert "labels: 6 by ann" in capsys.readouterr().err


def test_the_entries_of_a_log_can_be_labelled_and_a_private_one_says_why_not(
    tmp_path: Path, press: Press
) -> None:
    for texts in (True, False):
        log = TraceLog(tmp_path / f"{texts}.jsonl", texts=texts)
        guard = Guard(Scripted.saying([("Oslo", 0.9)]), profile=None, log=log)
        guard.ask("Which town?")
    press("r")
    run(tmp_path / "True.jsonl")
    [only] = LabelFile(tmp_path / "True.labels.jsonl").given(1).values()
    assert only.label == "right"
    with pytest.raises(InputError, match="no answers with texts"):
        run(tmp_path / "False.jsonl")


def test_a_log_that_is_scored_again_shows_the_labels_that_were_given(
    tmp_path: Path, press: Press, capsys: pytest.CaptureFixture[str]
) -> None:
    log = TraceLog(tmp_path / "log.jsonl")
    guard = Guard(Scripted.saying([("Oslo", 0.9)], [("Bergen", 0.9)]), profile=None, log=log)
    guard.ask("Which town?")
    guard.ask("Which other town?")
    press("wq")
    run(tmp_path / "log.jsonl")
    [given] = LabelFile(tmp_path / "log.labels.jsonl").given(1).values()
    capsys.readouterr()
    score(from_log=str(tmp_path / "log.jsonl"), profile="none", as_json=True)
    results = json.loads(capsys.readouterr().out)["results"]
    labelled = int(given.id.removeprefix("entry ")) - 1
    assert [each["label"] for each in results] == [
        "wrong" if number == labelled else None for number in range(2)
    ]


def test_what_is_no_file_of_answers_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*answers\.jsonl"):
        run(tmp_path)
    (tmp_path / "x.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(InputError, match=r"x\.jsonl, line 1"):
        run(tmp_path / "x.jsonl")


def test_refusing_is_no_label_of_a_question_without_an_answer(
    tmp_path: Path, press: Press, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Question("q", "towns", "Which town?", (), answerable=False)]
    guard = Guard(Scripted.saying([("Oslo", 0.9)]), profile=None)
    collect(guard, rows, path=tmp_path / "answers.jsonl")
    press("f")
    with pytest.raises(InputError, match="'f' is no key here"):
        run(tmp_path)
    assert "gold: none: the right thing is to say so" in capsys.readouterr().out
