from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_guard.text import StopStrings, TextStream, align, joined_glyphs

HARD = [
    *("a", "b", "X", "Y", " ", "\r", "\n", "\r\n", "\x00", "é", "e\u0301", "\u0301", "\u0308"),
    *("中", "文", "、", "\ufeff", "\ufffd", "\u2028", "\u0600", "\u0e33", "\ufe0f", "\u200d"),
    *("👨", "👩", "👨‍👩‍👧‍👦", "👍🏽", "🏽", "🏴\U000e0067\U000e007f", "\U000e0067"),
    *("🇩", "🇪", "🇫🇷", "🇩🇪🇫"),  # regional indicators pair up from the left
    *("\u1100", "\u1161", "\u11a8", "가", "각"),  # Hangul, in parts and whole
    *(
        "\u0915",
        "\u094d",
        "\u0937",
        "\u0915\u094d\u0937",
        "\u093f",
        "\u0ac5",
        "\u200c",
    ),  # conjuncts
]
BROKEN = [b"\xff", b"\x80", b"\xe4", b"\xe4\xb8", b"\xf0\x9f\x98", b"\xc0\x80", b"\xe0\x80"]
SURROGATES = [b"\xed", b"\xed\xa0", b"\xed\xa0\x80"]

TEXTS = st.one_of(st.lists(st.sampled_from(HARD), max_size=12).map("".join), st.text(max_size=12))
ATOMS = st.sampled_from(BROKEN + SURROGATES) | st.sampled_from(HARD).map(str.encode)
INVALID = st.lists(ATOMS, max_size=10).map(b"".join)
STOPS = st.lists(
    st.sampled_from(
        ["XY", "X", "YX", "\r\n", "\n\n", "\n", "文", "中文", "ab", "aab", "🇩🇪", "\u0301"]
    )
    | st.text("abXY", min_size=1, max_size=4),
    max_size=3,
)


@st.composite
def cut_up(draw: st.DrawFn, raw: st.SearchStrategy[bytes]) -> list[bytes]:
    """Bytes in pieces, cut anywhere; some are empty."""
    whole = draw(raw)
    cuts = draw(st.lists(st.integers(0, len(whole)), max_size=10))
    return [whole[begin:end] for begin, end in pairwise([0, *sorted(cuts), len(whole)])]


VALID_PIECES = cut_up(TEXTS.map(str.encode))
ANY_PIECES = cut_up(TEXTS.map(str.encode) | INVALID | st.binary(max_size=12))


def glyph_bounds(text: str) -> set[int]:
    return {0} | {match.end() for match in regex.finditer(r"\X", text)}


@settings(max_examples=400, deadline=None)
@given(VALID_PIECES)
def test_joined_texts_are_the_text(pieces: list[bytes]) -> None:
    aligned = align(pieces)
    assert aligned.text == b"".join(pieces).decode()
    assert "".join(aligned.texts) == aligned.text
    assert len(aligned.texts) == len(aligned.offsets) == len(pieces)


@settings(max_examples=400, deadline=None)
@given(VALID_PIECES)
def test_offsets_are_whole_glyphs_around_what_a_token_wrote(pieces: list[bytes]) -> None:
    aligned = align(pieces)
    bounds = glyph_bounds(aligned.text)
    char_of_byte = [i for i, char in enumerate(aligned.text) for _ in char.encode()]
    ends = accumulate(map(len, pieces))
    for piece, end_byte, (start, end) in zip(pieces, ends, aligned.offsets, strict=True):
        assert {start, end} <= bounds
        mine = char_of_byte[end_byte - len(piece) : end_byte]
        if mine:
            assert start == max(at for at in bounds if at <= mine[0])
            assert end == min(at for at in bounds if at > mine[-1])
        else:
            assert start == end


@settings(max_examples=200, deadline=None)
@given(ANY_PIECES)
def test_offsets_do_not_go_back(pieces: list[bytes]) -> None:
    offsets = align(pieces).offsets
    assert all(start <= end for start, end in offsets)
    assert all(left[1] <= right[1] for left, right in pairwise(offsets))
    written = [pair for pair, piece in zip(offsets, pieces, strict=True) if piece]
    assert all(left[0] <= right[0] for left, right in pairwise(written))


@settings(max_examples=300, deadline=None)
@given(ANY_PIECES)
def test_broken_bytes_are_decoded_as_python_does(pieces: list[bytes]) -> None:
    aligned = align(pieces)
    assert aligned.text == b"".join(pieces).decode("utf-8", "replace")
    assert "".join(aligned.texts) == aligned.text


@pytest.mark.parametrize("surrogate", SURROGATES, ids=bytes.hex)
@pytest.mark.parametrize("size", [1, 2, 9])
def test_an_encoded_surrogate_is_as_many_characters_as_python_makes_of_it(
    surrogate: bytes, size: int
) -> None:
    """CPython's decoder waits for all three bytes and then gives three U+FFFD at once."""
    raw = b"a" + surrogate + b"b"
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    aligned = align(pieces)
    assert aligned.text == raw.decode("utf-8", "replace")
    assert "".join(aligned.texts) == aligned.text
    assert aligned.offsets[-1][1] == len(aligned.text)


@pytest.mark.parametrize("cut", range(8))
def test_a_cut_content_is_aligned_like_the_content_alone(cut: int) -> None:
    pieces = [b"a", "中".encode(), b"", b"b", b"</s>"]
    alone, left = [], cut
    for piece in pieces:
        alone.append(piece[:left])
        left -= len(alone[-1])
    assert align(pieces, cut) == align(alone)


@pytest.mark.parametrize(
    ("pieces", "texts"),
    [
        ([b"\xf0\x9f", b"\x98\x80", b"!"], ["😀", "", "!"]),
        ([b"e", b"\xcc\x81", b"x"], ["e\u0301", "", "x"]),
        ([b"\r", b"\n"], ["\r\n", ""]),
        (["🇩".encode(), "🇪🇫".encode(), "🇷".encode()], ["🇩🇪", "🇫🇷", ""]),
        ([b"x\xe4", b"\xb8\xady"], ["x中", "y"]),
    ],
    ids=["character", "accent", "line end", "flags", "middle"],
)
def test_a_glyph_is_shown_with_the_token_that_begins_it(
    pieces: list[bytes], texts: list[str]
) -> None:
    assert list(align(pieces).texts) == texts


def naive_stop(said: bytes, stops: list[str]) -> int | None:
    """Of the stop strings that are there, the earliest counts."""
    return min((said.find(stop.encode()) for stop in stops if stop.encode() in said), default=None)


def naive_held_back(said: bytes, stops: list[str]) -> int:
    heads = [stop.encode()[:size] for stop in stops for size in range(len(stop.encode()))]
    return max((len(head) for head in heads if said.endswith(head)), default=0)


@settings(max_examples=400, deadline=None)
@given(ANY_PIECES | cut_up(st.text("abXY", max_size=12).map(str.encode)), STOPS)
def test_stop_strings_are_found_as_in_the_joined_bytes(
    pieces: list[bytes], stops: list[str]
) -> None:
    finder, said = StopStrings(stops), b""
    for piece in pieces:
        said += piece
        found = finder.push(piece)
        assert found == naive_stop(said, stops)
        if found is not None:
            break
        assert finder.held_back() == naive_held_back(said, stops)


def streamed(
    pieces: list[bytes], stops: list[str]
) -> tuple[list[tuple[int, str]], list[tuple[int, str]], list[bytes], int]:
    """As a guard does: what was released before the end, at the end, the tokens, the content."""
    stream, finder, used, content, early = TextStream(), StopStrings(stops), [], None, []
    for piece in pieces:
        used.append(piece)
        content = finder.push(piece)
        early += stream.push(piece, finder.held_back())
        if content is not None:
            break
    size = len(b"".join(used)) if content is None else content
    return early, stream.finish(size), used, size


@settings(max_examples=600, deadline=None)
@given(ANY_PIECES | cut_up(st.text("abXY", max_size=12).map(str.encode)), STOPS)
def test_what_is_streamed_is_what_is_aligned_at_the_end(
    pieces: list[bytes], stops: list[str]
) -> None:
    early, late, used, content = streamed(pieces, stops)
    assert [*early, *late] == list(enumerate(align(used, content).texts))


@settings(max_examples=300, deadline=None)
@given(cut_up(st.text("abXY中\n", max_size=12).map(str.encode)), STOPS)
def test_nothing_of_a_stop_string_is_released_early(pieces: list[bytes], stops: list[str]) -> None:
    early, _, _, content = streamed(pieces, stops)
    assert len("".join(text for _, text in early).encode()) <= content


@pytest.mark.parametrize(
    "pieces", [[b"aX", b"Y"], [b"a", b"X", b"Yb"], [b"a", b"X", b"", b"Y"]], ids=str
)
def test_a_stop_string_over_two_tokens_is_not_released(pieces: list[bytes]) -> None:
    early, late, _, _ = streamed(pieces, ["XY"])
    assert "".join(text for _, text in [*early, *late]) == "a"


def test_a_stop_string_of_any_length_is_looked_for_in_what_there_is() -> None:
    finder = StopStrings(["a" * 2_000_000])
    finder.push(b"ba")
    assert finder.held_back() == 1  # with a look at all its beginnings this takes minutes


def test_plain_text_comes_one_token_late() -> None:
    stream = TextStream()
    pushed = [stream.push(piece) for piece in (b"On", b"ce", b" upon")]
    assert pushed == [[], [(0, "On")], [(1, "ce")]]
    assert stream.finish(9) == [(2, " upon")]


def test_a_glyph_is_released_once_it_is_known_to_be_whole() -> None:
    stream = TextStream()
    thumb, tone = "👍".encode(), "🏽".encode()
    pushed = [stream.push(piece) for piece in (thumb[:2], thumb[2:], tone[:1], tone[1:], b"!")]
    assert pushed == [[], [], [], [], [(0, "👍🏽"), (1, ""), (2, ""), (3, "")]]


def test_tokens_without_text_go_with_the_glyph_before_them() -> None:
    texts = [(0, ""), (1, "a"), (2, ""), (3, ""), (4, "b")]
    assert joined_glyphs(texts) == [([1, 2, 3], "a"), ([4], "b")]
