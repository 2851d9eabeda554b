"""`capture` around the user's own transformers calls: it sees everything and changes nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from backend_contract import finished
from tiny_models import END, FAMILIES
from torch_reference import (
    LONG,
    LONGER,
    PROMPTS,
    SHORT,
    TOKENIZER,
    assert_teacher_forced,
    captured,
    model_of,
    padded,
    written,
)
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    StaticCache,
    TextIteratorStreamer,
    pipeline,
)

from energy_guard import capture, load
from energy_guard.backends.locks import lock_of
from energy_guard.backends.transformers import Transformers
from energy_guard.errors import InputError
from energy_guard.request import Request, Sampling
from energy_guard.trace import SIGNALS

LETTERS = list(range(ord("a"), ord("z") + 1))


@pytest.fixture
def model() -> Iterator[Any]:
    """After the test it must be as it was."""
    loaded = model_of("llama")
    vars(loaded).pop("_previous_max_cache_length", None)  # generate itself leaves that
    before, random = dict(vars(loaded)), torch.random.get_rng_state()
    yield loaded
    vars(loaded).pop("_previous_max_cache_length", None)
    after = dict(vars(loaded))
    vars(loaded).update(before)
    for name in after.keys() - before.keys():  # the next test gets a clean one
        delattr(loaded, name)
    assert after == before
    assert not lock_of(loaded).locked
    torch.random.set_rng_state(random)


def letters(_batch: int, _ids: Any) -> list[int]:
    return LETTERS


def cache_of(out: Any) -> list[Any]:
    """All there is to know of a cache's layers."""
    return [
        (layer.keys, layer.values, layer.get_seq_length(), getattr(layer, "record_past", None))
        for layer in out.past_key_values.layers
    ]


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one == other


ALL = {"output_scores": True, "output_logits": True, "return_dict_in_generate": True}


@pytest.mark.parametrize("last_row", [True, False])
@pytest.mark.parametrize("options", [{"repetition_penalty": 1.3}, {"do_sample": True}])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_generate_returns_is_the_same(
    family: str, options: dict[str, Any], last_row: bool
) -> None:
    model = model_of(family)
    plain = written(model, PROMPTS, **ALL, **options)
    drawn = torch.random.get_rng_state()
    with capture((model, TOKENIZER), last_row=last_row) as traces:
        out = written(model, PROMPTS, **ALL, **options)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert list(out) == list(plain)
    assert_same(
        [out.sequences, out.scores, out.logits], [plain.sequences, plain.scores, plain.logits]
    )
    assert_same(cache_of(out), cache_of(plain))
    assert {len(trace.log_partition) - len(trace) for trace in traces} == {int(last_row)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cache_of_the_users_goes_through_several_turns(family: str) -> None:
    model = model_of(family)

    def turns() -> list[Any]:
        cache, said, outs = DynamicCache(config=model.config), list(SHORT), []
        for text in ([], LONGER, SHORT):
            said += text
            outs.append(written(model, [said], past_key_values=cache, **ALL))
            said = outs[-1].sequences[0].tolist()
        return outs

    plain = turns()
    with capture((model, TOKENIZER)) as traces:
        outs = turns()
    for mine, theirs, trace in zip(outs, plain, traces, strict=True):
        assert_same([mine.sequences, mine.logits], [theirs.sequences, theirs.logits])
        said = mine.sequences[0].tolist()
        assert len(trace.log_partition) == 11
        assert_teacher_forced(model, said[:-10], trace)
    assert_same(cache_of(outs[-1]), cache_of(plain[-1]))


def test_a_cache_that_cannot_be_cropped_is_left_alone(model: Any) -> None:
    """The row after the last token is then missing, not bought with the user's cache."""
    cache = StaticCache(config=model.config, max_cache_len=40)
    with capture((model, TOKENIZER)) as traces:
        written(model, [SHORT], past_key_values=cache)
    assert int(cache.get_seq_length()) == len(SHORT) + 9
    assert np.isnan(traces[0].spilled_energy).tolist() == [False] * 9 + [True]
    assert_teacher_forced(model, SHORT, traces[0])


def test_only_the_new_part_of_a_prompt_beside_its_cache(model: Any) -> None:
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(torch.tensor([LONGER]), past_key_values=cache)
    given = {"attention_mask": torch.ones(1, len(LONGER) + 3), "past_key_values": cache}
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    with capture((model, TOKENIZER)) as traces:
        model.generate(torch.tensor([SHORT]), **given, **options)
    assert len(traces[0]) == 5
    assert_teacher_forced(model, LONGER + SHORT, traces[0])


def test_lists_that_are_handed_in_are_left_as_they_are(model: Any) -> None:
    processors = LogitsProcessorList([lambda _ids, scores: scores])
    criteria = [lambda ids, _scores, **_: torch.zeros(len(ids), dtype=torch.bool)]
    with capture(model):
        written(model, PROMPTS, logits_processor=processors, stopping_criteria=criteria)
    assert (len(processors), len(criteria)) == (1, 1)


def test_a_pipeline(model: Any) -> None:
    pipe = pipeline("text-generation", model=model, tokenizer=TOKENIZER)
    options = {"max_new_tokens": 9, "do_sample": False, "return_full_text": False}
    plain = pipe(["the cat", "a dog"], prefix_allowed_tokens_fn=letters, **options)
    with capture(pipe) as traces:
        out = pipe(["the cat", "a dog"], prefix_allowed_tokens_fn=letters, **options)
    assert out == plain
    assert [trace.text for trace in traces] == [answers[0]["generated_text"] for answers in out]
    for prompt, trace in zip(("the cat", "a dog"), traces, strict=True):
        assert_teacher_forced(model, TOKENIZER(prompt).input_ids, trace)


def test_a_chat_through_a_pipeline_in_batches(model: Any) -> None:
    pipe = pipeline("text-generation", model=model, tokenizer=TOKENIZER, batch_size=2)
    chats = [[{"role": "user", "content": text}] for text in ("hi", "hello there", "hey")]
    with capture(pipe) as traces:
        out = pipe(chats, max_new_tokens=6, do_sample=False, prefix_allowed_tokens_fn=letters)
    answers = [chat[0]["generated_text"][-1]["content"] for chat in out]
    assert [trace.text for trace in traces] == answers
    for chat, trace in zip(chats, traces, strict=True):
        prompt = TOKENIZER.apply_chat_template(chat, add_generation_prompt=True)
        assert_teacher_forced(model, prompt["input_ids"], trace)


def test_without_a_tokenizer_there_are_numbers_and_no_text(model: Any) -> None:
    with capture(model) as traces:
        written(model, PROMPTS)
    with capture((model, TOKENIZER)) as named:
        written(model, PROMPTS)
    for bare, full in zip(traces, named, strict=True):
        assert (bare.text, set(bare.pieces), bare.content_end) == ("", {b""}, 0)
        assert bare.ids.tolist() == full.ids.tolist()
        np.testing.assert_array_equal(bare.spilled_energy, full.spilled_energy)


def test_text_and_end(model: Any) -> None:
    def end_after_four(_batch: int, ids: Any) -> list[int]:
        return LETTERS if len(ids) < len(SHORT) + 4 else [END]

    options = {"eos_token_id": END, "prefix_allowed_tokens_fn": end_after_four}
    out, (trace,) = captured(model, [SHORT], **options)
    assert trace.ids[-1] == END
    assert (trace.finish_reason, len(trace), trace.content_end) == ("eos", 5, 4)
    assert trace.text == TOKENIZER.decode(out.sequences[0, 3:], skip_special_tokens=True)


def test_from_embeddings(model: Any) -> None:
    embeddings = model.get_input_embeddings()(torch.tensor([LONGER])).detach()
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with capture((model, TOKENIZER)) as traces:
        for count in (1, 6):
            model.generate(inputs_embeds=embeddings, max_new_tokens=count, **options)
    for trace, count in zip(traces, (1, 6), strict=True):
        assert len(trace.log_partition) == count + 1
        assert_teacher_forced(model, LONGER, trace)


def test_padding_that_only_generate_knows_of(model: Any) -> None:
    ids = padded([SHORT, LONGER])["input_ids"]
    with capture((model, TOKENIZER)) as traces:
        for beams in (1, 2):
            options = {"num_beams": beams, "max_new_tokens": 4, "do_sample": False}
            model.generate(ids, pad_token_id=0, eos_token_id=None, **options)
    for trace, prompt in zip(traces, [SHORT, LONGER] * 2, strict=True):
        assert_teacher_forced(model, prompt, trace)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_inside_the_modes_of_pytorch(model: Any, mode: Any) -> None:
    with mode(), capture((model, TOKENIZER)) as traces:
        written(model, [LONGER])
    assert len(traces[0].log_partition) == 11
    assert_teacher_forced(model, LONGER, traces[0])


def test_captures_inside_each_other(model: Any) -> None:
    with capture((model, TOKENIZER)) as outer:
        with capture(model) as inner, capture((model, TOKENIZER)) as innermost:
            written(model, PROMPTS)
        written(model, [SHORT])
    assert [len(traces) for traces in (outer, inner, innermost)] == [4, 3, 3]
    for traces in (inner, innermost):
        for mine, theirs in zip(traces, outer, strict=False):
            np.testing.assert_array_equal(mine.log_partition, theirs.log_partition)
    assert_teacher_forced(model, LONG, innermost[1])


def test_two_captures_cannot_both_have_the_row_after_a_static_cache(model: Any) -> None:
    """The first takes it; for the second the cache is no longer as the generation left it."""
    stop = [lambda ids, _scores, **_: ids.shape[1] >= len(SHORT) + 4]
    with capture((model, TOKENIZER)) as outer, capture((model, TOKENIZER)) as inner:
        written(model, [SHORT], cache_implementation="static", stopping_criteria=stop)
    assert sorted(len(traces[0].log_partition) for traces in (outer, inner)) == [4, 5]
    for traces in (outer, inner):
        assert_teacher_forced(model, SHORT, traces[0])


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_guarded_answers_inside_a_capture(model: Any, cache: str) -> None:
    backend = Transformers(model, TOKENIZER, generation={"cache_implementation": cache})
    request = Request.raw("the cat", max_tokens=9, stop=("zz",))
    alone = finished(backend.generate([request]))
    with capture((model, TOKENIZER)) as traces:
        inner = finished(backend.generate([request]))
        again = finished(backend.replay(request, alone.ids.tolist()))
        with backend.session() as session:
            private = finished(session.generate([request], private=True))
    assert inner.ids.tolist() == alone.ids.tolist() == private.ids.tolist() == again.ids.tolist()
    assert len(traces) == 1, "replays and private calls are nobody's answers"
    for trace in (alone, inner, private, again, *traces):
        assert_teacher_forced(model, TOKENIZER("the cat").input_ids, trace)
    if cache == "dynamic":
        assert len(traces[0].log_partition) == len(inner.log_partition) == 10


def test_on_step_sees_each_step_and_stops_one_row_alone(model: Any) -> None:
    """The row ends for good: it is filled up, and the others are what they were."""
    plain = written(model, PROMPTS, eos_token_id=END)[:, -10:].tolist()
    steps: list[Any] = []

    def third_of_the_second_row(step: Any) -> bool:
        steps.append(step)
        return len(steps) == 3 * 2 + 2

    with capture((model, TOKENIZER), third_of_the_second_row) as traces:
        out = written(model, PROMPTS, eos_token_id=END)[:, -10:].tolist()
    assert [(len(t), t.finish_reason) for t in traces] == [
        (10, "length"),
        (3, "cancelled"),
        (10, "length"),
    ]
    assert out == [plain[0], plain[1][:3] + [0] * 7, plain[2]]
    assert len(steps) == 23
    assert [step.nll for step in steps[::3]][:3] == traces[0].nll[:3].tolist()
    for prompt, trace in zip(PROMPTS, traces, strict=True):
        assert_teacher_forced(model, prompt, trace)


def test_on_step_stops_the_whole_generation(model: Any) -> None:
    with capture((model, TOKENIZER), lambda step: step.nll > 0) as traces:
        out = written(model, PROMPTS)
    assert out.shape[1] == len(LONG) + 1
    assert [trace.finish_reason for trace in traces] == ["cancelled"] * 3


def breaks(at: int) -> Any:
    def broken(ids: Any, scores: Any) -> Any:
        if ids.shape[1] == len(LONG) + at:
            raise ZeroDivisionError
        return scores

    return broken


@pytest.mark.parametrize("at", [0, 3])
def test_an_exception_in_generate_leaves_what_there_is(model: Any, at: int) -> None:
    with pytest.raises(ZeroDivisionError), capture((model, TOKENIZER)) as traces:
        written(model, PROMPTS, logits_processor=[breaks(at)])
    assert [(len(t), t.finish_reason) for t in traces] == [(3, "closed")] * (3 if at else 0)
    for prompt, trace in zip(PROMPTS, traces, strict=bool(at)):
        assert_teacher_forced(model, prompt, trace)
    assert len(captured(model, [SHORT])[1]) == 1


def test_an_exception_in_on_step_reaches_the_user(model: Any) -> None:
    def broken(_step: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), capture((model, TOKENIZER), broken) as traces:
        written(model, PROMPTS)
    assert [(len(t), t.finish_reason) for t in traces] == [(1, "closed")] * 3


def test_streaming_from_a_thread_of_the_users(model: Any) -> None:
    streamer = TextIteratorStreamer(TOKENIZER, skip_prompt=True)
    options = {"streamer": streamer, "prefix_allowed_tokens_fn": letters}
    with capture((model, TOKENIZER)) as traces:
        thread = threading.Thread(target=written, args=(model, [SHORT]), kwargs=options)
        thread.start()
        text = "".join(streamer)
        thread.join(30)
    assert text == traces[0].text
    assert len(text) == 10


def test_continuous_batching_is_refused(model: Any) -> None:
    with pytest.raises(InputError, match="paged"), capture(model):
        written(model, [SHORT], cache_implementation="paged")


def test_a_generation_without_new_tokens_has_no_trace(model: Any) -> None:
    with capture(model) as traces, pytest.raises(ValueError, match="max_new_tokens"):
        written(model, [SHORT], max_new_tokens=0)
    assert traces == []


def test_requests_beyond_a_captured_model(model: Any) -> None:
    """A backend around a model of the user's is not disturbed by captures before it."""
    with capture((model, TOKENIZER)):
        written(model, [SHORT])
    backend = load((model, TOKENIZER))
    request = Request.raw("abc", max_tokens=6, sampling=Sampling(temperature=1.0, seed=1))
    first, second = (finished(backend.generate([request])) for _ in range(2))
    for name in SIGNALS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_captures_of_tasks_that_overlap_each_have_all_calls_made_while_they_last(
    model: Any,
) -> None:
    """The first to begin is the first to end."""

    def call(tokens: int) -> None:
        model.generate(torch.tensor([SHORT]), max_new_tokens=tokens, min_new_tokens=tokens)

    async def main() -> tuple[list[int], list[int]]:
        begun, over = asyncio.Event(), asyncio.Event()

        async def early() -> list[int]:
            with capture(model) as traces:
                call(2)
                begun.set()
                await asyncio.sleep(0)  # the other task begins
                call(3)
            over.set()
            return [len(trace) for trace in traces]

        async def late() -> list[int]:
            await begun.wait()
            with capture(model) as traces:
                await over.wait()
                call(4)
            return [len(trace) for trace in traces]

        one, other = await asyncio.gather(early(), late())
        return one, other

    before = set(vars(model))
    assert asyncio.run(main()) == ([2, 3], [3, 4])
    assert set(vars(model)) == before
