"""Where neurons come from, on tiny pairs: the chat model is the base model with noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neuron_probes import probe_of
from tiny_models import byte_tokenizer, tiny_model

from energy_guard import load
from energy_guard.backends.gguf_file import read_tensors
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.transformers import Transformers
from energy_guard.cli import neurons as module
from energy_guard.cli.neurons import origin
from energy_guard.errors import InputError, MismatchError
from energy_guard.neurons import AnswerToRead, read_contributions
from energy_guard.neurons import origin as origin_module
from energy_guard.neurons.origin import as_read_by_base, change_ranks, parameter_change
from energy_guard.neurons.probe import WeighedNeuron
from energy_guard.questions.consistent import SampledQuestion
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import request_of
from energy_guard.request import Request

CHANGED = {"gate_proj": (0, 3), "up_proj": (1, 95), "down_proj": (1, 7)}
"""Which layer and neuron of each projection training turned."""

ROWS = [Question(f"q{n}", "t", f"Where is {n * n}?", ("Oslo",)) for n in range(60)]


def chat_of(base: Any, scale: float = 0.3) -> Any:
    model = tiny_model(max_position_embeddings=base.config.max_position_embeddings)
    model.load_state_dict(base.state_dict())
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part, (layer, neuron) in CHANGED.items():
            weight = getattr(model.model.layers[layer].mlp, part).weight
            row = weight[:, neuron] if part == "down_proj" else weight[neuron]
            row += scale * torch.randn(row.shape, generator=noise)
    return model


def test_change_is_the_cosine_distance_of_what_belongs_to_a_neuron() -> None:
    base = tiny_model()
    chat = chat_of(base)
    change = parameter_change(
        Transformers(chat, byte_tokenizer()), Transformers(base, byte_tokenizer(None))
    )
    assert change.shape == (2, 96)
    assert {tuple(at) for at in np.argwhere(change > 1e-6).tolist()} == set(CHANGED.values())
    for part, (layer, neuron) in CHANGED.items():
        one, other = (getattr(m.model.layers[layer].mlp, part).weight for m in (chat, base))
        if part == "down_proj":
            one, other = one.T, other.T
        cosine = torch.cosine_similarity(one[neuron], other[neuron], dim=0).item()
        assert change[layer, neuron] == pytest.approx((1 - cosine) / 3, abs=1e-6)
    ranks = change_ranks(np.where(change > 1e-6, change, 0))
    assert sorted(ranks.ravel())[-4:] == pytest.approx([189 / 384, *np.arange(189.5, 192) / 192])


def test_in_a_file_of_llama_cpp_it_is_the_same_rule(tiny_path: Path, tmp_path: Path) -> None:
    [up] = [t for t in read_tensors(tiny_path) if t.name == "blk.1.ffn_up.weight"]
    data = bytearray(tiny_path.read_bytes())
    row = np.frombuffer(data, "<f4", 64, up.start + 4 * 64 * 9).copy()
    row[:32] *= -1
    data[up.start + 4 * 64 * 9 : up.start + 4 * 64 * 10] = row.tobytes()
    changed = tmp_path / "chat.gguf"
    changed.write_bytes(data)
    chat, base = (load(path, n_ctx=64, n_threads=1) for path in (changed, tiny_path))
    change = parameter_change(chat, base)
    assert np.argwhere(change > 1e-6).tolist() == [[1, 9]]
    before = np.where(np.arange(64) < 32, -row, row)
    expected = 1 - float(row @ before) / float(row @ row)
    assert change[1, 9] == pytest.approx(expected / 3, rel=1e-5)
    with pytest.raises(MismatchError, match="not of one shape and one engine"):
        parameter_change(chat, Transformers(tiny_model(), byte_tokenizer()))
    for backend in (chat, base):
        assert isinstance(backend, LlamaCpp)
        backend.engine.close()


def test_the_base_model_reads_the_tokens_of_the_chat_models_prompt() -> None:
    chat, base = (
        Transformers(tiny_model(), byte_tokenizer()),
        Transformers(tiny_model(), byte_tokenizer(None)),
    )
    answer = AnswerToRead(Request.chat("the cat?"), tuple(b"on the mat"), (0,))
    moved = as_read_by_base(chat, base, answer)
    [one], [other] = (list(read_contributions(*of)) for of in ((chat, [answer]), (base, [moved])))
    np.testing.assert_array_equal(one.exact, other.exact)
    without = byte_tokenizer(None)
    without.add_tokens(["cat"])
    with pytest.raises(MismatchError, match="other tokens for the same text"):
        as_read_by_base(chat, Transformers(tiny_model(vocab_size=261), without), answer)


@pytest.fixture
def pair() -> dict[str, Transformers]:
    base = tiny_model(max_position_embeddings=1024)
    return {
        "chat": Transformers(chat_of(base), byte_tokenizer()),
        "base": Transformers(base, byte_tokenizer(None)),
    }


@pytest.fixture
def found(pair: dict[str, Transformers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of `neurons find`: an answer is wrong if one neuron of the chat model says so."""
    monkeypatch.setattr(module.EngineOptions, "open", lambda self: pair[self.model])
    monkeypatch.setattr(origin_module, "PARTS", 2)
    random = np.random.default_rng(0)
    answers = {row.id: tuple(random.integers(32, 127, 12).tolist()) for row in ROWS}
    read = [AnswerToRead(request_of(row), answers[row.id], (2, 3, 4)) for row in ROWS]
    every = np.array([c.exact.ravel() for c in read_contributions(pair["chat"], read)])
    values = every[:, every.std(axis=0).argmax()]
    wrong = values > np.median(values)
    samples = [
        SampledQuestion(
            id=row.id, task="t", question=row.question, context=None, row=row.digest,
            outcome="wrong" if wrong[n] else "right", samples=10, number=0, text="",
            answer=answers[row.id], exact=(2, 3, 4), nll_max=None, one_pass=None,
        )
        for n, row in enumerate(ROWS)
    ]  # fmt: skip
    lines = [{"schema": 1}, *(each.model_dump(mode="json") for each in samples)]
    (tmp_path / "samples.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    others = ("schema", "model", "outcomes", "tasks", "probes")
    figures = {**dict.fromkeys(others, 1), "answers": [{"id": row.id} for row in ROWS]}
    (tmp_path / "neurons.json").write_text(json.dumps(figures))
    places = (CHANGED["gate_proj"], CHANGED["up_proj"])
    neurons = tuple(WeighedNeuron(layer=at, index=j, weight=1.0) for at, j in places)
    for name in ("1-vs-1", "3-vs-1"):
        probe = probe_of(pair["chat"].info, neurons=neurons)
        probe.store(tmp_path / f"probe-{name}.json")
    rows = [{"id": r.id, "task": "t", "question": r.question, "answers": ["Oslo"]} for r in ROWS]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_what_a_probe_tells_is_there_in_the_base_model_if_its_neuron_is(
    found: Path, pair: dict[str, Transformers], capsys: pytest.CaptureFixture[str]
) -> None:
    data = [found / "data.jsonl"]
    origin(data, model="chat", base="base", out=found, as_json=True)
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((found / "origin.json").read_text())
    kept = figures["probes"]["1-vs-1"]
    assert kept["chat"]["value"] > 0.8
    assert kept["base"]["value"] > 0.75
    assert kept["more"]["low"] > -0.2
    assert (kept["h_neurons"], kept["rank"]["value"]) == (2, pytest.approx(1, abs=0.02))
    assert figures["changed"]["median"] < 1e-6 < 0.01 < figures["changed"]["largest"]
    other = tiny_model(seed=5, max_position_embeddings=1024)
    pair["base"] = Transformers(other, byte_tokenizer(None))
    origin(data, model="chat", base="base", out=found)
    assert "H-neurons in the base model" in capsys.readouterr().out
    lost = json.loads((found / "origin.json").read_text())["probes"]["1-vs-1"]
    assert lost["base"]["value"] < 0.7, "of another model nothing is told"
    assert lost["rank"]["value"] < 0.95


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neurons find"):
        origin(None, model="chat.gguf", base="base.gguf", out=tmp_path)
