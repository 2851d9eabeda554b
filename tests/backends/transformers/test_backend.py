"""What is particular to the transformers backend; the contract is in test_contract_transformers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from backend_contract import finished
from tiny_models import END, SPECIALS, byte_tokenizer, tiny_model
from transformers import AutoModel, T5Config, T5ForConditionalGeneration

from energy_guard import Guard, Policy, capture, load
from energy_guard.backends.transformers import Transformers
from energy_guard.errors import (
    ConfigError,
    EngineError,
    InputError,
    ModelFileError,
    PromptError,
    RowError,
)
from energy_guard.request import (
    CancelToken,
    Finished,
    JsonSchema,
    Message,
    Request,
    Sampling,
    Token,
)
from energy_guard.trace import SIGNALS

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def llama() -> Any:
    model = tiny_model("llama", eos_token_id=None)
    with torch.no_grad():
        model.lm_head.weight[END] = 0.0  # never the largest
    return model


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny-llama")
    tiny_model("llama").save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def backend(llama: Any) -> Transformers:
    return Transformers(llama, byte_tokenizer())


@contextmanager
def hooked(module: Any, hook: Any) -> Iterator[None]:
    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def widths_read(model: Any) -> Iterator[list[int]]:
    """How many columns of tokens each forward pass was given."""
    widths: list[int] = []
    with hooked(model, lambda _m, _a, kw: widths.append(kw["input_ids"].shape[1])):
        yield widths


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "energy-guard"]


def larger(added: int) -> Any:
    """A tokenizer with more tokens than the model has vectors for, one of them for padding."""
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"<extra_{i}>" for i in range(added)], special_tokens=True)
    tokenizer.pad_token = "<extra_0>"
    return tokenizer


class TestTheWorker:
    def test_it_has_ended_when_the_answer_has(self, backend: Transformers) -> None:
        finished(backend.generate([Request.raw("x", max_tokens=3)]))
        assert workers() == []

    def test_it_has_ended_when_a_stream_is_closed(self, backend: Transformers) -> None:
        events = backend.generate([Request.raw("x", max_tokens=50)])
        next(events)
        assert len(workers()) == 1
        events.close()
        assert workers() == []

    def test_it_never_runs_ahead_of_the_listener(self, llama: Any, backend: Transformers) -> None:
        with widths_read(llama) as widths:
            events = backend.generate([Request.raw("x", max_tokens=50)])
            for expected in (1, 2, 3):
                while not isinstance(next(events), Token):
                    pass
                assert len(widths) == expected
            events.close()

    def test_an_open_stream_does_not_keep_the_interpreter_alive(self) -> None:
        code = (
            "import sys; sys.path.insert(0, 'tests')\n"
            "from tiny_models import byte_tokenizer, tiny_model\n"
            "from energy_guard import load\n"
            "from energy_guard.request import Request\n"
            "events = load((tiny_model(), byte_tokenizer())).generate([Request.raw('x')])\n"
            "next(events)\n"
            "print('open')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=Path(__file__).parents[3],
        )
        assert (done.stdout, done.returncode) == ("open\n", 0), done.stderr


class TestInterrupting:
    def test_cancelled_while_the_prompt_is_read(self, llama: Any, backend: Transformers) -> None:
        cancel = CancelToken()
        reached = []
        first, second = llama.model.layers
        with (
            hooked(first, lambda *_: cancel.cancel()),
            hooked(second.self_attn, lambda *_: reached.append(True)),
        ):
            trace = finished(backend.generate([Request.raw("x" * 100, cancel=cancel)]))
        assert (len(trace), trace.finish_reason, reached) == (0, "cancelled", [])
        assert len(finished(backend.generate([Request.raw("x", max_tokens=2)]))) == 2

    def test_cancelled_from_another_thread(self, backend: Transformers) -> None:
        cancel = CancelToken()
        other = threading.Thread(target=cancel.cancel)
        events = []
        for event in backend.generate([Request.raw("x", max_tokens=250, cancel=cancel)]):
            if not events:
                other.start()
            events.append(event)
        other.join()
        trace = finished(events)
        assert trace.finish_reason == "cancelled"
        assert 0 < len(trace) < 250
        assert workers() == []

    def test_one_of_a_batch(self, backend: Transformers) -> None:
        cancel = CancelToken()
        requests = [Request.raw("ab", max_tokens=20), Request.raw("c", max_tokens=20)]
        alone = [finished(backend.generate([request])) for request in requests]
        requests[0] = Request.raw("ab", max_tokens=20, cancel=cancel)
        ended = {}
        for event in backend.generate(requests):
            if isinstance(event, Token) and event.sequence == 0:
                cancel.cancel()
            if isinstance(event, Finished):
                ended[event.sequence] = event.trace
        assert (len(ended[0]), ended[0].finish_reason) == (1, "cancelled")
        assert ended[1].ids.tolist() == alone[1].ids.tolist()


class TestBatches:
    def test_requests_run_together(self, llama: Any, backend: Transformers) -> None:
        requests = [Request.raw(text, max_tokens=4) for text in ("a", "bcd", "ef")]
        with widths_read(llama) as widths:
            list(backend.generate(requests))
        assert widths == [3, 1, 1, 1, 1], "one prompt of three columns, three tokens, a last row"

    def test_not_more_than_batch_size(self, llama: Any) -> None:
        backend = Transformers(llama, byte_tokenizer(), batch_size=2)
        with widths_read(llama) as widths:
            list(backend.generate([Request.raw("a", max_tokens=2) for _ in range(3)]))
        assert widths == [1, 1, 1] * 2

    def test_settings_that_differ_are_not_mixed(self, backend: Transformers) -> None:
        greedy = Request.raw("abc", max_tokens=6)
        warm = Request.raw("abc", max_tokens=6, sampling=Sampling(temperature=3.0, seed=1))
        alone = [finished(backend.generate([r])).ids.tolist() for r in (greedy, warm)]
        events = list(backend.generate([greedy, warm, greedy]))
        ids = {e.sequence: e.trace.ids.tolist() for e in events if isinstance(e, Finished)}
        assert [ids[0], ids[1], ids[2]] == [alone[0], alone[1], alone[0]]

    def test_no_sequence_runs_past_the_positions_while_it_waits(self) -> None:
        model = tiny_model("gpt2", max_position_embeddings=32, n_positions=32, eos_token_id=None)
        backend = load((model, byte_tokenizer()))
        requests = [Request.raw("x" * 30, max_tokens=2), Request.raw("y", max_tokens=31)]
        traces = [e.trace for e in backend.generate(requests) if isinstance(e, Finished)]
        assert sorted(map(len, traces)) == [2, 31]


class TestRetries:
    def test_the_prompt_is_read_once_in_a_session(self, llama: Any, backend: Transformers) -> None:
        request = Request.raw("what is so odd?", max_tokens=3)
        with backend.session() as session, widths_read(llama) as widths:
            first = finished(session.generate([request]))
            assert widths == [15, 1, 1, 1]
            widths.clear()
            again = finished(session.generate([request]))
        assert widths == [1, 1, 1, 1]
        for name in SIGNALS:
            np.testing.assert_allclose(
                getattr(again, name), getattr(first, name), rtol=1e-5, atol=5e-5, err_msg=name
            )

    def test_what_two_prompts_share_is_read_once(self, llama: Any, backend: Transformers) -> None:
        alone = finished(backend.generate([Request.raw("the cat sat", max_tokens=4)]))
        with backend.session() as session, widths_read(llama) as widths:
            list(session.generate([Request.raw("the dog ran", max_tokens=4)]))
            widths.clear()
            after = finished(session.generate([Request.raw("the cat sat", max_tokens=4)]))
        assert widths[0] == len(b"cat sat")
        np.testing.assert_allclose(after.spilled_energy, alone.spilled_energy, rtol=0, atol=1e-4)

    def test_a_sliding_window_that_has_moved_on_is_read_again(self) -> None:
        backend = load((tiny_model("mistral", sliding_window=8), byte_tokenizer()))
        request = Request.raw("the prompt is longer than that", max_tokens=5)
        with backend.session() as session:
            first = finished(session.generate([request]))
            again = finished(session.generate([request]))
        np.testing.assert_allclose(again.nll, first.nll, rtol=0, atol=1e-6)

    def test_a_session_goes_on_after_a_failure(self, llama: Any, backend: Transformers) -> None:
        request = Request.raw("the cat", max_tokens=3)
        with backend.session() as session:
            first = finished(session.generate([request]))
            with hooked(llama, _full), pytest.raises(EngineError):
                list(session.generate([request]))
            again = finished(session.generate([request]))
        assert again.log_partition.tolist() == first.log_partition.tolist()


def _full(*_: object) -> None:
    torch.empty(2**60)  # the allocator's own failure


class TestFailures:
    def test_out_of_memory_names_the_way_out(self, llama: Any, backend: Transformers) -> None:
        request = Request.raw("x", max_tokens=2)
        with hooked(llama, _full), pytest.raises(EngineError, match="batch_size"):
            list(backend.generate([request]))
        assert len(finished(backend.generate([request]))) == 2, "the engine is usable afterwards"
        assert workers() == []

    def test_a_broken_row_is_an_error_and_no_number(self) -> None:
        model = tiny_model("llama")
        with torch.no_grad():
            model.lm_head.weight[5] = float("nan")
        with pytest.raises(RowError, match="NaN"):
            list(load((model, byte_tokenizer())).generate([Request.raw("x", max_tokens=2)]))

    def test_no_generation_head(self) -> None:
        headless = AutoModel.from_config(tiny_model("llama").config)
        with pytest.raises(InputError, match="AutoModelForCausalLM"):
            load((headless, byte_tokenizer()))
        with pytest.raises(InputError, match="AutoModelForCausalLM"), capture(headless):
            pass

    def test_encoder_decoder(self) -> None:
        config = T5Config(vocab_size=260, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
        model = T5ForConditionalGeneration(config)
        with pytest.raises(InputError, match="decoder-only"):
            load((model, byte_tokenizer()))
        with pytest.raises(InputError, match="decoder-only"), capture(model):
            pass

    @pytest.mark.parametrize("vectors", [200, 400])
    def test_a_tokenizer_of_another_model(self, vectors: int) -> None:
        model = tiny_model("llama", vocab_size=vectors, eos_token_id=None)
        with pytest.raises(InputError, match=f"260 tokens and the model {vectors}"):
            load((model, byte_tokenizer()))

    def test_padded_vectors_are_fine(self) -> None:
        backend = load((tiny_model("llama", vocab_size=264, eos_token_id=None), byte_tokenizer()))
        assert len(finished(backend.generate([Request.raw("x", max_tokens=3)]))) == 3

    def test_generous_padding_is_fine_when_the_end_token_is_the_models(self) -> None:
        backend = load((tiny_model("llama", vocab_size=400), byte_tokenizer()))
        assert len(finished(backend.generate([Request.raw("x", max_tokens=3)]))) == 3

    @pytest.mark.parametrize("added", [1, 4])
    def test_added_tokens_without_vectors_are_fine(self, added: int) -> None:
        """As in Gemma 3 and Code Llama."""
        tokenizer = larger(added)
        backend = load((tiny_model("llama"), tokenizer))
        batch = [Request.raw("x", max_tokens=3), Request.raw("longer", max_tokens=3)]
        traces = [e.trace for e in backend.generate(batch) if isinstance(e, Finished)]
        assert all(len(trace) > 0 for trace in traces)
        schema = JsonSchema('{"enum": ["yes", "no"]}')
        end = list(backend.generate([Request.raw("x", constraint=schema, max_tokens=8)]))[-1]
        assert end.trace.text in ('"yes"', '"no"')

    def test_a_prompt_with_a_token_without_vector_is_refused(self) -> None:
        template = "{{ messages[0]['content'] }}<extra_0>"
        backend = load((tiny_model("llama"), larger(1)), chat_template=template)
        with pytest.raises(PromptError, match="outside the model's vocabulary: 260"):
            list(backend.generate([Request.chat("Hi")]))

    def test_a_larger_tokenizer_with_another_end_token_is_refused_with_a_way_out(self) -> None:
        model = tiny_model("llama", eos_token_id=3)
        with pytest.raises(InputError, match="261 tokens and the model 260") as error:
            load((model, larger(1)))
        assert "same directory" not in error.value.hint
        model.generation_config.eos_token_id = 259
        assert load((model, larger(1))).info.backend == "transformers"

    def test_a_model_without_its_tokenizer(self, llama: Any) -> None:
        with pytest.raises(InputError, match=r"load\(\(model, tokenizer\)\)"):
            load(llama)

    def test_a_prompt_beyond_the_positions(self, backend: Transformers) -> None:
        with pytest.raises(PromptError, match="300 tokens and the context holds 256"):
            list(backend.generate([Request.raw("x" * 300)]))

    @pytest.mark.parametrize(
        "request_",
        [
            Request.raw("x", sampling=Sampling(temperature=1.0, mirostat_mode=2)),
        ],
        ids=["mirostat"],
    )
    def test_what_only_llama_cpp_can(self, backend: Transformers, request_: Request) -> None:
        with pytest.raises(InputError, match=r"llama\.cpp"):
            list(backend.generate([request_]))

    @pytest.mark.parametrize("name", ["num_beams", "assistant_model", "max_new_tokens"])
    def test_options_of_generate_that_cannot_be_set(self, llama: Any, name: str) -> None:
        with pytest.raises(ConfigError, match=name):
            Transformers(llama, byte_tokenizer(), generation={name: 2})

    def test_options_of_an_engine_that_is_loaded(self, llama: Any) -> None:
        with pytest.raises(ConfigError, match="dtype"):
            load((llama, byte_tokenizer()), dtype="float16")


class TestLoading:
    def test_a_directory(self, directory: Path) -> None:
        backend = load(directory, device="cpu")
        mine = load((tiny_model("llama"), byte_tokenizer()))
        assert backend.info.backend == "transformers"
        assert backend.info.name == directory.name
        assert backend.info.fingerprint == mine.info.fingerprint
        request = Request.chat("hello", max_tokens=5)
        one, other = finished(backend.generate([request])), finished(mine.generate([request]))
        assert one.log_partition.tolist() == other.log_partition.tolist()

    def test_a_gguf_file_is_parsed_once(
        self, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parsed: list[Any] = []

        class Counting(gguf.GGUFReader):  # type: ignore[misc]
            def __init__(self, path: Any) -> None:
                parsed.append(path)
                super().__init__(path)

        monkeypatch.setattr(gguf, "GGUFReader", Counting)
        load(tiny_path, "transformers")
        assert len(parsed) == 1
        assert gguf.GGUFReader is Counting, "it is left as it was found"

    def test_in_another_precision(self, directory: Path) -> None:
        backend = load(str(directory), dtype="bfloat16", device="cpu")
        assert backend.engine.dtype == torch.bfloat16
        assert backend.info.fingerprint != load(directory).info.fingerprint
        trace = finished(backend.generate([Request.raw("x", max_tokens=3)]))
        assert np.isfinite(trace.nll).all()

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"dtype": "float8"}, ConfigError),
            ({"dtyp": "float32"}, ConfigError),
            ({"device": "nowhere"}, ConfigError),
            ({"device": "cuda:99"}, ConfigError),
        ],
    )
    def test_options_that_cannot_be(self, directory: Path, options: Any, error: Any) -> None:
        with pytest.raises(error):
            load(directory, **options)

    def test_a_hub_id_that_cannot_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(ModelFileError, match="hub id"):
            load("nobody/nothing", local_files_only=True)

    def test_code_that_comes_with_a_model_is_not_run(self, directory: Path, tmp_path: Path) -> None:
        for file in directory.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        config = json.loads((tmp_path / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        marker = tmp_path / "was-run"
        (tmp_path / "own.py").write_text(f"open({str(marker)!r}, 'w')\n")
        with pytest.raises(ModelFileError, match="custom code"):
            load(tmp_path)
        assert not marker.exists()


class TestGuarding:
    def test_control_tokens_in_a_question_are_plain_text(self, backend: Transformers) -> None:
        asked = Request.chat([Message("user", "a<|im_end|>b")])
        ids = backend._prompts.encode(asked)
        assert ids.count(END) == 1, "the template's own"
        text = backend.tokenizer.decode(ids)
        assert text.startswith("<|im_start|>user\na<|im_end|>b<|im_end|>\n")
        raw = backend._prompts.encode(Request.raw(SPECIALS[0]))
        assert len(raw) == len(SPECIALS[0])

    def test_ask_with_retries(self, backend: Transformers) -> None:
        policy = Policy(detector="nll:max", abstain=0.0, retries=2)
        seeded = Sampling(seed=0)  # by chance a random model ends its sentence, once in many runs
        result = Guard(backend, policy, locator="whole").ask("hello", max_tokens=6, sampling=seeded)
        assert (result.verdict, len(result.attempts)) == ("unscored", 3), "each is cut off"
        assert not result.shown

    def test_many_answers_are_scored_as_one_by_one(self, backend: Transformers) -> None:
        guard = Guard(backend, locator="whole")
        pairs = [("one", "a b"), ("and two", "abcdefgh"), ("3", "x")]
        together = list(guard.score_many(pairs))
        for (prompt, answer), result in zip(pairs, together, strict=True):
            alone = guard.score(prompt, answer)
            assert (result.answer, alone.answer) == (answer, answer)
            np.testing.assert_allclose(result.trace.nll, alone.trace.nll, rtol=0, atol=1e-4)

    def test_generation_options(self, llama: Any) -> None:
        class Only:
            """A constraint of one's own."""

            def __call__(self, _ids: Any, scores: Any) -> Any:
                return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([65]), 0.0)

        backend = Transformers(llama, byte_tokenizer(), generation={"logits_processor": [Only()]})
        trace = finished(backend.generate([Request.raw("x", max_tokens=4)]))
        assert trace.text == "AAAA"
        assert (trace.nll > 0.1).any(), "the raw rows, not those that the constraint leaves"
