"""Rows of answers whose steps nobody waits for: the same numbers, and the same errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import byte_tokenizer, tiny_model
from transformers import LogitsProcessor

from energy_guard import capture, load
from energy_guard.backends.transformers.reduce import RowsReducer
from energy_guard.errors import RowError
from energy_guard.request import Finished, Request
from energy_guard.trace import SIGNALS, Trace

TOKENIZER = byte_tokenizer()
REQUESTS = [Request.raw("the cat", max_tokens=12), Request.raw("a", max_tokens=5, alternatives=3)]


@pytest.fixture
def model() -> Any:
    return tiny_model()


def answers(model: Any, *, steps: bool) -> list[Trace]:
    with load((model, TOKENIZER)).session() as session:
        events = session.generate(REQUESTS, steps=steps)
        return [event.trace for event in events if isinstance(event, Finished)]


def equal(one: Trace, other: Trace) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n), equal_nan=True) for n in SIGNALS)


def test_the_numbers_are_those_of_steps_that_are_heard_to_the_bit(model: Any) -> None:
    heard, unheard = answers(model, steps=True), answers(model, steps=False)
    assert all(map(equal, heard, unheard))
    for one, other in zip(heard, unheard, strict=True):
        np.testing.assert_equal(dict(one.extras), dict(other.extras))
    assert any(trace.extras for trace in unheard), "the likeliest tokens, too"
    prompt = torch.tensor([TOKENIZER("the cat")["input_ids"]])
    said: dict[str, list[Trace]] = {}
    for name, hook in (("heard", lambda _: None), ("unheard", None)):
        with capture((model, TOKENIZER), hook) as said[name]:
            model.generate(prompt, max_new_tokens=8, do_sample=False)
    assert equal(said["heard"][0], said["unheard"][0])


class Spoilt(LogitsProcessor):  # type: ignore[misc]
    """Processors may write into the row that is theirs."""

    def __call__(self, _ids: Any, scores: Any) -> Any:
        scores[:, 1:] = -torch.inf
        return scores


def test_a_processor_that_writes_into_its_row_does_not_change_ours(model: Any) -> None:
    prompt = torch.tensor([[7]])
    with capture((model, TOKENIZER)) as traces:
        model.generate(prompt, max_new_tokens=3, do_sample=False, logits_processor=[Spoilt()])
    logits = model(torch.tensor([[7, 0, 0]])).logits[0].detach()
    assert traces[0].log_partition[:3] == pytest.approx(logits.logsumexp(-1).numpy(), abs=1e-4)


def test_a_broken_row_ends_its_own_call_alone(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reduce, seen = RowsReducer.row_of, []

    def broken(self: RowsReducer, row: Any) -> Any:
        seen.append(row)
        return reduce(self, np.full_like(row, np.nan) if len(seen) == 4 else row)

    monkeypatch.setattr(RowsReducer, "row_of", broken)
    prompt = torch.tensor([TOKENIZER("the cat")["input_ids"]])
    with capture((model, TOKENIZER)) as traces:
        with pytest.raises(RowError):
            model.generate(prompt, max_new_tokens=8, min_new_tokens=8, do_sample=False)
        assert len(seen) == 4
        model.generate(prompt, max_new_tokens=8, min_new_tokens=8, do_sample=False)
    assert [(len(trace), trace.finish_reason) for trace in traces] == [(3, "closed"), (8, "length")]
    seen.clear()
    with pytest.raises(RowError):
        answers(model, steps=False)
