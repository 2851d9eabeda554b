"""Hidden states: the right layers of the right token, against passes of our own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backend_contract import finished
from tiny_models import FAMILIES, byte_tokenizer, tiny_model

from energy_guard.backends import Scripted, load
from energy_guard.backends.base import HiddenStates, ShowsStates
from energy_guard.backends.transformers import Transformers
from energy_guard.errors import EngineBusyError, InputError, PromptError
from energy_guard.evaluate.references.hidden_states import showing
from energy_guard.request import Request

TOKENIZER = byte_tokenizer()
PROMPT = tuple(b"the cat sat on the mat and then it went to the other")
ANSWER = tuple(b" corner of the room")


def whole_pass(model: Any, layer: int) -> np.ndarray[Any, Any]:
    """A layer's states of all of the answer's tokens, from one pass over the whole sequence."""
    with torch.no_grad():
        out = model(torch.tensor([[*PROMPT, *ANSWER]]), output_hidden_states=True)
    states = out.hidden_states[layer][0].float().numpy()
    return np.asarray(states[len(PROMPT) :])


def agree(found: HiddenStates, model: Any, token: int) -> bool:
    """Whether all layers are those of this token; a neighbour's differ by far more."""
    expected = np.array([whole_pass(model, layer)[token] for layer in found.layers])
    return bool(np.abs(found.values - expected).max() < 1e-4)


def states(model: Any, token: int) -> HiddenStates:
    return Transformers(model, TOKENIZER).states(Request(ids=PROMPT), ANSWER, token=token)


@pytest.mark.parametrize("token", [0, 7, len(ANSWER) - 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_states_are_those_of_the_token_in_a_whole_pass(family: str, token: int) -> None:
    model = tiny_model(family)
    found = states(model, token)
    assert (found.token, found.layers) == (token, (1, 2))
    assert (found.values.shape, found.values.dtype) == ((2, 64), np.float32)
    assert agree(found, model, token)
    for planted in {max(token - 1, 0), min(token + 1, len(ANSWER) - 1)} - {token}:
        assert not agree(found, model, planted), "off by one is seen"


@pytest.mark.parametrize(("layers", "middle"), [(2, 1), (3, 1), (6, 3)])
def test_the_layers_are_what_the_modules_themselves_return(layers: int, middle: int) -> None:
    model = tiny_model("llama", num_hidden_layers=layers)
    seen: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, out: seen.update({name: out})

    model.model.layers[middle - 1].register_forward_hook(keep("middle"))
    model.model.norm.register_forward_hook(keep("last"))
    with torch.no_grad():
        model(torch.tensor([[*PROMPT, *ANSWER]]))
    kept = [seen[name] for name in ("middle", "last")]
    expected = [(s[0] if isinstance(s, tuple) else s)[0, len(PROMPT) + 4].numpy() for s in kept]
    found = states(model, 4)
    assert found.layers == (middle, layers)
    assert np.abs(found.values - np.array(expected)).max() < 1e-4


def test_ids_are_read_as_they_are() -> None:
    """Another tokenisation of the same text is another answer."""
    model = tiny_model()
    backend, request = Transformers(model, TOKENIZER), Request(ids=PROMPT)
    merged, apart = [256, ord("e")], [ord("t"), ord("h"), ord("e")]
    assert TOKENIZER.decode(merged) == TOKENIZER.decode(apart) == "the"
    one, other = backend.states(request, merged, token=1), backend.states(request, apart, token=2)
    assert np.abs(one.values - other.values).max() > 1e-2


def test_what_comes_after_the_token_plays_no_part() -> None:
    model = tiny_model("qwen3")
    backend, request = Transformers(model, TOKENIZER), Request(ids=PROMPT)
    cut = backend.states(request, ANSWER[:5], token=4)
    assert np.array_equal(cut.values, backend.states(request, ANSWER, token=4).values)


@pytest.mark.parametrize("token", [0, 3, 8])
def test_the_last_layer_makes_the_row_after_the_token(token: int) -> None:
    """The trace knows that row's log-partition, from live decoding."""
    model = tiny_model()
    backend, request = Transformers(model, TOKENIZER), Request(ids=PROMPT, max_tokens=12)
    trace = finished(backend.generate([request]))
    last = torch.tensor(backend.states(request, trace.ids.tolist(), token=token).values[-1])
    row = (model.lm_head.weight @ last).detach()
    after, before = trace.log_partition[token + 1], trace.log_partition[token]
    assert float(row.logsumexp(0)) == pytest.approx(after, abs=1e-4)
    assert abs(after - before) > 1e-2, "another token's would be seen"


def test_the_model_writes_on_as_before() -> None:
    backend = Transformers(tiny_model(), TOKENIZER)
    request = Request(ids=PROMPT, max_tokens=12)
    before = finished(backend.generate([request]))
    backend.states(request, before.ids.tolist(), token=3)
    assert finished(backend.generate([request])).ids.tolist() == before.ids.tolist()


def test_half_precision_gives_float32() -> None:
    model = tiny_model().to(torch.bfloat16)
    found = states(model, 3)
    assert found.values.dtype == np.float32
    assert np.isfinite(found.values).all()


def test_what_cannot_be_read_is_refused() -> None:
    backend = Transformers(tiny_model(), TOKENIZER)
    for token in (-1, len(ANSWER)):
        with pytest.raises(InputError, match="none at"):
            backend.states(Request(ids=PROMPT), ANSWER, token=token)
    with pytest.raises(PromptError, match="context has room"):
        backend.states(Request(ids=PROMPT), [65] * 300, token=299)
    with backend.session(), pytest.raises(EngineBusyError, match="already uses"):
        backend.states(Request(ids=PROMPT), ANSWER, token=0)


@pytest.fixture
def llama(tiny_path: Path) -> Iterator[Any]:
    backend = load(tiny_path, n_ctx=64, n_threads=1, n_threads_batch=1)
    yield backend
    backend.engine.close()


def test_other_backends_say_what_to_do(llama: Any) -> None:
    backend = Transformers(tiny_model(), TOKENIZER)
    assert isinstance(backend, ShowsStates)
    assert showing(backend) is backend
    for other in (llama, Scripted.saying()):
        with pytest.raises(InputError, match=other.info.backend) as refused:
            showing(other)
        assert "--backend transformers" in refused.value.hint
