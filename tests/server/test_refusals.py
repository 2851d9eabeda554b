"""Requests that cannot be served: each is told why in OpenAI's form, and the server lives on."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from served import LAX, Served, served
from starlette.types import Message, Receive, Scope, Send

from energy_guard import Guard, load
from energy_guard.backends import Scripted
from energy_guard.log import TraceLog
from energy_guard.server import access, asked
from energy_guard.server.access import Access
from energy_guard.server.settings import ServerSettings

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
HIDDEN = {"include_obfuscation": True}
CHAT, TEXT, SCORE = "/v1/chat/completions", "/v1/completions", "/v1/score"


@pytest.fixture(scope="module")
def server(tiny_path: Path) -> Iterator[Served]:
    guard = Guard(load(str(tiny_path), n_ctx=256, n_threads=1), LAX)
    with served(guard, max_tokens=64, max_body=50_000) as running:
        yield running


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": [USER]} | fields


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}


def nested(depth: int) -> Any:
    return {"type": "array", "items": nested(depth - 1)} if depth else {}


NO_USER: list[Any] = []
BAD: list[tuple[str, str, Any, int, str | None]] = [
    ("no messages", CHAT, {}, 400, "messages"),
    ("empty chat", CHAT, chat(messages=NO_USER), 400, "messages"),
    ("messages is text", CHAT, chat(messages="Hi"), 400, "messages"),
    ("body is a list", CHAT, [USER], 400, None),
    ("unknown field", CHAT, chat(temprature=1), 400, "temprature"),
    ("logit_bias", CHAT, chat(logit_bias={"1": 5}), 400, "logit_bias"),
    ("unknown role", CHAT, chat(messages=[{"role": "robot", "content": "x"}]), 400, "messages.0"),
    ("no role", CHAT, chat(messages=[{"content": "x"}]), 400, "messages.0"),
    ("content is a number", CHAT, chat(messages=[{"role": "user", "content": 7}]), 400, None),
    ("content is null", CHAT, chat(messages=[{"role": "user", "content": None}]), 400, None),
    (
        "an image",
        CHAT,
        chat(messages=[USER | {"content": [{"type": "text", "text": "?"}, {"type": "image_url"}]}]),
        400,
        "messages.0.user.content.1.t",
    ),
    ("texts of hidden length", CHAT, chat(stream=True, stream_options=HIDDEN), 400, "stream_opt"),
    ("empty content", CHAT, chat(messages=[{"role": "user", "content": " "}]), 400, None),
    (
        "an image",
        CHAT,
        chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
        400,
        None,
    ),
    ("temperature is text", CHAT, chat(temperature="1"), 400, "temperature"),
    ("temperature is negative", CHAT, chat(temperature=-0.1), 400, "temperature"),
    ("temperature is huge", CHAT, chat(temperature=1e308), 400, "temperature"),
    ("top_p above 1", CHAT, chat(top_p=1.5), 400, "top_p"),
    ("max_tokens is 0", CHAT, chat(max_tokens=0), 400, "max_tokens"),
    ("max_tokens is a fraction", CHAT, chat(max_tokens=1.5), 400, "max_tokens"),
    ("max_tokens is true", CHAT, chat(max_tokens=True), 400, "max_tokens"),
    ("max_tokens above the limit", CHAT, chat(max_tokens=65), 400, "max_tokens"),
    ("max_tokens is huge", CHAT, chat(max_tokens=10**30), 400, "max_tokens"),
    ("both limits", CHAT, chat(max_tokens=5, max_completion_tokens=5), 400, None),
    ("n is 0", CHAT, chat(n=0), 400, "n"),
    ("n is huge", CHAT, chat(n=10**9), 400, "n"),
    ("seed is negative", CHAT, chat(seed=-1), 400, "seed"),
    ("seed is huge", CHAT, chat(seed=2**64), 400, "seed"),
    ("stop is a number", CHAT, chat(stop=7), 400, "stop"),
    ("an empty stop", CHAT, chat(stop=[""]), 400, None),
    ("too many stops", CHAT, chat(stop=list("abcdefghijklmnopq")), 400, "stop"),
    ("n is true", CHAT, chat(n=True), 400, "n"),
    ("max_tokens is negative", CHAT, chat(max_tokens=-1), 400, "max_tokens"),
    ("a long name", CHAT, chat(**{"a" * 40_000: 1}), 400, "aaaa"),
    ("a long model", CHAT, chat(model="a" * 40_000), 404, "model"),
    (
        "a schema that lies elsewhere",
        CHAT,
        chat(response_format=schema({"$ref": "http://localhost:9/x.json"})),
        400,
        None,
    ),
    ("stream is text", CHAT, chat(stream="yes"), 400, "stream"),
    ("stream_options alone", CHAT, chat(stream_options={"include_usage": True}), 400, None),
    (
        "no such stream mode",
        CHAT,
        chat(stream=True, energy_guard={"stream": "later"}),
        400,
        "energy_guard.stream",
    ),
    ("too many alternatives", CHAT, chat(logprobs=True, top_logprobs=21), 400, "top_logprobs"),
    ("top_logprobs alone", CHAT, chat(top_logprobs=0), 400, None),
    ("another model", CHAT, chat(model="gpt-4o"), 404, "model"),
    ("no such format", CHAT, chat(response_format={"type": "yaml"}), 400, "response_format"),
    ("a format without schema", CHAT, chat(response_format={"type": "json_schema"}), 400, None),
    (
        "a schema that is none",
        CHAT,
        chat(response_format=schema({"type": "strnig"})),
        400,
        None,
    ),
    ("a schema not to be held", CHAT, chat(response_format=schema({"not": {}})), 400, None),
    ("a deep schema", CHAT, chat(response_format=schema(nested(80))), 400, None),
    ("a tool without a name", CHAT, chat(tools=[{"type": "function", "function": {}}]), 400, None),
    ("two tools with one name", CHAT, chat(tools=[FUNCTION, FUNCTION]), 400, None),
    ("tool_choice without tools", CHAT, chat(tool_choice="required"), 400, None),
    (
        "a choice that is no tool",
        CHAT,
        chat(tools=[FUNCTION], tool_choice={"type": "function", "function": {"name": "g"}}),
        400,
        None,
    ),
    ("calls one by one", CHAT, chat(tools=[FUNCTION], parallel_tool_calls=False), 400, None),
    (
        "a result that nobody asked for",
        CHAT,
        chat(messages=[USER, {"role": "tool", "content": "4", "tool_call_id": "c1"}]),
        400,
        "messages.1.tool_call_id",
    ),
    ("context exceeded", CHAT, chat(messages=[USER | {"content": "a b " * 400}]), 400, None),
    (
        "context exceeded in a stream",
        CHAT,
        chat(messages=[USER | {"content": "a b " * 400}], stream=True),
        400,
        None,
    ),
    ("the words withheld", CHAT, chat(energy_guard={"details": "full"}), 403, None),
    ("no prompt", TEXT, {}, 400, None),
    ("a prompt of nothing", TEXT, {"prompt": []}, 400, None),
    ("token ids beyond the vocabulary", TEXT, {"prompt": [10**6]}, 400, None),
    ("negative token ids", TEXT, {"prompt": [-1]}, 400, None),
    ("too many prompts", TEXT, {"prompt": ["a"] * 9}, 400, "n"),
    ("alternatives", TEXT, {"prompt": "a", "logprobs": 21}, 400, "logprobs"),
    ("echo", TEXT, {"prompt": "a", "echo": True}, 400, "echo"),
    ("no answer", SCORE, {"prompt": "a"}, 400, "answer"),
    ("two questions", SCORE, {"prompt": "a", "messages": [USER], "answer": "b"}, 400, None),
    ("an empty answer", SCORE, {"prompt": "a", "answer": ""}, 400, None),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_a_bad_request_is_refused_in_openais_form(
    server: Served, path: str, body: Any, status: int, param: str | None
) -> None:
    response = server.http.post(path, json=body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert 0 < len(error["message"]) < 1000
    assert param is None or error["param"].startswith(param)


JSON = {"content-type": "application/json"}
RAW: list[tuple[str, bytes, dict[str, str], int]] = [
    ("nothing", b"", JSON, 400),
    ("null", b"null", JSON, 400),
    ("cut off", b'{"messages": [{"role": "user", "con', JSON, 400),
    ("not UTF-8", b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}', JSON, 400),
    (
        "half a character",
        rb'{"messages": [{"role": "user", "content": "\ud800"}]}',
        JSON,
        400,
    ),
    ("NaN", b'{"messages": [{"role": "user", "content": "Hi"}], "temperature": NaN}', JSON, 400),
    ("deep", b"[" * 20_000, JSON, 400),
    ("deep where anything may stand", b'{"metadata": ' + b"[" * 20_000, JSON, 400),
    ("a key twice", b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}', JSON, 400),
    ("a byte order mark", b"\xef\xbb\xbf{}", JSON, 400),
    ("too large", b'"' + b"a" * 60_000 + b'"', JSON, 413),
    ("compressed", gzip.compress(b"{}"), JSON | {"content-encoding": "gzip"}, 415),
    ("not JSON by its type", b"{}", {"content-type": "text/plain"}, 415),
    ("of no type", b"{}", {}, 415),
]


@pytest.mark.parametrize(
    ("body", "headers", "status"), [row[1:] for row in RAW], ids=[row[0] for row in RAW]
)
def test_a_body_that_cannot_be_read_is_refused(
    server: Served, body: bytes, headers: dict[str, str], status: int
) -> None:
    response = server.http.post(CHAT, content=body, headers=headers)
    assert response.status_code == status, response.text
    assert response.json()["error"]["message"]


def test_of_several_types_the_one_that_fits_says_what_is_wrong(server: Served) -> None:
    response = server.chat(stop=[str(number) for number in range(100)])
    assert "at most 16" in response.json()["error"]["message"]


def sent(server: Served, *parts: bytes) -> bytes:
    """Send bytes as they are; return all that comes until the server closes the connection."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


HOST = b" HTTP/1.1\r\nHost: localhost\r\n"
HEAD = b"POST /v1/chat/completions" + HOST + b"Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50 + b"\r\n\r\n", 400),  # TLS
        (b"GE T /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (
            HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            400,
        ),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
        (HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"mes\r\n', 408),  # and no more
        (b"GET /v1/models HTTP/1.0\r\n\r\n", 403),  # it does not say whom it has called
        (
            b"GET /v1/chat/completions" + HOST + b"Connection: Upgrade, close\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
            405,
        ),
    ],
)
def test_what_no_client_sends_is_told_in_openais_form_and_the_connection_closed(
    server: Served, monkeypatch: pytest.MonkeyPatch, request_bytes: bytes, status: int
) -> None:
    monkeypatch.setattr(access, "_BODY_S", 0.3)
    head, _, body = sent(server, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    told = body[body.index(b"{") : body.rindex(b"}") + 1]  # it may come in a chunk
    assert json.loads(told)["error"]["message"]


def test_the_words_of_a_body_are_not_in_its_error(server: Served) -> None:
    response = server.chat("secret words", messages=[{"role": "user", "content": ["secret"]}])
    assert response.status_code == 400
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", CHAT, 405), ("GET", "/nothing", 404), ("GET", "/v1/models/other", 404)],
)
def test_what_is_not_there_is_told_in_the_same_form(
    server: Served, method: str, path: str, status: int
) -> None:
    response = server.http.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_a_schema_that_does_not_compile_is_refused_in_a_stream_too(server: Served) -> None:
    response = server.chat(stream=True, response_format=schema({"type": "strnig"}))
    assert response.status_code == 400
    assert "schema" in response.json()["error"]["message"]


def test_a_connection_that_ends_in_its_body_does_no_harm(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(HEAD + b"Content-Length: 500\r\n\r\n{")
    assert server.chat(max_tokens=2).status_code == 200


def test_the_server_answers_after_all_of_that(server: Served) -> None:
    response = server.chat(max_tokens=8)
    assert response.status_code == 200
    assert json.loads(response.content)["choices"][0]["message"]["content"]
    assert server.http.get("/health").json() == {"status": "ok", "waiting": 0}


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    answers = [[("Yes", 0.99)]] * 4
    with served(Guard(Scripted.saying(*answers), LAX), api_key="sesame") as running:
        yield running


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer wrong"},
        {"authorization": "sesame"},
        {"authorization": "Basic sesame"},
        {"authorization": "", "x-api-key": "Sesame"},
        {"authorization": b"Bearer s\xe9same"},
    ],
)
def test_without_the_key_nothing_is_answered(locked: Served, headers: dict[str, Any]) -> None:
    for path in ("/v1/models", "/metrics", "/nothing"):
        response = locked.http.get(path, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


def test_the_key_opens_in_both_headers_and_health_needs_none(locked: Served) -> None:
    assert locked.http.get("/v1/models").status_code == 200
    other = {"authorization": "", "x-api-key": "sesame"}
    assert locked.http.get("/v1/models", headers=other).status_code == 200
    assert locked.http.get("/health", headers={"authorization": ""}).status_code == 200


def test_a_name_of_somebody_else_is_served_with_a_key_alone(locked: Served, server: Served) -> None:
    rebound = {"host": "evil.example:8000"}
    assert server.http.get("/v1/models", headers=rebound).status_code == 403
    assert locked.http.get("/v1/models", headers=rebound).status_code == 200
    for name in ("localhost:1234", "[::1]:1234", "127.0.0.1", "127.0.0.2:80", "[0:0:0:0:0:0:0:1]"):
        assert server.http.get("/v1/models", headers={"host": name}).status_code == 200


def test_a_page_of_another_site_gets_no_leave(server: Served) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    response = server.http.options(CHAT, headers=asked)
    assert response.status_code == 405
    assert not any(name.startswith("access-control") for name in response.headers)


def test_the_model_has_the_name_that_it_is_served_by_and_its_own() -> None:
    guard = Guard(Scripted.saying([("Paris", 0.9)], [("Paris", 0.9)]), LAX)
    with served(guard, model="mine") as server:
        assert [m["id"] for m in server.http.get("/v1/models").json()["data"]] == ["mine"]
        for name in ("mine", guard.backend.info.name):
            assert server.chat(model=name).json()["model"] == "mine"
        refused = server.chat(model="other")
    assert refused.status_code == 404
    assert "'mine'" in refused.json()["error"]["message"]


@pytest.mark.parametrize(("shown", "let_in"), [("ключ", True), ("käy", False), ("kluch", False)])
async def test_a_key_may_have_any_letters(shown: str, let_in: bool) -> None:
    reached: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])

    async def send(message: Message) -> None:
        assert message.get("status", 401) == 401

    guarded = Access(app, ServerSettings(api_key="ключ"))
    headers = [(b"authorization", b"Bearer " + shown.encode())]
    scope = {"type": "http", "path": "/v1/models", "headers": headers}
    await guarded(scope, AsyncMock(), send)
    assert reached == (["/v1/models"] if let_in else [])


def test_texts_beyond_the_number_of_answers_are_refused_before_any_is_read(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked.Request, "raw", None)
    refused = server.http.post(TEXT, json={"prompt": ["a"] * 8_000})
    assert refused.status_code == 400
    assert "8000 answers" in refused.json()["error"]["message"]


def test_what_fails_on_this_machine_is_not_told_to_clients(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    guard = Guard(Scripted.saying([("Yes", 0.99)]), LAX, log=TraceLog(path))
    path.unlink(missing_ok=True)
    path.mkdir()
    with served(guard) as server:
        response = server.chat()
    assert response.status_code == 500
    assert "answers.jsonl" not in response.text
