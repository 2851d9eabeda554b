"""A GGUF file's header is walked over to its end, or refused; nothing in it can do more harm."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from pathlib import Path

import gguf
import pytest
from tiny_gguf import CHATML, HEAD_DIM, KV_HEADS, LAYERS, write_tiny_gguf

from energy_guard.backends.demo_model import demo_path
from energy_guard.backends.gguf_file import (
    GgufFacts,
    check_file,
    fingerprint,
    read_facts,
    read_tensors,
)
from energy_guard.errors import InputError, ModelFileError

HUGE = (2**16, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
KEY = struct.pack("<Q", 1) + b"k"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_gguf(tmp_path_factory.mktemp("m") / "tiny.gguf").read_bytes()


def header(body: bytes, tensors: int = 0, pairs: int = 1, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + body


def refused(path: Path, raw: bytes) -> str:
    path.write_bytes(raw)
    with pytest.raises(ModelFileError, match="its header cannot be read") as caught:
        read_facts(path)
    return str(caught.value)


def test_the_facts_are_those_that_the_reader_of_the_format_finds(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "x.gguf", original_context=77)
    reader = gguf.GGUFReader(path)
    last = reader.tensors[-1].field
    end = last.offset + sum(int(part.nbytes) for part in last.parts)
    kept = LAYERS * KV_HEADS * HEAD_DIM
    assert read_facts(path) == GgufFacts(end, 2048, "gpt-2", LAYERS, (kept, kept))


@pytest.mark.model
@pytest.mark.parametrize("dtype", ["f32", "q4_1"])
def test_the_tensors_are_those_that_the_reader_of_the_format_finds(
    tmp_path: Path, dtype: str
) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", dtype=dtype)
    found = [(t.name, t.shape, t.kind, t.start) for t in read_tensors(path)]
    assert found == [
        (t.name, tuple(t.shape.tolist()), t.tensor_type, t.data_offset)
        for t in gguf.GGUFReader(path).tensors
    ]


def test_the_embedded_model_keeps_its_fingerprint() -> None:
    facts = read_facts(demo_path())
    assert facts == GgufFacts(1_785_664, 8192, "smollm", 30, (30 * 3 * 64, 30 * 3 * 64))
    assert fingerprint(demo_path()) == "2e79d011feac14746c6d6634376c3ccf"


def test_a_text_that_looks_like_a_key_is_none(tmp_path: Path) -> None:
    said = "llama.context_length" + "\x04\0\0\0" * 3 + " tokenizer.ggml.pre "
    path = write_tiny_gguf(tmp_path / "x.gguf", chat_template=said + CHATML)
    facts = read_facts(path)
    assert (facts.trained_context, facts.pre_tokenizer) == (2048, "gpt-2")


@pytest.mark.parametrize("seed", range(300))
def test_a_mutated_header_gives_facts_or_is_refused(tiny: bytes, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    raw = bytearray(tiny)
    path = tmp_path / "x.gguf"
    path.write_bytes(raw)
    end = read_facts(path).header_bytes
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(4, end)
        kind = dice.randrange(4)
        if kind == 0:
            raw[at] = dice.randrange(256)
        elif kind == 1:
            raw[at : at + 8] = struct.pack("<Q", dice.choice(HUGE))
        elif kind == 2:
            del raw[at : at + dice.randint(1, 40)]
        else:
            raw[at:at] = dice.randbytes(dice.randint(1, 40))
    path.write_bytes(raw if dice.random() < 0.8 else raw[: dice.randrange(len(raw))])
    begun = time.perf_counter()
    try:
        check_file(path)
        facts = read_facts(path)
    except InputError:
        pass
    else:
        assert 24 <= facts.header_bytes <= path.stat().st_size
        assert facts.trained_context is None or facts.trained_context > 0
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize("length", HUGE)
@pytest.mark.parametrize(
    ("body", "tensors", "pairs"),
    [
        ("key", 0, 1),
        ("text", 0, 1),
        ("texts", 0, 1),
        ("numbers", 0, 1),
        ("", 0, None),
        ("", None, 0),
        ("name", 1, 0),
    ],
)
def test_an_impossible_length_is_refused_at_once_and_takes_no_memory(
    tmp_path: Path, body: str, tensors: int | None, pairs: int | None, length: int
) -> None:
    packed = struct.pack("<Q", length)
    bodies = {
        "": b"",
        "key": packed,
        "name": packed,
        "text": KEY + struct.pack("<I", 8) + packed,
        "texts": KEY + struct.pack("<II", 9, 8) + packed,
        "numbers": KEY + struct.pack("<II", 9, 12) + packed,
    }
    raw = header(
        bodies[body] + bytes(64),
        length if tensors is None else tensors,
        length if pairs is None else pairs,
    )
    tracemalloc.start()
    try:
        begun = time.perf_counter()
        refused(tmp_path / "x.gguf", raw)
        assert time.perf_counter() - begun < 2
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_number_of_texts_that_is_possible_and_absurd_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(header(KEY + struct.pack("<IIQ", 9, 8, 10**9)))
    with path.open("r+b") as file:
        file.truncate(9 * 2**30)  # a file of holes: every text in it is empty
    begun = time.perf_counter()
    with pytest.raises(ModelFileError, match="1000000001 items"):
        read_facts(path)
    assert time.perf_counter() - begun < 1


def test_a_key_as_long_as_the_file_is_refused(tmp_path: Path) -> None:
    body = struct.pack("<Q", 2**20) + bytes(2**20) + struct.pack("<IB", 0, 1)
    assert "too long" in refused(tmp_path / "x.gguf", header(body))


def test_lists_of_lists_do_not_recurse(tmp_path: Path) -> None:
    body = KEY + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000
    assert "no kind of value 9" in refused(tmp_path / "x.gguf", header(body))


@pytest.mark.parametrize("version", [0, 1, 4, 0x03000000])
def test_a_version_that_is_not_known_is_refused(tmp_path: Path, version: int) -> None:
    assert f"version {version}" in refused(tmp_path / "x.gguf", header(b"", 0, 0, version))


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    body = struct.pack("<Q", 2) + b"\xff\xfe" + struct.pack("<IB", 0, 1)
    assert "utf-8" in refused(tmp_path / "x.gguf", header(body))


@pytest.mark.parametrize(
    ("kind", "code", "value"), [(5, "i", -1), (4, "I", 0), (6, "f", 8.0), (7, "?", 1)]
)
def test_a_context_that_is_no_number_of_tokens_is_not_said(
    tmp_path: Path, kind: int, code: str, value: float
) -> None:
    path = tmp_path / "x.gguf"

    def pair(key: bytes, kind: int, value: bytes) -> bytes:
        return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value

    architecture = pair(b"general.architecture", 8, struct.pack("<Q", 1) + b"a")
    context = pair(b"a.context_length", kind, struct.pack(f"<{code}", value))
    path.write_bytes(header(architecture + context, 0, 2))
    assert read_facts(path).trained_context is None
    path.write_bytes(
        header(architecture + pair(b"a.context_length", 10, struct.pack("<Q", 99)), 0, 2)
    )
    assert read_facts(path).trained_context == 99


def shapes(path: Path, **values: int | list[int]) -> GgufFacts:
    """The facts of a file that says no more than these numbers about its layers."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in values.items():
        key = f"llama.{name.replace('attention_', 'attention.')}"
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_uint32(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return read_facts(path)


PLAIN = {"block_count": 4, "embedding_length": 64, "attention_head_count": 8}


def test_layers_without_a_number_of_kept_heads_keep_all_of_them(tmp_path: Path) -> None:
    assert shapes(tmp_path / "x.gguf", **PLAIN).cached == (4 * 8 * 8, 4 * 8 * 8)


def test_kept_heads_are_counted_in_each_layer_by_itself(tmp_path: Path) -> None:
    facts = shapes(tmp_path / "x.gguf", **PLAIN, attention_head_count_kv=[0, 2, 0, 1])
    assert facts.cached == (3 * 8, 3 * 8)


def test_keys_and_values_may_have_lengths_of_their_own(tmp_path: Path) -> None:
    lengths = {"attention_key_length": 16, "attention_value_length": 10}
    facts = shapes(tmp_path / "x.gguf", **PLAIN, attention_head_count_kv=2, **lengths)
    assert facts.cached == (4 * 2 * 16, 4 * 2 * 10)


@pytest.mark.parametrize(
    "other", ["attention_key_length_mla", "attention_key_length_swa", "attention_shared_kv_layers"]
)
def test_what_layers_of_another_kind_keep_is_not_said(tmp_path: Path, other: str) -> None:
    assert shapes(tmp_path / "x.gguf", **PLAIN, **{other: 8}).cached is None


@pytest.mark.parametrize("missing", PLAIN)
def test_what_layers_keep_is_not_said_if_a_number_is_missing(tmp_path: Path, missing: str) -> None:
    rest = {name: value for name, value in PLAIN.items() if name != missing}
    assert shapes(tmp_path / "x.gguf", **rest).cached is None


def test_a_number_of_layers_beyond_all_memory_takes_none(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        facts = shapes(tmp_path / "x.gguf", **PLAIN | {"block_count": 2**32 - 1})
        assert facts.cached == ((2**32 - 1) * 64, (2**32 - 1) * 64)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
