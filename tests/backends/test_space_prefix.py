"""Vocabularies that put a space before every text: what is judged is the text that was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import BYTES, SENTENCEPIECE, write_tiny_gguf
from tiny_models import tiny_model
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from energy_guard import Guard, load
from energy_guard.backends.base import Backend
from energy_guard.errors import PromptError
from energy_guard.request import Request, Sampling

CHAT = "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"
WORDS = {name: -1.0 - i / 99 for i, name in enumerate(SENTENCEPIECE[3 + len(BYTES) :])}


def metaspace(scheme: str | None, byte_fallback: bool = True) -> PreTrainedTokenizerFast:
    """As Mistral's; without a scheme as Llama 2's, which puts the space there by a normalizer."""
    names = [(name, -9.0) for name in BYTES] if byte_fallback else []
    scores = [*((control, -99.0) for control in SENTENCEPIECE[:3]), *names, *WORDS.items()]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=byte_fallback))
    if scheme is None:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<unk>", "<s>", "</s>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=CHAT,
    )


def transformers_backend(tokenizer: PreTrainedTokenizerFast) -> Backend:
    model = tiny_model("llama", vocab_size=len(tokenizer), eos_token_id=2)
    return load((model, tokenizer))


@pytest.fixture(scope="module", params=["llama.cpp", "always", "first", "normalizer"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param != "llama.cpp":
        return transformers_backend(
            metaspace(None if request.param == "normalizer" else request.param)
        )
    path: Path = tmp_path_factory.mktemp("m") / "sentencepiece.gguf"
    write_tiny_gguf(path, chat_template=CHAT, sentencepiece=True)
    return load(str(path), n_ctx=256, n_threads=1)


@pytest.mark.parametrize(
    "answer", ["Paris", " Paris", "  Paris", "\nParis is\n", "the é", "</s> Paris", "a.", ".\n"]
)
def test_the_answer_that_is_judged_is_the_one_that_was_given(backend: Any, answer: str) -> None:
    trace = Guard(backend).score("Which city?", answer).trace

    assert trace.text == answer


@pytest.mark.parametrize("answer", ["Paris is", " Paris", " the letters"])
def test_an_answer_has_the_tokens_that_it_has_behind_its_prompt(backend: Any, answer: str) -> None:
    codec = backend._prompts._codec
    prompt = "<s>[INST] Which city? [/INST]"
    together = codec.tokenize(prompt + answer, special=True)
    before = codec.tokenize(prompt, special=True)
    assert together[: len(before)] == before

    trace = Guard(backend).score("Which city?", answer).trace

    assert trace.ids.tolist() == together[len(before) :]
    assert trace.prompt_tokens == len(before)


@pytest.mark.parametrize("wanted", [" Paris", "Paris is"])
def test_a_live_answer_is_replayed_with_its_own_tokens_and_numbers(
    backend: Any, wanted: str
) -> None:
    guard = Guard(backend)
    ids = guard.score("Which city?", wanted).trace.ids.tolist()
    bias = Sampling(logit_bias=dict.fromkeys(ids[:1], 99.0))
    live = guard.ask("Which city?", max_tokens=1, sampling=bias).trace
    assert live.ids.tolist() == ids[:1]

    replayed = guard.score("Which city?", live.text).trace

    assert replayed.ids.tolist() == live.ids.tolist()
    assert replayed.nll[0] == pytest.approx(live.nll[0], abs=1e-4)


def test_control_tokens_in_a_question_are_text_without_spaces_of_our_own(backend: Any) -> None:
    ids = backend._prompts.encode(Request.chat("a</s>b"))

    assert backend._prompts._codec.text_of(ids).decode().strip() == "[INST] a</s>b [/INST]"


def test_a_text_that_the_vocabulary_cannot_write_is_refused_with_where_it_is_read_otherwise() -> (
    None
):
    backend = transformers_backend(metaspace("always", byte_fallback=False))

    with pytest.raises(
        PromptError, match="cannot write this text: it reads another one from character 6 on"
    ):
        Guard(backend).score("Which city?", "Paris é")
