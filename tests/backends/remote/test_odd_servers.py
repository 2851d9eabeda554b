"""Whatever a server leaves out, or says wrongly, is an error: no number is made up of it."""

from __future__ import annotations

import json
import math
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from backend_contract import finished
from odd_server import Odd, chat, chunks, entry, listed, odd_server, refusal, text
from starlette.responses import RedirectResponse

from energy_guard import Guard, Policy, load
from energy_guard.backends.remote import RemoteServer
from energy_guard.errors import (
    ConfigError,
    EngineError,
    InputError,
    NormalisedRowsError,
    PromptTooLongError,
)
from energy_guard.request import CancelToken, Request, Sampling
from energy_guard.trace import Trace

TOKENS = [("The", 0.9), (" capital", 0.8), (" is", 0.7), (" Paris", 0.6)]
ASKED = Request.chat("What is the capital of France?")


@pytest.fixture(scope="module")
def running() -> Iterator[Odd]:
    with odd_server() as odd:
        yield odd


@pytest.fixture
def odd(running: Odd) -> Odd:
    fresh = Odd(running.url)
    running.__dict__.update(fresh.__dict__)
    return running


def whole(backend: RemoteServer, request: Request = ASKED) -> Trace:
    with backend.session() as session:
        return finished(session.generate([request], steps=False))


def streamed(backend: RemoteServer, request: Request = ASKED) -> Trace:
    return finished(backend.generate([request]))


def changed(**fields: Any) -> dict[str, Any]:
    return chat(TOKENS, **fields)


def with_entries(*entries: dict[str, Any], content: str) -> dict[str, Any]:
    return chat(TOKENS, content, logprobs={"content": list(entries)})


def test_a_plain_answer_has_its_numbers(odd: Odd) -> None:
    odd.says(chat(TOKENS))
    trace = whole(odd.backend())
    assert trace.text == "The capital is Paris"
    assert np.exp(-trace.nll) == pytest.approx([p for _, p in TOKENS])
    assert trace.margin[0] == pytest.approx(math.log(0.9 / 0.054))
    p = np.array([0.9, 0.054, 0.036])
    assert trace.extras["top_entropy"][0] == pytest.approx(float(-(p * np.log(p)).sum()))
    assert trace.extras["top_share"][0] == pytest.approx(0.99)
    assert (trace.finish_reason, trace.normalised) == ("eos", True)
    assert np.isnan(trace.entropy).all(), "the entropy of a row is not known"
    with pytest.raises(NormalisedRowsError, match="raw logits"):
        trace.signal("spilled_energy")


WRONG: list[tuple[str, Any, str]] = [
    ("no logprobs", changed(logprobs=None), "does not tell the log-probabilities of what it"),
    ("an empty list", changed(logprobs={"content": []}), "does not tell the log-probabilities"),
    (
        "null for a token",
        with_entries(entry("The", 0.9, logprob=None), content="The"),
        "log-probability of a token that it wrote",
    ),
    (
        "-9999, which stands for nothing",
        with_entries(entry("The", 0.9, logprob=-9999.0), content="The"),
        "log-probability of a token that it wrote",
    ),
    (
        "raw logits",
        with_entries(entry("The", 0.9, logprob=17.5), content="The"),
        "above 0",
    ),
    (
        "probabilities above 1 in all",
        with_entries(
            entry("The", 0.9, top_logprobs=[listed("The", 0.9), listed("A", 0.8)]), content="The"
        ),
        "add up to",
    ),
    (
        "a chosen token above the likeliest",
        with_entries(entry("The", 0.9, top_logprobs=[listed("A", 0.05)]), content="The"),
        "likelier than the likeliest",
    ),
    (
        "two numbers for one token",
        with_entries(entry("The", 0.9, logprob=math.log(0.5)), content="The"),
        "two log-probabilities",
    ),
    (
        "the number of another token",
        with_entries(
            entry("🙂", 0.9, top_logprobs=[listed("�", 0.9), listed("a", 0.01)]), content="🙂"
        ),
        "number of another token",
    ),
    (
        "a row that was sampled from already",
        with_entries(
            entry("The", 1.0 - 1e-12, logprob=0.0, top_logprobs=[listed("The", 1)]), content="The"
        ),
        "a token as certain, and nothing beside it",
    ),
    (
        "the same, with others that are known not",
        with_entries(
            entry(
                "The",
                0.9,
                logprob=0.0,
                top_logprobs=[listed("The", 1), listed("A", 1) | {"logprob": -3.4e38}],
            ),
            content="The",
        ),
        "a token as certain, and nothing beside it",
    ),
    (
        "a token too few",
        chat(TOKENS, "The capital is Paris."),
        "log-probabilities of the last 1 characters",
    ),
    ("another text", chat(TOKENS, "Their capital is Paris"), "do not make up the text"),
    ("tokens twice", chat([*TOKENS, *TOKENS], "The capital is Paris"), "has none of it"),
    ("bytes that are none", with_entries(entry("a", 0.9, bytes=[300]), content="a"), "bytes"),
    ("half of a character", text(json.dumps(chat(TOKENS, "\ud83d")), kind="json"), "surrogate"),
    (
        "fewer tokens than it counted",
        chat(TOKENS) | {"usage": {"prompt_tokens": 3, "completion_tokens": 9}},
        "wrote 9 tokens",
    ),
    (
        "more tokens than it counted",
        chat(TOKENS) | {"usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        "wrote 2 tokens",
    ),
    ("no end", changed(finish_reason=None), "broke off"),
    ("a filter", changed(finish_reason="content_filter"), "another reason.*content_filter"),
    ("a tool call", changed(finish_reason="tool_calls"), "tool_calls"),
    ("calls", changed(message={"content": None, "tool_calls": [{}]}), "tool call"),
    ("a refusal", changed(message={"content": None, "refusal": "No."}), "refuses to answer"),
    (
        "reasoning apart",
        changed(message={"content": "Paris", "reasoning_content": "Well"}),
        "reasoning",
    ),
    (
        "reasoning apart, as Ollama",
        changed(message={"content": "a", "reasoning": "W"}),
        "reasoning",
    ),
    ("two answers", {"choices": [changed()["choices"][0]] * 2}, "several answers"),
    ("no answer", {"choices": []}, "broke off"),
    ("something else", {"object": "hello"}, "something else than an answer"),
    ("a list", text("[1, 2]"), "something else than an answer"),
    ("a page", text("<html></html>"), "something else than an answer"),
    ("text for a number", with_entries(entry("a", 0.9, logprob="low"), content="a"), "logprob"),
]


@pytest.mark.parametrize(("answer", "says"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_is_wrong_is_an_error_that_says_so(odd: Odd, answer: Any, says: str) -> None:
    odd.says(answer)
    with pytest.raises(EngineError, match=says) as failed:
        whole(odd.backend())
    for word in ("'The'", "Paris", "No.", "🙂"):
        assert word not in str(failed.value), "nobody has judged what the server wrote"


def test_a_guard_on_a_server_without_logprobs_raises_and_accepts_nothing(odd: Odd) -> None:
    odd.says(changed(logprobs=None))
    with pytest.raises(EngineError, match="logits_all=True"):
        Guard(odd.backend()).ask("?")


STATUSES: list[tuple[Any, type[Exception], str]] = [
    (refusal(401, "no"), ConfigError, "ENERGY_GUARD_REMOTE_API_KEY"),
    (refusal(403, "no"), ConfigError, "ENERGY_GUARD_REMOTE_API_KEY"),
    (refusal(404, "no such model"), ConfigError, "404: no such model"),
    (refusal(400, "no such field"), InputError, "400: no such field"),
    (refusal(400, "long", type="exceed_context_size_error"), PromptTooLongError, "more context"),
    (refusal(400, "long", code="context_length_exceeded"), PromptTooLongError, "more context"),
    (refusal(400, "The maximum context length is 9"), PromptTooLongError, "more context"),
    (refusal(422, "odd"), InputError, "422: odd"),
    (refusal(429, "slowly"), EngineError, "429: slowly"),
    (refusal(500, "boom"), EngineError, "500: boom"),
    (text("a proxy's page", 503), EngineError, "503: a proxy's page"),
]


@pytest.mark.parametrize(("answer", "kind", "says"), STATUSES)
@pytest.mark.parametrize("ask", [whole, streamed])
def test_a_status_is_an_error_with_the_servers_words(
    odd: Odd, ask: Any, answer: Any, kind: type[Exception], says: str
) -> None:
    odd.says(answer)
    with pytest.raises(kind, match=says) as raised:
        ask(odd.backend())
    assert raised.type is kind


@pytest.mark.parametrize("ask", [whole, streamed])
def test_nothing_is_asked_twice(odd: Odd, ask: Any) -> None:
    odd.says(refusal(429, "slowly"), chat(TOKENS))
    backend = odd.backend()
    with pytest.raises(EngineError, match="429: slowly"):
        ask(backend)
    odd.pause_s = 5.0
    odd.says(chunks(TOKENS))
    with pytest.raises(EngineError, match="did not answer in time"):
        ask(odd.backend(timeout_s=0.3))
    assert len(odd.bodies) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nothing_is_sent_to_another_address(odd: Odd, status: int) -> None:
    with odd_server() as other:
        other.says(chat(TOKENS))
        odd.says(RedirectResponse(f"{other.url}/chat/completions", status))
        with pytest.raises(ConfigError, match=f"sends its clients to {other.url}"):
            whole(odd.backend())
        assert (other.bodies, other.keys) == ([], [])


def test_a_server_that_is_silent_is_given_up(odd: Odd) -> None:
    odd.pause_s = 5.0
    odd.says(chunks(TOKENS))
    with pytest.raises(EngineError, match="did not answer in time"):
        streamed(odd.backend(timeout_s=0.3))


def test_nobody_at_the_address(odd: Odd) -> None:
    with pytest.raises(EngineError, match=r"connection to .* failed"):
        RemoteServer("http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/v1",
        "http://localhost:99999/v1",
        "http://localhost:abc/v1",
        "http://localhost:0/v1",
        "http://exä..mple/v1",
        "http:///v1",
        "ftp://localhost/v1",
        "localhost:8080/v1",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a server"):
        RemoteServer(url)


@pytest.mark.parametrize("key", ["secret\n", " secret", "sec\r\nX: ret", "secrét"])
def test_what_is_no_key_is_refused_without_telling_it(odd: Odd, key: str) -> None:
    with pytest.raises(ConfigError, match="give the key alone") as raised:
        odd.backend(api_key=key)
    assert "sec" not in f"{raised.value!r}"
    assert odd.keys == []


def test_the_key_is_shown_to_the_server_and_told_to_nobody(
    odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENERGY_GUARD_REMOTE_API_KEY", "from-the-environment")
    monkeypatch.setenv("OPENAI_API_KEY", "of-somebody-else")
    odd.says(chat(TOKENS))
    whole(odd.backend())
    assert odd.keys == ["Bearer from-the-environment"] * 2
    backend = odd.backend(api_key="as-an-argument")
    assert odd.keys[-1] == "Bearer as-an-argument"
    odd.says(refusal(401, "wrong key: as-an-argument"))
    with pytest.raises(ConfigError) as raised:
        whole(backend)
    assert "wrong key: …" in str(raised.value)
    assert "as-an-argument" not in "".join(traceback.format_exception(raised.value))
    for told in (raised.value, backend.info, backend._address, vars(backend)):
        assert "as-an-argument" not in f"{told} {told!r}"


@pytest.mark.parametrize("ask", [whole, streamed])
def test_what_is_meant_for_openai_is_told_to_nobody_else(
    odd: Odd, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "of-somebody-else")
    headers = "X-Of: of-somebody-else\nAuthorization: Bearer of-somebody-else"
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
    odd.says(chunks(TOKENS) if ask is streamed else chat(TOKENS))
    ask(odd.backend(api_key="ours"))
    ask(odd.backend())
    assert odd.keys == ["Bearer ours"] * 2 + [None] * 2
    assert "of-somebody-else" not in str(odd.headers)


class TestModels:
    def test_the_only_one_is_taken(self, odd: Odd) -> None:
        assert odd.backend().info.name == "m"

    @pytest.mark.parametrize("name", [None, "c"])
    def test_of_several_one_must_be_named_that_is_there(self, odd: Odd, name: str | None) -> None:
        odd.models = {"data": [{"id": "b"}, {"id": "a"}]}
        with pytest.raises(ConfigError, match="It has: a, b"):
            odd.backend(served_model=name)
        assert odd.backend(served_model="a").info.name == "a"

    @pytest.mark.parametrize(
        "models", [{"data": []}, {"data": None}, {}, [], text("hello"), text("no", 404)]
    )
    def test_a_server_that_lists_none_is_refused(self, odd: Odd, models: Any) -> None:
        odd.models = models
        with pytest.raises((ConfigError, EngineError), match=r"It has: none|something else|404"):
            odd.backend()

    def test_the_fingerprint_is_of_server_name_and_k(self, odd: Odd) -> None:
        prints = {odd.backend().info.fingerprint, odd.backend(top_logprobs=4).info.fingerprint}
        odd.models = {"data": [{"id": "m", "owned_by": "another"}, {"id": "n", "owned_by": "odd"}]}
        prints |= {odd.backend(served_model=name).info.fingerprint for name in "mn"}
        assert len(prints) == 4
        odd.models = {"data": [{"id": "m", "owned_by": "odd", "created": 7}]}
        assert odd.backend().info.fingerprint in prints


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8080",
        "ftp://localhost/v1",
        "http://",
        "http://me:it@localhost/v1",
        "http://a/v1?k=1",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        RemoteServer(url)
    assert "me:it" not in str(raised.value)


class TestPieces:
    def test_bytes_count_more_than_what_is_shown(self, odd: Odd) -> None:
        raw = "é".encode()
        parts = [entry("�", 0.9, bytes=[byte]) for byte in raw]
        odd.says(with_entries(*parts, entry("!", 0.6), content="é!"))
        assert whole(odd.backend()).pieces == (raw[:1], raw[1:], b"!")

    @pytest.mark.parametrize("shown", ["�", ""])
    def test_tokens_of_one_glyph_need_no_bytes(self, odd: Odd, shown: str) -> None:
        parts = [entry(shown, 0.9, bytes=None), entry(shown, 0.8, bytes=None)]
        odd.says(with_entries(entry("Hi ", 0.6), *parts, entry("!", 0.7), content="Hi 🙂!"))
        trace = whole(odd.backend())
        assert trace.text == "Hi 🙂!"
        assert trace.alignment.offsets == ((0, 3), (3, 4), (3, 4), (4, 5))
        assert np.exp(-trace.nll) == pytest.approx([0.6, 0.9, 0.8, 0.7])

    def test_a_byte_a_token_needs_no_bytes(self, odd: Odd) -> None:
        parts = [entry("�", 0.9, bytes=None) for _ in "你好".encode()]
        odd.says(with_entries(*parts, entry("!", 0.7), content="你好!"))
        assert whole(odd.backend()).pieces == tuple(bytes([b]) for b in "你好!".encode())

    def test_several_glyphs_of_tokens_without_bytes_are_refused(self, odd: Odd) -> None:
        parts = [entry("�", 0.9, bytes=None) for _ in range(5)]
        odd.says(with_entries(*parts, entry("!", 0.7), content="🙂🙂!"))
        with pytest.raises(EngineError, match="which of 5 tokens wrote what"):
            whole(odd.backend())

    def test_a_replacement_character_that_is_meant_needs_its_bytes_in_the_text(
        self, odd: Odd
    ) -> None:
        odd.says(with_entries(entry("�", 0.9), entry("!", 0.7), content="�!"))
        assert whole(odd.backend()).text == "�!"

    def test_a_character_that_the_text_lost_is_not_passed_over(self, odd: Odd) -> None:
        lost = [entry("", 0.9, bytes=None), entry("", 0.8, bytes=None)]
        odd.says(with_entries(entry("Hi", 0.6), *lost, content="Hi"))
        with pytest.raises(EngineError, match="has none of it"):
            whole(odd.backend())

    def test_blanks_that_a_server_takes_off_are_no_difference(self, odd: Odd) -> None:
        odd.says(chat([(" ", 0.9), (" Paris", 0.8), ("\n", 0.7)], "Paris"))
        trace = whole(odd.backend())
        assert (trace.text, trace.pieces) == ("Paris", (b"", b"Paris", b""))

    @pytest.mark.parametrize("end", ["<|im_end|>", ""])
    def test_an_end_token_has_no_content(self, odd: Odd, end: str) -> None:
        odd.says(chat([*TOKENS, (end, 0.99)], "The capital is Paris"))
        trace = whole(odd.backend())
        assert (len(trace), trace.content_end, trace.text) == (5, 4, "The capital is Paris")
        assert trace.finish_reason == "eos"

    def test_an_answer_cut_off_has_no_end_token(self, odd: Odd) -> None:
        odd.says(chat([*TOKENS, ("x", 0.9)], "The capital is Paris", finish_reason="length"))
        with pytest.raises(EngineError, match="has none of it"):
            whole(odd.backend())


class TestMargins:
    @pytest.mark.parametrize(
        ("names", "known"),
        [
            (["The", "A", "An"], True),
            (["The", "A"], False),  # one was lost: two tokens shared a text
            (["A", "An", "The"], False),  # chosen last: it may stand for another one of its text
            (["A", "An", "My", "The"], True),  # chosen beside as many as were asked for
            ([], False),
        ],
    )
    def test_a_margin_is_missing_where_tokens_may_be(
        self, odd: Odd, names: list[str], known: bool
    ) -> None:
        values = dict(zip(names, (0.5, 0.2, 0.1, 0.05), strict=False))
        top = [listed(name, p) for name, p in values.items()]
        chosen = entry("The", values.get("The", 0.9), top_logprobs=top)
        odd.says(with_entries(chosen, content="The"))
        trace = whole(odd.backend())
        assert np.isfinite(trace.margin[0]) == known
        assert np.isfinite(trace.extras["top_share"][0]) == bool(names)
        assert np.exp(-trace.nll[0]) == pytest.approx(values.get("The", 0.9))

    def test_a_missing_margin_is_unscored(self, odd: Odd) -> None:
        odd.says(with_entries(entry("Paris", 0.9, top_logprobs=None), content="Paris"))
        policy = Policy(detector="margin:min", abstain=-1.0)
        result = Guard(odd.backend(), policy).ask("What is the capital of France?")
        assert (result.verdict, result.shown) == ("unscored", False)
        assert "margin is missing" in result.reason


class TestRaw:
    def legacy(self, **fields: Any) -> dict[str, Any]:
        logprobs = {
            "tokens": [" Paris", "."],
            "token_logprobs": [math.log(0.8), math.log(0.5)],
            "top_logprobs": [{" Paris": math.log(0.8), " a": math.log(0.1)}] * 2,
        } | fields
        return {"choices": [{"text": " Paris.", "logprobs": logprobs, "finish_reason": "stop"}]}

    def test_the_form_of_plain_completions_is_read(self, odd: Odd) -> None:
        tops = [{" Paris": math.log(0.8), " a": math.log(0.1)}, {".": math.log(0.5)}]
        odd.says(self.legacy(top_logprobs=tops))
        trace = whole(odd.backend(top_logprobs=2), Request.raw("The capital of France is"))
        assert trace.text == " Paris."
        assert np.exp(-trace.nll) == pytest.approx([0.8, 0.5])
        assert trace.margin[0] == pytest.approx(math.log(8)) and np.isnan(trace.margin[1])
        assert odd.bodies[0]["prompt"] == "The capital of France is"
        assert odd.bodies[0]["logprobs"] == 2

    def test_the_form_of_chats_is_read_too(self, odd: Odd) -> None:
        answer = chat(TOKENS)
        answer["choices"][0]["text"] = answer["choices"][0].pop("message")["content"]
        odd.says(answer)
        assert whole(odd.backend(), Request.raw("?")).text == "The capital is Paris"

    @pytest.mark.parametrize(
        "fields", [{"token_logprobs": [-1.0]}, {"top_logprobs": [None]}, {"token_logprobs": None}]
    )
    def test_lists_of_other_lengths_or_without_numbers_are_refused(
        self, odd: Odd, fields: dict[str, Any]
    ) -> None:
        odd.says(self.legacy(**fields))
        with pytest.raises(EngineError, match="log-probabilit"):
            whole(odd.backend(), Request.raw("?"))


class TestStreams:
    def test_a_stream_that_breaks_off_is_an_error(self, odd: Odd) -> None:
        odd.says([*chunks(TOKENS)[:2], RuntimeError("the cable")])
        with pytest.raises(EngineError, match=r"connection to .* failed"):
            streamed(odd.backend())

    @pytest.mark.parametrize("ends", [[], ["[DONE]"]])
    def test_a_stream_without_an_end_is_an_error(self, odd: Odd, ends: list[str]) -> None:
        odd.says([*chunks(TOKENS)[:3], *ends])
        with pytest.raises(EngineError, match="broke off"):
            streamed(odd.backend())

    def test_an_error_within_a_stream_is_told(self, odd: Odd) -> None:
        odd.says([*chunks(TOKENS)[:2], {"error": {"message": "out of memory"}}])
        with pytest.raises(EngineError, match="out of memory"):
            streamed(odd.backend())

    def test_a_chunk_that_is_no_json_is_an_error(self, odd: Odd) -> None:
        odd.says([*chunks(TOKENS)[:2], "{what"])
        with pytest.raises(EngineError, match="broke off"):
            streamed(odd.backend())

    def test_an_answer_that_goes_on_after_its_end_is_an_error(self, odd: Odd) -> None:
        parts = chunks(TOKENS)
        odd.says([*parts[:-1], parts[0], "[DONE]"])
        with pytest.raises(EngineError, match="after its end"):
            streamed(odd.backend())

    def test_a_chunk_that_comes_twice_is_counted(self, odd: Odd) -> None:
        parts = chunks(TOKENS)
        usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
        odd.says([*parts[:-1], usage, "[DONE]"])
        trace = streamed(odd.backend())
        assert (len(trace), trace.prompt_tokens) == (4, 9)
        odd.says([parts[0], *parts[:-1], usage, "[DONE]"])
        with pytest.raises(EngineError, match="wrote 4 tokens"):
            streamed(odd.backend())

    def test_text_may_come_before_its_tokens_and_after(self, odd: Odd) -> None:
        def part(content: str, *entries: dict[str, Any]) -> dict[str, Any]:
            return {"choices": [{"delta": {"content": content}, "logprobs": {"content": entries}}]}

        end = chunks([])
        early = [part("The cap"), part("", entry("The", 0.9), entry(" cap", 0.8))]
        late = [part("", entry("ital", 0.7)), part("i"), part("tal")]
        odd.says([*early, *late, *end])
        trace = streamed(odd.backend())
        assert trace.pieces == (b"The", b" cap", b"ital")
        assert np.exp(-trace.nll) == pytest.approx([0.9, 0.8, 0.7])

    def test_a_stop_string_closes_the_stream(self, odd: Odd) -> None:
        odd.pause_s = 0.02
        odd.says(chunks([*TOKENS, ("\n", 0.9), *[(f" {n}", 0.9) for n in range(500)]]))
        trace = whole(odd.backend(), Request.chat("?", stop=("\n",), max_tokens=900))
        assert (trace.text, trace.finish_reason) == ("The capital is Paris", "stop")
        sent = odd.sent
        time.sleep(0.3)
        assert odd.sent <= sent + 2 and odd.sent < 100, "the server has stopped, too"
        assert "stop" not in odd.bodies[0]

    def test_a_server_that_writes_too_much_is_refused(self, odd: Odd) -> None:
        odd.says(chunks(TOKENS))
        with pytest.raises(EngineError, match="more tokens than it was asked for"):
            streamed(odd.backend(), Request.chat("?", max_tokens=2))

    def test_whoever_waits_can_be_cancelled_while_the_server_is_silent(self, odd: Odd) -> None:
        odd.pause_s = 30.0
        odd.says(chunks(TOKENS))
        cancel = CancelToken()
        timer = threading.Timer(0.3, cancel.cancel)
        timer.start()
        before = time.monotonic()
        trace = streamed(odd.backend(), Request.chat("?", cancel=cancel))
        assert time.monotonic() - before < 5
        assert (len(trace), trace.finish_reason) == (0, "cancelled")
        timer.join()

    def test_a_deadline_ends_an_answer_that_would_come_whole(self, odd: Odd) -> None:
        odd.pause_s = 30.0
        odd.says(chunks(TOKENS))
        late = Request.chat("?", deadline=time.monotonic() + 0.3)
        assert whole(odd.backend(), late).finish_reason == "deadline"

    def test_whoever_closes_the_generator_closes_the_stream(self, odd: Odd) -> None:
        odd.pause_s = 0.02
        odd.says(chunks([(f" {n}", 0.9) for n in range(500)]))
        with closing(odd.backend().generate([ASKED])) as events:
            next(events)
        sent = odd.sent
        time.sleep(0.3)
        assert odd.sent <= sent + 2


class TestBody:
    def test_what_is_asked_for_is_what_openai_has(self, odd: Odd) -> None:
        odd.says(chat(TOKENS))
        sampling = Sampling(0.5, seed=7, top_p=0.9, frequency_penalty=0.1, presence_penalty=0.2)
        whole(odd.backend(), Request.chat("?", sampling=sampling, max_tokens=8))
        assert odd.bodies[0] == {
            "model": "m",
            "messages": [{"role": "user", "content": "?"}],
            "max_tokens": 8,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 7,
            "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
            "logprobs": True,
            "top_logprobs": 3,
        }

    @pytest.mark.parametrize(
        ("owner", "name"), [("vllm", "repetition_penalty"), ("llamacpp", "repeat_penalty")]
    )
    def test_a_known_server_is_asked_for_more(self, odd: Odd, owner: str, name: str) -> None:
        odd.models = {"data": [{"id": "m", "owned_by": owner}]}
        odd.says(chat(TOKENS))
        sampling = Sampling(0.5, repeat_penalty=1.3, top_k=-1, min_p=0.1)
        whole(odd.backend(), Request.chat("?", sampling=sampling))
        body = odd.bodies[0]
        assert (body[name], body["top_k"], body["min_p"]) == (1.3, 0, 0.1)

    @pytest.mark.parametrize(
        ("name", "value"), [("repeat_penalty", 1.3), ("top_k", 1), ("min_p", 0.2)]
    )
    def test_what_a_server_may_not_know_is_refused(self, odd: Odd, name: str, value: Any) -> None:
        backend = odd.backend()
        sampling = Sampling(0.5, **{name: value})
        with pytest.raises(InputError, match=f"sampling with {name}\n"):
            whole(backend, Request.chat("?", sampling=sampling))
        assert odd.bodies == []


class TestDetectors:
    def test_the_default_one_works(self, odd: Odd) -> None:
        odd.says(chat([("It is", 0.9), (" Paris", 0.5)]))
        result = Guard(odd.backend()).ask("What is the capital of France?")
        assert result.score is not None and result.score == pytest.approx(math.log(2))
        assert result.verdict in ("accept", "warn")

    @pytest.mark.parametrize("name", ["spilled_energy:max", "entropy:mean", "token_logit:min"])
    def test_one_that_needs_more_is_refused_before_anything_is_asked(
        self, odd: Odd, name: str
    ) -> None:
        backend = odd.backend()
        signal = name.partition(":")[0]
        with pytest.raises(ConfigError, match=f"needs {signal}.*only margin, nll"):
            Guard(backend, detector=name)
        with pytest.raises(ConfigError, match=f"needs {signal}"):
            Guard(backend, Policy(detector=name, abstain=9.0))
        guard = Guard(backend)
        with pytest.raises(ConfigError, match=f"needs {signal}"):
            guard.with_judge(type(guard.judge).assemble(detector=name))
        assert odd.bodies == []

    def test_margins_are_scored_of_words_that_the_model_chose_itself(self, odd: Odd) -> None:
        odd.says(chat([("It is", 0.9), (" Paris", 0.5)]))
        policy = Policy(detector="margin:min", abstain=-0.01)
        result = Guard(odd.backend(), policy).ask("What is the capital of France?")
        assert result.score is not None
        assert result.score == pytest.approx(-math.log(0.5 / 0.27))

    def test_margins_say_nothing_of_words_that_were_drawn_against_the_odds(self, odd: Odd) -> None:
        likely = [listed("Paris", 0.9), listed("Rome", 0.05), listed("Oslo", 0.04)]
        drawn = entry("Lyon", 0.001, top_logprobs=likely)
        odd.says(with_entries(drawn, content="Lyon"))
        policy = Policy(detector="margin:min", abstain=-0.01)
        result = Guard(odd.backend(), policy).ask("What is the capital of France?")
        assert (result.verdict, result.score) == ("unscored", None)
        assert "did not choose all words" in result.reason

    def test_an_answer_that_exists_is_not_judged(self, odd: Odd) -> None:
        with pytest.raises(InputError, match="cannot judge an answer that exists already"):
            Guard(odd.backend()).score("?", "Paris")
        assert odd.bodies == []


class TestLoad:
    def test_an_address_is_a_server(self, odd: Odd) -> None:
        backend = load(odd.url, served_model="m", api_key="k", top_logprobs=5)
        assert (type(backend), backend.info.backend) == (RemoteServer, "remote")
        assert load(odd.url, "remote").info.name == "m"

    @pytest.mark.parametrize(("model", "kind"), [("demo", "remote"), (None, "llama-cpp")])
    def test_remote_is_for_addresses_and_for_these_alone(
        self, odd: Odd, model: str | None, kind: str
    ) -> None:
        with pytest.raises(ConfigError, match="cannot be loaded by"):
            load(model or odd.url, kind)

    def test_options_of_engines_are_refused(self, odd: Odd) -> None:
        with pytest.raises(ConfigError, match="n_gpu_layers, n_threads: a server has no such"):
            load(odd.url, n_threads=2, n_gpu_layers=1)
