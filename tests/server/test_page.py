"""The page at `/`: its files and headers."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from served import served

from energy_guard import Guard
from energy_guard.backends import Scripted
from energy_guard.server import page
from energy_guard.server.page import PAGE_PATHS

GUARD = Guard(Scripted.saying([("Paris", 0.99)]))
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KINDS = {"css": "text/css", "js": "text/javascript"}


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
def test_every_file_of_the_page_is_guarded_by_its_headers(path: str) -> None:
    with served(GUARD) as server:
        response = server.http.get(path)
    assert response.status_code == 200
    assert response.headers["content-security-policy"] == CSP
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    kind = KINDS.get(path.rsplit(".", 1)[-1], "text/html")
    assert response.headers["content-type"] == f"{kind}; charset=utf-8"


def test_the_page_is_served_without_the_key_and_what_it_asks_is_not() -> None:
    with served(GUARD, api_key="sesame") as server:
        server.http.headers.pop("authorization")
        assert {server.http.get(path).status_code for path in PAGE_PATHS} == {200}
        assert server.http.get("/v1/models").status_code == 401
        assert server.http.get("/page/").status_code == 401
        assert server.chat().status_code == 401


def test_the_page_is_not_served_under_a_name_of_another_site() -> None:
    with served(GUARD) as server:
        assert server.http.get("/", headers={"host": "other.example"}).status_code == 403


def test_every_file_in_the_folder_of_the_page_is_served() -> None:
    there = {each.name for each in files(page).iterdir() if each.name.endswith(("js", "css"))}
    assert there == {path.removeprefix("/page/") for path in PAGE_PATHS - {"/"}}


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
def test_a_file_of_the_page_names_no_other_place_and_writes_no_html(path: str) -> None:
    with served(GUARD) as server:
        text = server.http.get(path).text
    namespace = ["http://www.w3.org/2000/svg"] if path == "/page/elements.js" else []
    assert re.findall(r"https?://[^\"'\s]+", text) == namespace
    assert not re.search(r"(inner|outer|adjacent)HTML|document\.write|\beval\(", text, re.I)
    if path == "/":  # its policy would have them do nothing
        assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?! type=\"module\" src=)", text)


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
def test_a_file_of_the_page_is_short_enough_to_read(path: str) -> None:
    with served(GUARD) as server:
        assert len(server.http.get(path).text.splitlines()) < 400
