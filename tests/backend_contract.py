"""What every backend must do. A test class inherits this and says what to test."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from energy_guard.backends.base import Backend
from energy_guard.backends.locks import lock_of
from energy_guard.errors import EngineBusyError, PromptError
from energy_guard.request import (
    CancelToken,
    Event,
    Finished,
    Partition,
    Request,
    Sampling,
    Token,
)
from energy_guard.trace import SIGNALS, Trace

Ask = Callable[[Sequence[Request]], Generator[Event, None, None]]


class BackendContract:
    """Override the three fixtures.

    `request_` gives some tokens of ASCII, always the same. `busy_ask` is `generate` on the same
    engine with a `wait_s` of a few hundredths of a second. Two tokens come within `half_way_s`.
    """

    half_way_s = 0.2

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError

    @pytest.fixture
    def request_(self) -> Request:
        raise NotImplementedError

    @pytest.fixture
    def busy_ask(self, backend: Any) -> Ask:
        raise NotImplementedError

    def engine(self, backend: Any) -> object:
        """What the lock belongs to."""
        return backend.engine

    def fresh(self, backend: Any) -> None:
        """Forget cached prompts, so that the next answer has the very same numbers."""

    def answer(self, backend: Any, request: Request) -> Trace:
        self.fresh(backend)
        return finished(backend.generate([request]))

    def assert_free(self, backend: Any, request: Request) -> None:
        assert not lock_of(self.engine(backend)).locked
        assert len(self.answer(backend, request)) > 0, "the engine is usable again"

    def test_is_a_backend(self, backend: Any) -> None:
        assert isinstance(backend, Backend)
        assert int(backend.info.fingerprint, 16) >= 0
        assert backend.info == backend.info
        assert backend.exact_signals <= set(SIGNALS)

    def test_a_partition_follows_its_token_before_the_next_one(
        self, backend: Any, request_: Request
    ) -> None:
        events = list(backend.generate([request_]))
        trace = finished(events)
        assert len(trace) >= 4, "a longer answer is needed to see anything"
        order: list[tuple[str, int]] = []
        for event in events:
            if isinstance(event, Token):
                order.append(("token", sum(kind == "token" for kind, _ in order)))
            elif isinstance(event, Partition):
                order.append(("partition", event.t))
            else:
                order.append(("finished", 0))
        expected = [(kind, t) for t in range(len(trace)) for kind in ("token", "partition")]
        if len(trace.log_partition) == len(trace):
            expected.pop()
        assert order == [*expected, ("finished", 0)]

    def test_the_trace_has_the_numbers_of_the_events(self, backend: Any, request_: Request) -> None:
        events = list(backend.generate([request_]))
        trace = finished(events)
        steps = [event.step for event in events if isinstance(event, Token)]
        assert trace.ids.tolist() == [step.id for step in steps]
        assert list(trace.pieces) == [step.piece for step in steps]
        assert trace.token_logit.tolist() == [step.token_logit for step in steps]
        assert trace.nll.tolist() == [step.nll for step in steps]
        np.testing.assert_array_equal(trace.entropy, [step.row.entropy for step in steps])
        np.testing.assert_array_equal(trace.margin, [step.row.margin for step in steps])
        assert trace.log_partition[: len(trace)].tolist() == [s.row.log_partition for s in steps]
        np.testing.assert_array_equal(trace.row_mean[: len(trace)], [s.row.mean for s in steps])
        partitions = [event for event in events if isinstance(event, Partition)]
        assert trace.log_partition[1:].tolist() == [p.log_partition for p in partitions]
        np.testing.assert_array_equal(trace.row_mean[1:], [p.row_mean for p in partitions])
        assert events[-1] == Finished(0, trace.finish_reason, trace)

    def test_the_likeliest_tokens_are_in_the_trace_if_they_are_asked_for(
        self, backend: Any, request_: Request
    ) -> None:
        trace = self.answer(backend, replace(request_, alternatives=3))
        ids, logits = trace.extras["likeliest_ids"], trace.extras["likeliest_logits"]
        assert ids.shape == logits.shape == (len(trace), 3)
        assert ids[:, 0].tolist() == trace.ids.tolist(), "greedy: the likeliest one is chosen"
        assert logits[:, 0].tolist() == trace.token_logit.tolist()
        assert logits[:, 0] - logits[:, 1] == pytest.approx(trace.margin, abs=1e-5)
        assert (logits[:, 1] >= logits[:, 2]).all()
        again = Trace.from_json(trace.to_json())
        assert again.extras["likeliest_ids"].tolist() == ids.tolist()
        with backend.session() as session:
            assert [session.piece_of(token) for token in ids[:, 0].tolist()] == list(trace.pieces)
        assert self.answer(backend, request_).extras == {}

    def test_exact_signals_are_there_for_every_token_but_perhaps_the_last(
        self, backend: Any, request_: Request
    ) -> None:
        trace = self.answer(backend, request_)
        for name in backend.exact_signals:
            assert np.isfinite(trace.signal(name)[:-1]).all(), name

    def test_sequences_are_numbered_in_the_order_of_requests(
        self, backend: Any, request_: Request
    ) -> None:
        short = replace(request_, max_tokens=2)
        events = list(backend.generate([request_, short, request_]))
        ends = [event for event in events if isinstance(event, Finished)]
        assert sorted(event.sequence for event in ends) == [0, 1, 2]
        by_number = {event.sequence: event.trace for event in ends}
        assert len(by_number[1]) == 2
        for number, trace in by_number.items():
            mine = [e.step.id for e in events if isinstance(e, Token) and e.sequence == number]
            assert mine == trace.ids.tolist()

    def test_without_steps_only_the_ends_are_heard(self, backend: Any, request_: Request) -> None:
        expected = self.answer(backend, request_)
        self.fresh(backend)
        with backend.session() as session:
            (event,) = session.generate([request_], steps=False)
        assert isinstance(event, Finished)
        assert event.trace.ids.tolist() == expected.ids.tolist()
        assert event.trace.nll == pytest.approx(expected.nll, abs=1e-6)
        assert event.trace.log_partition == pytest.approx(expected.log_partition, abs=1e-5)
        self.assert_free(backend, request_)

    def test_a_prompt_is_measured_as_it_is_read(self, backend: Any, request_: Request) -> None:
        size = backend.measure(request_)
        assert size.tokens == self.answer(backend, request_).prompt_tokens > 0
        assert size.room == size.context - size.tokens > 0

    def test_room_is_what_decides_whether_a_prompt_is_taken(
        self, backend: Any, request_: Request
    ) -> None:
        context = backend.measure(request_).context
        full = Request(ids=(1,) * context)
        assert backend.measure(full).room == 0
        with pytest.raises(PromptError):
            next(backend.generate([full]))
        almost = Request(ids=(1,) * (context - 1))
        assert backend.measure(almost).room == 1
        trace = self.answer(backend, almost)
        assert (len(trace), trace.finish_reason) == (1, "length")

    def test_a_prompt_is_measured_while_the_engine_is_in_use(
        self, backend: Any, request_: Request
    ) -> None:
        size = backend.measure(request_)
        holding = backend.generate([request_])
        next(holding)
        assert backend.measure(request_) == size
        holding.close()

    def test_no_requests_give_no_events(self, backend: Any) -> None:
        assert list(backend.generate([])) == []

    def test_nothing_happens_before_the_first_event_is_asked_for(
        self, backend: Any, request_: Request
    ) -> None:
        events = backend.generate([request_])
        assert not lock_of(self.engine(backend)).locked
        events.close()

    def test_the_engine_is_held_until_the_end(self, backend: Any, request_: Request) -> None:
        events = backend.generate([request_])
        next(events)
        assert lock_of(self.engine(backend)).locked
        list(events)
        self.assert_free(backend, request_)

    def test_closing_frees_the_engine(self, backend: Any, request_: Request) -> None:
        events = backend.generate([request_])
        next(events)
        events.close()
        self.assert_free(backend, request_)

    def test_dropping_frees_the_engine(self, backend: Any, request_: Request) -> None:
        events = backend.generate([request_])
        next(events)
        del events
        gc.collect()
        self.assert_free(backend, request_)

    def test_an_exception_in_the_consumer_frees_the_engine(
        self, backend: Any, request_: Request
    ) -> None:
        with pytest.raises(ZeroDivisionError):
            for _ in backend.generate([request_]):
                raise ZeroDivisionError
        self.assert_free(backend, request_)

    def test_closing_in_another_thread_frees_the_engine(
        self, backend: Any, request_: Request
    ) -> None:
        events = backend.generate([request_])
        next(events)
        in_thread(events.close)
        self.assert_free(backend, request_)

    def test_two_threads_are_both_answered_one_after_the_other(
        self, backend: Any, request_: Request
    ) -> None:
        alone = self.answer(backend, request_).ids.tolist()
        seen: list[tuple[int, Event]] = []

        def ask(name: int) -> None:
            for event in backend.generate([request_]):
                seen.append((name, event))
                time.sleep(0.001)  # lets the other thread in, if anything does

        threads = [threading.Thread(target=ask, args=(name,)) for name in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        runs = [name for name, _ in itertools.groupby(seen, key=lambda item: item[0])]
        assert sorted(runs) == [1, 2], "the events of the two are not mixed"
        for name in (1, 2):
            trace = finished(event for who, event in seen if who == name)
            assert trace.ids.tolist() == alone

    def test_who_waits_too_long_is_told_that_the_engine_is_busy(
        self, backend: Any, request_: Request, busy_ask: Ask
    ) -> None:
        holding = backend.generate([request_])
        next(holding)
        error = in_thread(lambda: list(busy_ask([request_])))
        assert isinstance(error, EngineBusyError)
        assert len(finished(holding)) > 0, "the one who holds the engine goes on"
        assert in_thread(lambda: list(busy_ask([request_]))) is None

    def test_waiting_for_oneself_is_refused_at_once(self, backend: Any, request_: Request) -> None:
        holding = backend.generate([request_])
        next(holding)
        before = time.monotonic()
        with pytest.raises(EngineBusyError):
            next(backend.generate([request_]))
        assert time.monotonic() - before < 5
        holding.close()
        self.assert_free(backend, request_)

    def test_cancelled_before_it_begins(self, backend: Any, request_: Request) -> None:
        cancel = CancelToken()
        cancel.cancel()
        events = list(backend.generate([replace(request_, cancel=cancel)]))
        trace = finished(events)
        assert (len(events), len(trace), trace.finish_reason, trace.text) == (1, 0, "cancelled", "")
        self.assert_free(backend, request_)

    def test_cancelled_half_way(self, backend: Any, request_: Request) -> None:
        whole = self.answer(backend, request_)
        cancel = CancelToken()
        self.fresh(backend)
        events = []
        for event in backend.generate([replace(request_, cancel=cancel)]):
            events.append(event)
            if sum(isinstance(e, Token) for e in events) == 2:
                cancel.cancel()
        trace = finished(events)
        assert trace.finish_reason == "cancelled"
        assert trace.ids.tolist() == whole.ids[:2].tolist()
        self.assert_free(backend, request_)

    def test_cancelling_one_request_leaves_the_next_one_alone(
        self, backend: Any, request_: Request
    ) -> None:
        cancel = CancelToken()
        cancel.cancel()
        events = backend.generate([replace(request_, cancel=cancel), request_])
        first, second = (e.trace for e in events if isinstance(e, Finished))
        assert (len(first), first.finish_reason) == (0, "cancelled")
        assert len(second) > 0 and second.finish_reason != "cancelled"

    def test_a_deadline_in_the_past(self, backend: Any, request_: Request) -> None:
        late = replace(request_, deadline=time.monotonic() - 1)
        trace = finished(backend.generate([late]))
        assert (len(trace), trace.finish_reason) == (0, "deadline")
        self.assert_free(backend, request_)

    def test_a_deadline_that_passes_half_way(self, backend: Any, request_: Request) -> None:
        deadline = time.monotonic() + self.half_way_s
        late = replace(request_, deadline=deadline)
        tokens = 0
        for event in backend.generate([late]):
            tokens += isinstance(event, Token)
            if tokens == 2:
                time.sleep(max(0.0, deadline - time.monotonic()))
        assert isinstance(event, Finished)
        assert (len(event.trace), event.reason) == (2, "deadline")

    @pytest.mark.parametrize("limit", [1, 3])
    def test_max_tokens(self, backend: Any, request_: Request, limit: int) -> None:
        whole = self.answer(backend, request_)
        trace = self.answer(backend, replace(request_, max_tokens=limit))
        assert trace.finish_reason == "length"
        assert trace.ids.tolist() == whole.ids[:limit].tolist()
        for name in backend.exact_signals:
            np.testing.assert_array_equal(trace.signal(name), whole.signal(name)[:limit])

    def test_a_stop_string_ends_the_content_before_it(
        self, backend: Any, request_: Request
    ) -> None:
        whole = self.answer(backend, request_)
        stop = whole.text[2:4]
        trace = self.answer(backend, replace(request_, stop=(stop,)))
        assert trace.finish_reason == "stop"
        assert trace.text == whole.text[: whole.text.index(stop)]
        assert stop.encode() in b"".join(trace.pieces), "its tokens are part of the trace"
        assert len(trace) < len(whole)
        assert_same_trace(Trace.from_json(trace.to_json()), trace)

    def test_inverse_temperature_multiplies_every_row(
        self, backend: Any, request_: Request
    ) -> None:
        plain = self.answer(backend, request_)
        halved = self.answer(backend, replace(request_, inverse_temperature=0.5))
        assert halved.ids.tolist() == plain.ids.tolist()
        np.testing.assert_allclose(halved.token_logit, plain.token_logit / 2, rtol=1e-6)
        np.testing.assert_allclose(halved.margin, plain.margin / 2, rtol=1e-6)
        np.testing.assert_allclose(halved.row_mean, plain.row_mean / 2, rtol=1e-6)
        assert halved.inverse_temperature == 0.5

    def test_replay_has_the_numbers_of_the_answer(self, backend: Any, request_: Request) -> None:
        live = self.answer(backend, request_)
        again = finished(backend.replay(request_, live.ids.tolist()))
        assert again.ids.tolist() == live.ids.tolist()
        for name in SIGNALS:
            np.testing.assert_allclose(
                getattr(again, name), getattr(live, name), rtol=0, atol=1e-6, err_msg=name
            )

    def test_the_next_row_is_the_one_that_chooses_the_first_token(
        self, backend: Any, request_: Request
    ) -> None:
        live = self.answer(backend, request_)
        self.fresh(backend)
        with backend.session() as session:
            row = session.next_row(request_)
        assert row.dtype == np.float32 and row.ndim == 1
        assert int(row.argmax()) == live.ids[0], "greedy"
        assert row[live.ids[0]] == pytest.approx(live.token_logit[0], abs=1e-5)
        partition = np.logaddexp.reduce(row.astype(np.float64))
        assert partition == pytest.approx(live.log_partition[0], abs=1e-5)
        self.assert_free(backend, request_)

    def test_the_next_row_is_raw_whatever_the_request_says_of_sampling(
        self, backend: Any, request_: Request
    ) -> None:
        scaled = replace(request_, inverse_temperature=0.5, sampling=Sampling(temperature=2.0))
        with backend.session() as session:
            rows = []
            for request in (request_, scaled):
                session.rewind([])
                rows.append(session.next_row(request))
        np.testing.assert_array_equal(*rows)

    def test_a_row_stays_as_it_was_when_the_engine_goes_on(
        self, backend: Any, request_: Request
    ) -> None:
        with backend.session() as session:
            row = session.next_row(request_)
            before = row.copy()
            list(session.generate([request_]))
        np.testing.assert_array_equal(row, before)

    def test_there_is_no_next_row_after_a_prompt_that_does_not_fit(
        self, backend: Any, request_: Request
    ) -> None:
        full = Request(ids=(1,) * backend.measure(request_).context)
        with backend.session() as session, pytest.raises(PromptError):
            session.next_row(full)
        self.assert_free(backend, request_)

    def test_the_tokens_of_an_answer_are_found_again(self, backend: Any, request_: Request) -> None:
        live = self.answer(backend, request_)
        piece = live.pieces[0].decode()
        with backend.session() as session:
            assert session.tokens_of(piece) == [live.ids[0]]

    def test_a_replay_that_is_dropped_frees_the_engine(
        self, backend: Any, request_: Request
    ) -> None:
        ids = self.answer(backend, request_).ids.tolist()
        events = backend.replay(request_, ids)
        next(events)
        assert lock_of(self.engine(backend)).locked
        events.close()
        self.assert_free(backend, request_)

    @pytest.mark.parametrize("limit", [2, 256])
    def test_json_gives_the_same_trace_back(
        self, backend: Any, request_: Request, limit: int
    ) -> None:
        trace = self.answer(backend, replace(request_, max_tokens=limit))
        assert_same_trace(Trace.from_json(trace.to_json()), trace)

    def test_json_of_a_cancelled_answer(self, backend: Any, request_: Request) -> None:
        cancel = CancelToken()
        cancel.cancel()
        trace = self.answer(backend, replace(request_, cancel=cancel))
        assert_same_trace(Trace.from_json(trace.to_json()), trace)


def finished(events: Iterable[Event]) -> Trace:
    ends = [event for event in events if isinstance(event, Finished)]
    assert len(ends) == 1
    return ends[0].trace


def assert_same_trace(mine: Trace, other: Trace) -> None:
    for field in dataclasses.fields(Trace):
        mine_value, other_value = getattr(mine, field.name), getattr(other, field.name)
        if isinstance(other_value, np.ndarray):
            assert mine_value.dtype == other_value.dtype, field.name
            np.testing.assert_array_equal(mine_value, other_value, err_msg=field.name)
        elif field.name == "extras":
            assert mine_value.keys() == other_value.keys()
            for name, value in mine_value.items():
                np.testing.assert_array_equal(value, other_value[name], err_msg=name)
        else:
            assert mine_value == other_value, field.name


def in_thread(work: Callable[[], object]) -> Exception | None:
    """Do `work` in a thread of its own; return what it raised."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it waits for ever"
    return raised[0] if raised else None
