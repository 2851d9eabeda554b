"""`energy-guard neurons find` from end to end, with a scripted model and planted neurons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_models import byte_tokenizer, tiny_model

from energy_guard.backends import Backend, Scripted
from energy_guard.backends.transformers import Transformers
from energy_guard.cli import neurons as module
from energy_guard.cli.neurons import find
from energy_guard.errors import InputError
from energy_guard.neurons import AnswerToRead, Contributions, Neuron, NeuronProbe, store
from energy_guard.neurons import find as find_module
from energy_guard.neurons.read import check_readable
from energy_guard.questions import consistent

SHAPE, PLANTED = (3, 40), Neuron(2, 11)
NAMES = [f"q{number}" for number in range(100)]
ORDER = sorted(NAMES, key=lambda name: hashlib.sha256(name.encode()).digest())


def is_right(name: str) -> bool:
    return int(name[1:]) % 2 == 0


def planted(_: Backend, answers: Sequence[AnswerToRead]) -> Iterator[Contributions]:
    """Contributions whose planted neuron is higher when the answer is wrong."""
    random = np.random.default_rng(len(answers))
    for answer in answers:
        exact, rest = random.gamma(4, 0.01, (2, *SHAPE)).astype(np.float32)
        if not is_right(answer.request.question.split()[-1].strip("?")):
            exact[PLANTED.layer, PLANTED.index] += 0.1
        yield Contributions(exact, rest)


def model(names: Sequence[str]) -> Scripted:
    """All four tokens are as likely: other rows differ in a last bit, by the token's place."""
    return Scripted.saying(
        *([("Oslo" if is_right(name) else "Bergen", 0.25)] for name in names for _ in "12")
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"id": n, "task": "t", "question": f"Where is {n}?", "answers": ["Oslo"]} for n in NAMES
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: model(ORDER))
    monkeypatch.setattr(module, "check_readable", lambda _: None)
    monkeypatch.setattr(store, "read_contributions", planted)
    monkeypatch.setattr(store, "encoded_prompt", lambda _, each: list(str(each).encode()))
    monkeypatch.setattr(consistent, "LEAD", 100)  # all are sampled: scripts know no question
    monkeypatch.setattr(find_module, "RANDOM_DRAWS", 2)
    monkeypatch.setattr(find_module, "PARTS", 2)


def test_planted_neurons_are_found_and_everything_is_stored(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    find([data], samples=2, out=out, as_json=True)
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((out / "neurons.json").read_text())
    assert figures["outcomes"] == {"right": 50, "wrong": 50}
    assert figures["tasks"] == {"t": 100}
    assert [each["wrong"] for each in figures["answers"]] == [False] * 50 + [True] * 50
    for labelling, probe in figures["probes"].items():
        stored = NeuronProbe.read(out / f"probe-{labelling}.json")
        assert stored.h_neurons[0] == PLANTED
        assert probe["h_neurons"] == len(stored.h_neurons)
        told = probe["questions"]
        assert probe["tasks"] is None
        assert told["accuracy"]["probe"]["value"] > 0.8
        assert len(told["random_accuracy"]) == 2
        assert told["above_random"]["low"] > 0
        assert told["auroc"]["nll:max"]["value"] == 0.5, "all answers are equally sure"
        assert told["better_tier"] == "probe"
    assert "Neurons by layer" in (out / "neurons.svg").read_text()
    assert len(list((out / "contributions").iterdir())) == 100


def test_a_table_says_what_was_found(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    find([data], samples=2, out=tmp_path / "out")
    said = capsys.readouterr().out
    for part in ("probe, 1-vs-1", "all neurons, L2, 3-vs-1", "2 draws", "nll:max", "‰"):
        assert part in said


def test_it_goes_on_where_it_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    find([data], samples=2, out=out)
    before = (out / "neurons.json").read_text()
    with pytest.raises(InputError, match="--resume"):
        find([data], samples=2, out=out)
    monkeypatch.setattr(store, "read_contributions", None)
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: model(ORDER))
    find([data], samples=2, out=out, resume=True)
    assert (out / "neurons.json").read_text() == before


@pytest.mark.parametrize("edit", [{"question": "Who?"}, {"context": "In q1."}, {"answers": ["x"]}])
def test_it_does_not_go_on_with_a_row_that_was_edited(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: dict[str, object]
) -> None:
    find([data], samples=2, out=tmp_path / "out")
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[7] |= edit
    data.write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(store, "read_contributions", None)
    with pytest.raises(InputError, match="the question q7 was edited since it was sampled"):
        find([data], samples=2, out=tmp_path / "out", resume=True)


def test_too_few_consistent_questions_are_told_with_all_counts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sample right and one wrong, a refusal, right ones; none is consistently wrong."""
    said = ["Oslo", "Bergen", "I don't know.", *["Oslo"] * 194]
    monkeypatch.setattr(
        module.EngineOptions, "open", lambda _: Scripted.saying(*([(text, 0.9)] for text in said))
    )
    monkeypatch.setattr(store, "read_contributions", None)  # nothing is read in vain
    reason = (
        r"of 99 questions 97 were consistently answered right and 0 wrong \(others: 1 mixed, "
        r"1 refused\), which makes 0 of each if every task counts alike, and at least 20 are needed"
        r"\nAdd questions"
    )
    rows = data.read_text().splitlines()
    kept = [row for row in rows if json.loads(row)["id"] in ORDER[:99]]
    data.write_text("\n".join(kept))
    with pytest.raises(InputError, match=reason):
        find([data], samples=2, out=tmp_path / "out")
    assert not (tmp_path / "out" / "contributions").exists()


def test_a_model_whose_neurons_cannot_be_read_is_refused_before_it_is_asked(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Transformers(tiny_model("gpt2"), byte_tokenizer())
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: backend)
    monkeypatch.setattr(module, "check_readable", check_readable)
    monkeypatch.setattr(module, "sample_questions", lambda *_, **__: pytest.fail("it was asked"))
    with pytest.raises(InputError, match="GPT2LMHeadModel has no gated MLP"):
        find([data], out=tmp_path / "out")


def test_a_server_shows_no_neurons(data: Path) -> None:
    with pytest.raises(InputError, match="is a server"):
        find([data], model="http://localhost:1/v1")
