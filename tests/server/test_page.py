"""The page at `/`: its files and headers, and what of a response it is told about each token."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest
from served import served

from energy_guard import Guard, Policy
from energy_guard.backends import Scripted
from energy_guard.server import page
from energy_guard.server.page import PAGE_PATHS

STRICT = Policy(detector="nll:max", warn=0.5, abstain=1.0)
SURE = [("The capital is ", 0.99), ("Par", 0.9), ("is", 0.99), (".", 0.99)]
WITHHELD = [("The capital is ", 0.99), ("Tim", 0.2), ("buktu", 0.99), (".", 0.99)]
LYON = [("Lyon", 0.6), (".", 0.99)]
LYON_WHOLE = [("The capital is ", 0.99), *LYON]
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def guard(*scripts: list[tuple[str, float]], policy: Policy = STRICT) -> Guard:
    return Guard(Scripted.saying(*scripts), policy)


def asked(server: Any, **options: Any) -> Any:
    return server.chat(logprobs=True, top_logprobs=2, energy_guard={"signals": True} | options)


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
def test_every_file_of_the_page_is_guarded_by_its_headers(path: str) -> None:
    with served(guard()) as server:
        response = server.http.get(path)
    assert response.status_code == 200
    assert response.headers["content-security-policy"] == CSP
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    kind = {"css": "text/css", "js": "text/javascript"}.get(path.rsplit(".")[-1], "text/html")
    assert response.headers["content-type"] == f"{kind}; charset=utf-8"


def test_the_page_is_served_without_the_key_and_nothing_else_is() -> None:
    with served(guard(SURE), api_key="sesame") as server:
        server.http.headers.pop("authorization")
        assert {server.http.get(path).status_code for path in PAGE_PATHS} == {200}
        assert server.http.get("/v1/models").status_code == 401
        assert server.chat().status_code == 401


def test_the_page_is_not_served_under_another_name_of_this_machine() -> None:
    with served(guard()) as server:
        assert server.http.get("/", headers={"host": "evil.example"}).status_code == 403


def test_every_file_in_the_folder_of_the_page_is_served() -> None:
    there = {each.name for each in files(page).iterdir() if each.name.endswith(("js", "css"))}
    assert there == {path.removeprefix("/page/") for path in PAGE_PATHS - {"/"}}


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
def test_a_file_of_the_page_names_no_other_place_and_reads_no_html(path: str) -> None:
    with served(guard()) as server:
        text = server.http.get(path).text
    assert re.findall(r"https?://[^\"]+", text) == (
        ["http://www.w3.org/2000/svg"] if path == "/page/elements.js" else []  # a namespace
    )
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert not re.search(r"<script(?! type=\"module\" src)|<style| on\w+=| style=", text)


def test_signals_are_those_of_the_listed_tokens() -> None:
    with served(guard(SURE)) as server:
        choice = asked(server, details="shown").json()["choices"][0]
    entries, told = choice["logprobs"]["content"], choice["logprobs"]["energy_guard"]
    assert [entry["energy_guard"]["index"] for entry in entries] == [0, 1, 2, 3]
    for entry in entries:
        said = entry["energy_guard"]
        token = told["tokens"][said["index"]]
        assert {name: said[name] for name in token if name != "text"} == token | {"text": 0} and (
            token.pop("text") == entry["token"]
        ) if False else {n: said[n] for n in token if n != "text"} == {
            n: v for n, v in token.items() if n != "text"
        }
