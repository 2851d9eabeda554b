"""The probe on hidden states in an evaluation: no label is seen, nothing is read twice."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from tiny_models import byte_tokenizer, tiny_model

from energy_guard.backends import Scripted
from energy_guard.backends.base import HiddenStates
from energy_guard.backends.transformers import Transformers
from energy_guard.calibrate.detector import folds_of
from energy_guard.cli import evaluate as module
from energy_guard.cli.evaluate import evaluate
from energy_guard.decide import Attempt
from energy_guard.energy import Row
from energy_guard.errors import InputError
from energy_guard.evaluate.folder import read_run
from energy_guard.evaluate.folds import CrossFitted
from energy_guard.evaluate.paired_auroc import Risk, aurocs
from energy_guard.evaluate.references import hidden_states as stored
from energy_guard.evaluate.references.hidden_state_probe import ELSEWHERE, PROBE, probes
from energy_guard.evaluate.summary import summarise
from energy_guard.evaluate.task_arrays import Task, examples, tasks_of
from energy_guard.locate import Span
from energy_guard.questions.answered import Answered
from energy_guard.questions.rows import read_rows
from energy_guard.questions.wording import Wording, request_of
from energy_guard.report.evaluation import evaluation_view
from energy_guard.request import Request
from energy_guard.score import Unscored
from energy_guard.trace import Step, Trace

WIDTH = 24


def answer(name: str, wrong: bool, values: Any, task: str = "t") -> Answered:
    rng = np.random.default_rng(sum(name.encode()))
    rows = [Row(9.0 + t, 0.1 * t, 0.5 + rng.random(), 1.0) for t in range(3)]
    steps = [Step(t, f" w{t}".encode(), 8.5 + t - rng.random(), rows[t]) for t in range(2)]
    attempt = Attempt(Trace.from_steps(steps, rows[-1]), Span((0, 1), "w"), Unscored(""))
    states = HiddenStates(1, (1, 2), np.asarray(values, dtype=np.float32))
    outcome: Any = "wrong" if wrong else "right"
    return Answered(
        name, task, f"{name}?", None, (), True, outcome, (attempt,), stored_states=states
    )


def answers(
    strength: float, seed: int = 0, n: int = 100, task: str = "t", shift: float = 0.0
) -> list[Answered]:
    """Half of them wrong; one direction of the states tells, the stronger the more."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(n) < n / 2
    direction = np.random.default_rng(99).normal(size=(2, WIDTH)) / np.sqrt(2 * WIDTH)
    noise = rng.normal(size=(n, 2, WIDTH)) + shift
    values = noise + strength * np.where(wrong, 1, -1)[:, None, None] * direction
    rows = zip(wrong.tolist(), values, strict=True)
    return [answer(f"{task}{i}", w, v, task) for i, (w, v) in enumerate(rows)]


def in_domain(task: Task) -> float:
    return value(probes(task, [])[PROBE], task)


def value(risk: Risk, task: Task) -> float:
    return aurocs({"risk": risk}, task.wrong).values["risk"]


def test_what_states_tell_is_found() -> None:
    (clear,), (faint,) = tasks_of(answers(9.0)), tasks_of(answers(1.5))
    assert in_domain(clear) > 0.99
    assert 0.6 < in_domain(faint) < 0.99


@pytest.mark.slow
def test_without_anything_to_find_there_is_nothing_found() -> None:
    """There are nearly as many numbers as answers: a probe that sees a label is right at once."""
    found = [in_domain(tasks_of(answers(0.0, seed))[0]) for seed in range(5)]
    assert abs(np.mean(found) - 0.5) < 0.07
    assert max(found) < 0.7


@pytest.mark.slow
def test_shuffled_labels_give_a_half() -> None:
    """The very same states, which tell all, with labels that have nothing to do with them."""
    found = []
    for seed in range(5):
        made = answers(9.0, seed)
        shuffled = np.random.default_rng(seed + 1).permutation([a.outcome for a in made])
        mixed = [replace(a, outcome=o) for a, o in zip(made, shuffled.tolist(), strict=True)]
        found.append(in_domain(tasks_of(mixed)[0]))
    assert abs(np.mean(found) - 0.5) < 0.07


def test_an_answer_is_scored_by_a_probe_that_has_not_seen_its_fold() -> None:
    """Other labels in a fold change the scores of the other folds, and none of its own."""
    made = answers(2.0, n=200)
    (task,) = tasks_of(made)
    folds = folds_of(examples([task])).tolist()
    pairs = [  # neighbours: labels that change places leave the folds as they are
        (at, folds[at])
        for at in range(199)
        if folds[at] == folds[at + 1] and made[at].outcome != made[at + 1].outcome
    ]
    fold = pairs[0][1]
    for at, of in pairs:
        if of == fold:
            one, other = made[at], made[at + 1]
            made[at] = replace(one, outcome=other.outcome)
            made[at + 1] = replace(other, outcome=one.outcome)
    (changed,) = tasks_of(made)
    assert folds_of(examples([changed])).tolist() == folds
    assert not np.array_equal(changed.wrong, task.wrong)
    before, after = (probes(each, [])[PROBE] for each in (task, changed))
    assert isinstance(before, CrossFitted)
    assert isinstance(after, CrossFitted)
    same = before.once == after.once
    assert same[np.array(folds) == fold].all()
    assert not same[np.array(folds) != fold].any()


def test_other_tasks_teach_it_wherever_their_states_lie() -> None:
    """A task's own place among the states is no sign of being wrong."""
    groups = [answers(6.0, seed, task=f"t{seed}", shift=5.0 * seed) for seed in range(3)]
    tasks = tasks_of([a for group in groups for a in group])
    found = probes(tasks[0], tasks[1:])
    assert value(found[ELSEWHERE], tasks[0]) > 0.9
    assert ELSEWHERE not in probes(tasks[0], tasks[1:2]), "one other task is no pool"


@pytest.mark.slow
def test_results_have_it_with_n_and_a_paired_interval() -> None:
    made = [a for s, t in enumerate("abc") for a in answers(4.0, s, task=t)]
    results = summarise(made)
    task, means = results["tasks"]["a"], results["means"]
    assert task["probe"]["layers"] == [1, 2]
    found = task["auroc"][PROBE]
    assert found["low"] < found["value"] < found["high"] or found["value"] == 1.0
    assert found["n"] == 100
    gain = task["probe"]["gain"][PROBE]["fitted in domain"]
    assert gain["value"] == pytest.approx(
        found["value"] - task["auroc"]["fitted in domain"]["value"]
    )
    assert means["auroc"][PROBE]["n"] == 300
    assert means["probe_gain"][PROBE]["fitted in domain"]["low"] > 0
    assert means["auroc"][ELSEWHERE]["value"] > 0.8
    without = summarise([replace(a, stored_states=None) for a in made])
    assert "probe" not in without["tasks"]["a"]
    assert without["means"]["probe_gain"] == {}
    assert without["tasks"]["a"]["guard"] == task["guard"], "no guard is made from a probe"
    shown = terminal(results)
    assert "A trained reference" in shown
    assert "layers 1 and 2" in shown
    assert "A trained reference" not in terminal(without)


def terminal(results: dict[str, Any]) -> str:
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(evaluation_view(results | {"made_with": {}, "too_long": {}}))
    return " ".join(console.export_text().split())


@pytest.mark.parametrize("lost", ["missing", "at another token", "not finite"])
def test_a_gap_is_said_and_never_a_zero(lost: str) -> None:
    made = answers(4.0)
    states = made[3].stored_states
    assert states is not None
    other = {
        "missing": None,
        "at another token": replace(states, token=0),
        "not finite": replace(states, values=states.values * np.inf),
    }
    made[3] = replace(made[3], stored_states=other[lost])
    results = summarise(made)
    reason = "1 of 100 answers have no hidden states at the exact answer"
    assert results["tasks"]["t"]["probe"]["reason"] == reason
    assert PROBE not in results["tasks"]["t"]["auroc"]
    assert reason in terminal(results)


def test_too_few_of_a_class_for_a_probe() -> None:
    made = [a for a in answers(4.0) if not a.wrong][:40]
    made += [a for a in answers(4.0) if a.wrong][:5]
    task = summarise(made)["tasks"]["t"]
    assert task["probe"]["reason"].startswith("fewer than 10")


class Showing(Scripted):
    """Plays scripts, and shows states that tell right from wrong."""

    read = 0
    die_at: int | None = None

    def states(self, request: Request, answer: Sequence[int], *, token: int) -> HiddenStates:
        if self.read == self.die_at:
            raise KeyboardInterrupt
        self.read += 1
        rng = np.random.default_rng(sum(request.question.encode()))
        right = self.vocabulary[answer[0]] == b"Oslo"
        values = rng.normal(size=(2, WIDTH)) + (1.5 if right else -1.5)
        return HiddenStates(token, (1, 2), values.astype(np.float32))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"id": f"towns-{n}", "task": "towns", "question": f"{n}?", "answers": ["Oslo"]}
        for n in range(40)
    ]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Showing]:
    def use(asked: int = 0, kind: type[Scripted] = Showing) -> Any:
        script = [[("Oslo" if n % 2 else "Bergen", 0.6 + n / 150)] for n in range(40)]
        backend = kind.saying(*script)
        backend._played = asked
        monkeypatch.setattr(module.EngineOptions, "open", lambda _: backend)
        return backend

    return use


def results_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return {key: value for key, value in found.items() if key != "command"}


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_and_nothing_is_read_twice(
    data: Path, tmp_path: Path, model: Callable[..., Showing]
) -> None:
    whole = model()
    evaluate([data], out=tmp_path / "whole", probe=True)
    assert whole.read == 40
    results = results_of(tmp_path / "whole")
    assert results["tasks"]["towns"]["auroc"][PROBE]["value"] > 0.95
    cut = model()
    cut.die_at = 17
    with pytest.raises(KeyboardInterrupt):
        evaluate([data], out=tmp_path / "cut", probe=True)
    evaluate(None, from_traces=tmp_path / "cut")
    reason = results_of(tmp_path / "cut")["tasks"]["towns"]["probe"]["reason"]
    assert reason.startswith("23 of 40 answers")
    (tmp_path / "cut" / "states" / "half-written.part").write_bytes(b"PK")
    rest = model(asked=40)
    evaluate([data], out=tmp_path / "cut", probe=True, resume=True)
    assert rest.read == 23
    assert results_of(tmp_path / "cut") == results
    evaluate(None, from_traces=tmp_path / "whole", out=tmp_path / "again")
    assert results_of(tmp_path / "again") == results


def test_states_of_another_place_are_not_taken(
    data: Path, tmp_path: Path, model: Callable[..., Showing]
) -> None:
    model()
    out = tmp_path / "out"
    evaluate([data], out=out, probe=True)
    made_with, found, _ = read_run(out)
    assert all(a.states is not None for a in found)
    other_model = stored.with_states(found, out / "states", model="another")
    assert all(a.states is None for a in other_model)
    assert made_with["model"]["fingerprint"] != "another"
    trace = replace(found[0].trace, ids=found[0].trace.ids + 1)
    other = replace(found[0], attempts=(replace(found[0].attempts[0], trace=trace),))
    assert (
        stored.with_states([other], out / "states", model=made_with["model"]["fingerprint"])[
            0
        ].states
        is None
    )
    file = next((out / "states").iterdir())
    for damaged in (file.read_bytes()[:200], b"", b"\x80\x04K\x01."):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="holds no hidden states") as refused:
            evaluate(None, from_traces=out)
        assert "Delete it" in refused.value.hint


def test_a_prompt_that_has_changed_is_not_read(
    data: Path, tmp_path: Path, model: Callable[..., Showing], monkeypatch: pytest.MonkeyPatch
) -> None:
    model()
    evaluate([data], out=tmp_path / "out")
    model(asked=40)
    wording = Wording("Worded as in a later version.", ())
    monkeypatch.setattr(stored, "request_of", lambda row, _: request_of(row, wording))
    with pytest.raises(InputError, match="not the one that was answered"):
        evaluate([data], out=tmp_path / "out", resume=True, probe=True)


def test_an_engine_without_states_is_refused_before_anything_is_asked(
    data: Path, tmp_path: Path, model: Callable[..., Any]
) -> None:
    backend = model(kind=Scripted)
    with pytest.raises(InputError, match="does not show them") as refused:
        evaluate([data], out=tmp_path / "out", probe=True)
    assert "--backend transformers" in refused.value.hint
    assert backend._played == 0
    with pytest.raises(InputError, match="asks no questions"):
        evaluate(None, from_traces=tmp_path / "out", probe=True)


@pytest.mark.slow
def test_what_is_stored_is_what_the_model_made_of_the_exact_answer(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command to the file, against one whole pass over what was asked and answered."""
    engine = tiny_model(max_position_embeddings=2048)
    backend = Transformers(engine, byte_tokenizer())
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: backend)
    evaluate([data], out=tmp_path / "out", rows=6, probe=True)
    _, found, run = read_run(tmp_path / "out")
    assert run is not None
    located = [a for a in found if isinstance(a.located, Span)]
    assert len(located) > 2
    assert len(list((tmp_path / "out" / "states").iterdir())) == len(located)
    by_id = {row.id: row for row in read_rows([data])}
    for answered in located:
        prompt = backend._prompts.encode(request_of(by_id[answered.id]))
        ids = [*prompt, *answered.trace.ids.tolist()]
        with torch.no_grad():
            out = engine(torch.tensor([ids]), output_hidden_states=True)
        assert answered.states is not None
        assert isinstance(answered.located, Span)
        at = len(prompt) + answered.located.end - 1
        near = {
            place: max(
                float(np.abs(out.hidden_states[layer][0, place].numpy() - mine).max())
                for layer, mine in zip((1, 2), answered.states.values, strict=True)
            )
            for place in range(at - 1, min(at + 2, len(ids)))
        }
        assert near.pop(at) < 1e-4
        assert all(distance > 1e-2 for distance in near.values())
