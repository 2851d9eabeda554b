"""`energy-guard eval` from end to end, with a scripted model and with a tiny one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from neuron_probes import probe_of

from energy_guard.backends import Scripted
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.cli import evaluate as module
from energy_guard.cli.evaluate import evaluate
from energy_guard.errors import InputError
from energy_guard.evaluate.folder import choose, read_run
from energy_guard.neurons.read import neuron_shape
from energy_guard.profile.store import user_path
from energy_guard.questions.answered import AnswerFile
from energy_guard.questions.rows import read_rows
from energy_guard.questions.wording import kind_of

SCRIPT = "<script>alert(1)</script>"
PROGRAM = str(Path(sys.executable).with_name("energy-guard"))


class Stopped(BaseException):
    """Stands for a kill: nothing that handles errors sees it."""


def said(name: str) -> list[tuple[str, float]]:
    """What the scripted model answers: right ones surely, wrong ones less so, on the whole."""
    dice = random.Random(name)
    if name.startswith("sure"):
        return [("Oslo", 0.9)]
    right = dice.random() < 0.5
    p = min(max(dice.gauss(0.7 if right else 0.5, 0.2), 0.05), 0.97)
    return [("Oslo" if right else "Bergen" if dice.random() < 0.9 else SCRIPT, p), ("!", 0.9)]


def write_rows(path: Path, *names: str) -> Path:
    lines = [
        json.dumps(
            {"id": name, "task": name.split("-")[0], "question": f"{name}?", "answers": ["Oslo"]}
        )
        for name in names
    ]
    path.write_text("\n".join(lines))
    return path


def numbered(task: str, n: int) -> list[str]:
    return [f"{task}-{number}" for number in range(n)]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what is not said yet: a question that is asked twice gets no script."""

    def use(*names: str, more: Sequence[list[tuple[str, float]]] = (), skip: int = 0) -> None:
        backend = Scripted.saying(*[said(name) for name in names], *more)
        backend._played = skip
        monkeypatch.setattr(module.EngineOptions, "open", lambda _: backend)

    return use


def asked_order(data: Path, n: int = 300) -> list[str]:
    rows, _ = choose(read_rows([data]), n)
    return [row.id for row in sorted(rows, key=kind_of)]


def results_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return {key: value for key, value in found.items() if key != "command"}


def run(data: Path | None, out: Path, **options: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "model": "demo", "rows": 300, "resume": False, "from_traces": None, "baselines": 0,
        "told": 0, "backend": None, "detector": None, "locator": None, "n_ctx": None,
        "n_gpu_layers": None, "n_threads": None, "device": None, "dtype": None, "as_json": False,
    }  # fmt: skip
    evaluate([data] if data else None, out=out, **defaults | options)
    return results_of(out)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two tasks with enough of both classes, and one with right answers only."""
    place = tmp_path_factory.mktemp("evaluated")
    names = [*numbered("towns", 90), *numbered("cities", 80), *numbered("sure", 20)]
    data = write_rows(place / "data.jsonl", *names)
    with pytest.MonkeyPatch.context() as patch:
        backend = Scripted.saying(*[said(name) for name in asked_order(data)])
        patch.setattr(module.EngineOptions, "open", lambda _: backend)
        return place / "out", run(data, place / "out")


def test_every_signal_has_its_auroc_with_n_and_interval(
    evaluated: tuple[Path, dict[str, Any]],
) -> None:
    _, results = evaluated
    assert set(results["tasks"]) == {"towns", "cities", "sure"}
    towns = results["tasks"]["towns"]
    assert towns["n"] == 90 == sum(towns["outcomes"].values())
    assert len(towns["auroc"]) == 2 * 11 * 6 + 2
    for number in towns["auroc"].values():
        assert number["low"] <= number["value"] <= number["high"]
        assert number["n"] == 90
    assert towns["auroc"]["span.nll:max"]["value"] > 0.6
    assert results["means"]["tasks"] == ["towns", "cities"]
    assert set(results["means"]["gain"]) == {"fitted in domain"}, "one other task: no pool"


def test_one_class_only_is_said_and_no_auroc_invented(
    evaluated: tuple[Path, dict[str, Any]],
) -> None:
    folder, results = evaluated
    sure = results["tasks"]["sure"]
    assert sure["reason"] == "all 20 located answers are right: nothing to tell apart"
    assert "auroc" not in sure
    assert sure["reason"] in (folder / "report.html").read_text()


def test_the_guard_is_judged_on_answers_that_it_has_not_seen(
    evaluated: tuple[Path, dict[str, Any]],
) -> None:
    _, results = evaluated
    guard = results["pooled"]["one_for_all"]
    assert guard["n"] == 190
    assert [row["target"] for row in guard["targets"]] == [0.0, 0.5, 0.75, 0.9]
    at_zero, *_, at_most = guard["targets"]
    assert at_zero["always"]["value"] == pytest.approx(results["outcomes"]["right"] / 190)
    assert at_most["guard"]["value"] > at_most["always"]["value"]
    assert at_most["oracle"]["value"] == pytest.approx(results["outcomes"]["right"] / 190)
    assert guard["calibration_error"]["value"] is None, "it needs 2,000 rows"
    assert (
        sum(guard["histogram"]["right"] + guard["histogram"]["wrong"])
        == 190 - (guard["without_p_wrong"])
    )


def test_scored_again_from_traces_it_is_the_same(
    evaluated: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, results = evaluated
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: pytest.fail("a model was loaded"))
    assert run(None, tmp_path / "again", from_traces=folder) == results
    assert (tmp_path / "again" / "report.html").read_text().count("<h2>") > 5
    one_file = run(None, tmp_path / "file", from_traces=folder / "answers.jsonl")
    assert one_file["pooled"].keys() == results["pooled"].keys()


def test_another_locator_and_detector_from_traces(
    evaluated: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, results = evaluated
    options: dict[str, Any] = {"from_traces": folder, "locator": "regex:(Oslo)"}
    other = run(None, tmp_path / "out", **options, detector="entropy:mean:low")
    assert other["made_with"]["locator"] == "regex:(Oslo)"
    assert other["detector"] == "entropy:mean:low"
    towns = other["tasks"]["towns"]
    assert towns["not_located"] == towns["outcomes"]["wrong"] > 0, "only right ones say Oslo"
    assert results["tasks"]["towns"]["not_located"] == 0
    with pytest.raises(InputError, match="no locator"):
        run(None, tmp_path / "out", from_traces=folder, locator="nowhere")


def test_text_from_the_model_and_from_the_data_is_escaped(
    tmp_path: Path, model: Callable[..., None]
) -> None:
    names = [f"{SCRIPT}$x$-{number}" for number in range(60)]
    data = write_rows(tmp_path / "data.jsonl", *names)
    model(*asked_order(data))
    results = run(data, tmp_path / "out")
    wrong = [each["answer"] for each in results["examples"]["catches"]]
    wrong += [each["answer"] for each in results["examples"]["misses"]]
    assert wrong
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("point", random.Random(7).sample(range(24), 20))
def test_killed_and_resumed_it_is_the_same_and_nothing_is_asked_twice(
    tmp_path: Path, model: Callable[..., None], monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    data = write_rows(tmp_path / "d.jsonl", *numbered("towns", 14), *numbered("cities", 10))
    order = asked_order(data)
    model(*order)
    whole = run(data, tmp_path / "whole")
    model(*order)
    append, done = AnswerFile.append, []

    def kill(self: AnswerFile, answered: Any) -> None:
        if len(done) == point:
            raise Stopped
        done.append(True)
        append(self, answered)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(AnswerFile, "append", kill)
        run(data, tmp_path / "cut")
    with pytest.raises(InputError, match="--resume"):
        run(data, tmp_path / "cut")
    model(*order, skip=point)
    assert run(data, tmp_path / "cut", resume=True) == whole
    written = [(tmp_path / name / "answers.jsonl").read_bytes() for name in ("whole", "cut")]
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ('{"id": "b", "question": "q?"}', "answers"),
        ('{"id": "b", "question": "q?", "answers": []}', "answers"),
        ('{"id": "b", "question": 3, "answers": ["x"]}', "question"),
        ('{"id": "a", "question": "p?", "answers": ["x"]}', "was used"),
    ],
)
def test_bad_rows_are_named_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, why: str
) -> None:
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: pytest.fail("a model was loaded"))
    data = tmp_path / "bad.jsonl"
    data.write_text('{"id": "a", "question": "q?", "answers": ["x"]}\n' + line)
    with pytest.raises(InputError, match=rf"bad\.jsonl, line 2: .*{why}"):
        run(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_evaluated_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--from-traces"):
        run(None, tmp_path / "out")
    data = write_rows(tmp_path / "d.jsonl", "a-1")
    with pytest.raises(InputError, match="asks no questions"):
        run(data, tmp_path / "out", from_traces=tmp_path)
    with pytest.raises(InputError, match="cannot read"):
        run(None, tmp_path / "out", from_traces=tmp_path / "nowhere")


def test_the_same_rows_everywhere_and_more_keep_those_that_were_there(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", *numbered("towns", 50), *numbered("cities", 5))
    rows = read_rows([data])
    few, more = choose(rows, 10)[0], choose(rows[::-1], 20)[0]
    assert {row.id for row in few} < {row.id for row in more}
    assert [row.task for row in few].count("towns") == 10
    assert [row.task for row in few].count("cities") == 5


def test_questions_that_do_not_fit_are_counted(tmp_path: Path, model: Callable[..., None]) -> None:
    data = write_rows(tmp_path / "d.jsonl", "towns-1", "towns-2")
    long = {"id": "l", "task": "towns", "question": "why " * 5000 + "?", "answers": ["x"]}
    with data.open("a") as file:
        file.write("\n" + json.dumps(long))
    model(*asked_order(write_rows(tmp_path / "short.jsonl", "towns-1", "towns-2")))
    results = run(data, tmp_path / "out")
    assert results["too_long"] == {"towns": 1}
    assert results["n"] == 2


def test_baselines_are_measured_on_a_subsample_and_kept(
    tmp_path: Path, model: Callable[..., None]
) -> None:
    data = write_rows(tmp_path / "d.jsonl", *numbered("towns", 40))
    chosen, _ = choose(choose(read_rows([data]), 300)[0], 20)
    more: list[list[tuple[str, float]]] = []
    for row in chosen:
        right = said(row.id)[0][0] == "Oslo"
        more += [[("True", 0.8 if right else 0.3)], [("False", 0.2 if right else 0.7)]]
        more += [said(row.id)] * (4 if right else 1) + [[("Turku", 0.5)]] * (1 if right else 4)
    model(*asked_order(data), more=more)
    results = run(data, tmp_path / "out", baselines=20)
    baselines = results["tasks"]["towns"]["baselines"]
    assert baselines["p(true)"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 20} | (
        {"note": baselines["p(true)"]["note"]}
    )
    assert baselines["agreement"]["value"] == 1.0
    _, answers, _ = read_run(tmp_path / "out")
    measured = [a.measured for a in answers if a.measured]
    assert len(measured) == 20
    assert {m["agreement"] for m in measured} == {0.8, 0.2}
    assert {round(m["p(true)"], 6) for m in measured} == {0.8, 0.3}
    file = tmp_path / "out" / "baselines.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    model(*asked_order(data), more=more, skip=40 + 19 * 7)
    assert run(data, tmp_path / "out", baselines=20, resume=True) == results
    assert file.read_bytes() == whole


def test_told_the_rule_the_model_may_decline(tmp_path: Path, model: Callable[..., None]) -> None:
    data = write_rows(tmp_path / "d.jsonl", *numbered("towns", 12))
    told = asked_order(data)
    answers = [[("I don't know.", 0.9)]] * 12 + [said(name) for name in told] * 2
    model(*told, more=answers)
    half, three, nine = run(data, tmp_path / "out", told=12)["told"]
    assert (half["target"], half["declined"], half["told"]["value"]) == (0.5, 12, 0.0)
    assert three["told"]["value"] == three["untold"]["value"] != 0
    assert nine["target"] == 0.9


def start(model_path: Path, data: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    options = ["--model", model_path, "--out", out, "--n-ctx", "2048", "--n-threads", "1", *more]
    command = [PROGRAM, "eval", data, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_real_engine_killed_and_resumed(tmp_path: Path, tiny_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", *numbered("towns", 30))
    with start(tiny_path, data, tmp_path / "whole", "--json") as process:
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    assert json.loads(out)["n"] == 30, "nothing else on standard output"
    written = tmp_path / "cut" / "answers.jsonl"
    for lines in (3, 11, 20):
        more = ["--resume"] if lines > 3 else []
        with start(tiny_path, data, tmp_path / "cut", *more) as process:
            while not written.exists() or written.read_bytes().count(b"\n") < lines:
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
    with start(tiny_path, data, tmp_path / "cut", "--resume") as process:
        process.communicate(timeout=200)
    assert process.returncode == 0
    assert written.read_bytes() == (tmp_path / "whole" / "answers.jsonl").read_bytes()
    assert results_of(tmp_path / "cut") == results_of(tmp_path / "whole")


OWN = (
    ("What is the capital of Italy?", "Rome"),
    ("What is the capital of Japan?", "Tokyo"),
    ("What is the capital of Mongolia?", "Ulaanbaatar"),
    ("What colour is snow?", "white"),
    ("How many legs has a spider?", "8"),
    ("Who wrote Pan Tadeusz?", "Adam Mickiewicz"),
    ("What is the chemical symbol for gold?", "Au"),
    ("What is the chemical symbol for tungsten?", "W"),
    ("In which year did the First World War begin?", "1914"),
    ("What is the largest planet of the solar system?", "Jupiter"),
    ("Which river flows through Vienna?", "Danube"),
    ("Who discovered oxygen in Uppsala?", "Carl Wilhelm Scheele"),
)


@pytest.mark.model
@pytest.mark.slow
def test_the_embedded_model(
    tmp_path: Path,
    demo: LlamaCpp,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [
        json.dumps({"id": str(n), "task": "own", "question": question, "answers": [answer]})
        for n, (question, answer) in enumerate(OWN)
    ]
    data = tmp_path / "own.jsonl"
    data.write_text("\n".join(lines))
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: demo)
    own = run(data, tmp_path / "out", baselines=2)["tasks"]["own"]
    assert own["n"] == 12
    assert own["outcomes"]["right"] >= 3
    assert own["outcomes"]["wrong"] >= 2
    assert own["auroc"]["span.nll:max"]["note"].startswith("only")
    measured = (tmp_path / "out" / "baselines.jsonl").read_text().splitlines()
    assert all(0 < json.loads(line)["measured"]["p(true)"] < 1 for line in measured)
    out, progress = capsys.readouterr()
    assert "What the model answered" in out
    assert "own" in progress


@pytest.mark.model
def test_a_probe_is_watched_while_the_model_is_asked(
    tmp_path: Path, demo: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = probe_of(demo.info, shape=neuron_shape(demo))
    probe.store(tmp_path / "probe.json")
    data = tmp_path / "own.jsonl"
    lines = [
        json.dumps({"id": str(n), "task": "own", "question": question, "answers": [answer]})
        for n, (question, answer) in enumerate((OWN[1], OWN[2], OWN[6]))
    ]
    data.write_text("\n".join(lines))
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: demo)
    named = f"neurons:{tmp_path / 'probe.json'}"
    results = run(data, tmp_path / "out", detector=named)
    assert results["detector"] == results["made_with"]["neurons"] == probe.name
    assert 0 <= results["tasks"]["own"]["auroc"][probe.name]["value"] <= 1
    assert probe.name in (tmp_path / "out" / "report.html").read_text()
    assert run(None, tmp_path / "again", from_traces=tmp_path / "out", detector=named) == results
    other = probe_of(demo.info, shape=neuron_shape(demo), intercept=1.0)
    other.store(tmp_path / "other.json")
    with pytest.raises(InputError, match="without watching"):
        run(
            None,
            tmp_path / "again",
            from_traces=tmp_path / "out",
            detector=f"neurons:{tmp_path / 'other.json'}",
        )


def test_bad_rows_end_the_program_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}")
    command = [PROGRAM, "eval", tmp_path / "bad.jsonl", "--model", tmp_path / "no.gguf"]
    bad = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    assert bad.returncode == 2
    assert b"bad.jsonl, line 1" in bad.stderr
    assert bad.stdout == b""


def profile_file(path: Path, backend: Scripted, **more: Any) -> Path:
    calibration = {"slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9}
    info = {"model": backend.info.fingerprint, "backend": backend.info.backend, "mode": "chat"}
    rules = {"detector": "nll:max", "locator": "automatic", "calibration": calibration}
    path.write_text(json.dumps({**info, **rules, **more}))
    return path


@pytest.mark.parametrize(
    ("given", "asked"),
    [({}, "Be brief."), ({"system": "Say it."}, "Say it."), ({"system": ""}, "")],
)
def test_a_profile_is_tried_with_its_own_wording_unless_the_user_names_one(
    tmp_path: Path, model: Callable[..., None], given: dict[str, Any], asked: str
) -> None:
    names = numbered("towns", 30)
    data = write_rows(tmp_path / "data.jsonl", *names)
    backend = Scripted.saying(*map(said, names))
    profile = profile_file(tmp_path / "p.json", backend, system_prompt="Be brief.")
    model(*asked_order(data))
    found = run(data, tmp_path / "out", profile=str(profile), **given)
    assert found["made_with"]["wording"] == asked
    another = "the profile was made with another system prompt" in found["profile"]["notes"]
    assert another == (asked != "Be brief.")
    again = run(None, tmp_path / "again", from_traces=tmp_path / "out", profile=str(profile))
    assert again["profile"]["notes"] == found["profile"]["notes"]


def test_a_profile_that_is_found_for_the_model_and_not_tried_is_named(
    tmp_path: Path,
    model: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    names = numbered("towns", 2)
    data = write_rows(tmp_path / "data.jsonl", *names)
    backend = Scripted.saying(*map(said, names))
    own = user_path(backend.info)
    own.parent.mkdir(parents=True)
    profile_file(own, backend)
    for out, given in {"untried": {}, "tried": {"profile": str(own)}}.items():
        model(*asked_order(data))
        run(data, tmp_path / out, **given)
        assert (f"--profile {own}" in capsys.readouterr().err) == (out == "untried")
