"""The bytes of tokens: what a tokenizer decodes is what its pieces are, wherever they stand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import SPECIALS, byte_tokenizer, tiny_model
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from energy_guard import capture
from energy_guard.backends.transformers.vocabulary import Vocabulary

CORPUS = [
    "the cat sat on the mat, and the dog — über naïve 日本語 日本 — ran!",
    "don't stop: 3.14",
] * 8
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level() -> Tokenizer:
    """As GPT-2, Llama 3, Qwen: merges of bytes, so that a token may end inside a character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


def pieces_of_words(prefix: str) -> list[str]:
    words = "the cat sat on mat and dog ran a t h e c o n s ing über 日本 日".split()
    return [*(prefix + word for word in words), *words, *prefix, ".", ",", "!", "\n"]


def sentencepiece(strip: bool, unigram: bool) -> Tokenizer:
    """As Llama 2, Mistral (strip) and Gemma: a mark for spaces, and bytes for the rest."""
    names = list(dict.fromkeys(["<unk>", *BYTES, *pieces_of_words("▁")]))
    if unigram:
        scores = [(name, -float(len(name) < 3) - i / 999) for i, name in enumerate(names)]
        tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    else:
        characters = {character for name in names[257:] for character in name}
        vocabulary = {name: i for i, name in enumerate(dict.fromkeys([*names, *characters]))}
        tokenizer = Tokenizer(
            models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True)
        )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        if strip
        else [normalizers.Replace(" ", "▁")]
    )
    chain = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*chain, *([decoders.Strip(" ", 1, 0)] if strip else [])])
    return tokenizer


def metaspace() -> Tokenizer:
    """As T5's and ALBERT's: the mark belongs to the pre-tokenizer."""
    tokenizer = sentencepiece(strip=False, unigram=True)
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return tokenizer


def wordpiece() -> Tokenizer:
    """As BERT: continuations are marked, spaces are not written down."""
    characters = sorted({character for text in CORPUS for character in text if character != " "})
    names = ["[UNK]", *pieces_of_words("##"), *characters, *("##" + c for c in characters)]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True)])
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


KINDS = {
    "byte level": wrapped(byte_level()),
    "Llama 2": wrapped(sentencepiece(strip=True, unigram=False)),
    "Gemma": wrapped(sentencepiece(strip=False, unigram=False)),
    "Unigram": wrapped(sentencepiece(strip=True, unigram=True)),
    "Metaspace": wrapped(metaspace()),
    "WordPiece": wrapped(wordpiece()),
}
LOSSLESS = ["byte level", "Llama 2", "Gemma", "Unigram"]
TEXTS = [
    "the cat sat on the mat.",
    " two  spaces   and a\nline\n\n",
    "日本語 über 🎉👩‍👩‍👧 é",
    "don't stop, 3.14!",
    "<tool>the<tool> cat",
]


def decoded(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def assert_continues(kind: str, text: str) -> None:
    """Wherever a text is cut into prompt and answer, the answer's pieces are what it adds."""
    tokenizer = KINDS[kind]
    vocabulary = Vocabulary(tokenizer)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    whole = decoded(tokenizer, ids).encode()
    for cut in range(1, len(ids)):
        begin = decoded(tokenizer, ids[:cut])
        if not begin.strip() or "\ufffd" in begin:  # a character is cut in two
            continue
        pieces = [vocabulary.piece(token) for token in ids[cut:]]
        assert begin.encode() + b"".join(pieces) == whole


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_continue_a_text_as_it_is_decoded(kind: str, text: str) -> None:
    assert_continues(kind, text)


@given(kind=st.sampled_from(LOSSLESS), text=st.text("the cat日本🎉é\u0301.,!\n", max_size=20))
def test_any_text_is_cut_anywhere(kind: str, text: str) -> None:
    assert_continues(kind, text)


@given(kind=st.sampled_from(LOSSLESS), text=st.text(max_size=20))
def test_nothing_is_lost(kind: str, text: str) -> None:
    """But the space that some put before a text."""
    tokenizer = KINDS[kind]
    ids = tokenizer(text, add_special_tokens=False).input_ids
    joined = b"".join(map(Vocabulary(tokenizer).piece, ids)).decode()
    assert joined in (text, " " + text)


@pytest.mark.parametrize("kind", ["byte level", "Llama 2", "Gemma", "Unigram"])
def test_a_split_character_is_its_bytes(kind: str) -> None:
    tokenizer = KINDS[kind]
    ids = tokenizer("🎉", add_special_tokens=False).input_ids[-4:]
    pieces = [Vocabulary(tokenizer).piece(token) for token in ids]
    assert pieces == [bytes([byte]) for byte in "🎉".encode()]


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_and_ids_beyond_the_vocabulary_have_no_text(kind: str) -> None:
    tokenizer = KINDS[kind]
    vocabulary = Vocabulary(tokenizer)
    assert vocabulary.piece(tokenizer.eos_token_id) == b""
    assert vocabulary.piece(len(tokenizer) + 3) == b""
    assert vocabulary.piece(tokenizer.convert_tokens_to_ids("<tool>")).strip() == b"<tool>"


def test_every_byte_and_the_merge_of_the_tiny_models() -> None:
    vocabulary = Vocabulary(byte_tokenizer())
    assert [vocabulary.piece(token) for token in range(256)] == [bytes([b]) for b in range(256)]
    assert vocabulary.piece(256) == b"th"
    assert {vocabulary.piece(257 + i) for i in range(len(SPECIALS))} == {b""}


def test_names_that_are_no_stand_ins_for_bytes() -> None:
    """Some vocabularies have plain text among byte-level names; decoders take it as it is."""
    names = [*pre_tokenizers.ByteLevel.alphabet(), "日本", "a b"]
    tokenizer = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    wrapped_ = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    for token in (256, 257):
        assert Vocabulary(wrapped_).piece(token) == decoded(wrapped_, [token]).encode()


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_of_a_captured_answer(kind: str) -> None:
    """A random model's; single bytes apart, of which decoders give up the valid ones, too."""
    tokenizer = KINDS[kind]
    model = tiny_model(vocab_size=len(tokenizer), eos_token_id=None)
    prompt = tokenizer("the cat", return_tensors="pt", add_special_tokens=False)
    names = tokenizer.get_vocab()
    unwanted = [names[name] for name in ("<|end|>", *BYTES) if name in names]
    with capture((model, tokenizer)) as traces:
        out = model.generate(
            prompt["input_ids"], do_sample=True, max_new_tokens=30, suppress_tokens=unwanted
        )
    begin = decoded(tokenizer, prompt["input_ids"][0].tolist())
    assert begin + traces[0].text == decoded(tokenizer, out[0].tolist())
    assert len(traces[0].text) > 5
