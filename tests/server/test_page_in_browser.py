"""The page at `/` in a browser, as a person uses it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from browser import chromium, opened
from served import Served, eventually, served

from energy_guard import Guard, Policy, Request
from energy_guard.backends import Scripted
from energy_guard.backends.scripted import Script
from energy_guard.request import Event

STRICT = Policy(detector="nll:max", warn=0.5, abstain=1.0)
SURE = [("The capital is ", 0.99), ("Par", 0.55), ("is", 0.99), (".", 0.99)]
WITHHELD = [("The capital is ", 0.99), ("Tim", 0.2), ("buktu", 0.99), (".", 0.99)]
LYON = [("Lyon", 0.7), (".", 0.99)]
LYON_WHOLE = [("The capital is ", 0.99), *LYON]
ATTACKS = (
    "<img src=x onerror=document.title='broken'>",
    "</script><script>document.title='broken'</script>",
    "<svg onload=document.title='broken'>",
)

Open = Callable[..., AbstractContextManager[tuple[Any, Served]]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


class Slow(Scripted):
    """Writes at the speed at which a person reads."""

    pause_s = 0.2

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        for event in super()._play(number, request, script):
            time.sleep(self.pause_s)
            yield event


@pytest.fixture
def open_page(browser: Any) -> Open:
    @contextmanager
    def open_page(
        *scripts: list[tuple[str, float]],
        policy: Policy = STRICT,
        kind: type[Scripted] = Scripted,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> Iterator[tuple[Any, Served]]:
        guard = Guard(kind.saying(*scripts), policy)
        with (
            served(guard, **settings or {}) as server,
            opened(browser, server.url, **options) as page,
        ):
            yield page, server

    return open_page


def ask(page: Any, question: str = "What is the capital of France?") -> Any:
    """Ask by keyboard, and wait for the verdict; return the turn."""
    turn = begin(page, question)
    turn.locator(".badge").wait_for()
    return turn


def begin(page: Any, question: str = "What is the capital of France?") -> Any:
    count = page.locator(".turn").count()
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    return page.locator(".turn").nth(count)


def move(page: Any, name: str, value: float) -> None:
    slider = page.locator(f"#{name}")
    slider.fill(str(value))


def everything(page: Any) -> str:
    """All that the page has: its elements, what they hold, and what is stored."""
    content: str = page.content()
    stored: str = page.evaluate("() => JSON.stringify({...localStorage})")
    return content + stored


def exported(page: Any) -> Any:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as JSON").click()
    assert download.value.suggested_filename == "energy-guard.json"
    with open(download.value.path(), encoding="utf-8") as file:  # noqa: PTH123  # a path as text
        return json.load(file)


@pytest.mark.parametrize("mode", ["live", "sentence", "hold"])
def test_an_answer_comes_with_its_verdict_and_reason(open_page: Open, mode: str) -> None:
    with open_page(SURE) as (page, _):
        page.locator("#mode").select_option(mode)
        turn = ask(page)
        assert turn.locator("h2").inner_text() == "What is the capital of France?"
        assert turn.locator(".said").inner_text() == "The capital is Paris."
        assert turn.locator(".badge").inner_text() == "! warn"
        assert turn.locator(".risk").inner_text() == "nll:max 0.60"
        assert "above the warning limit of 0.5" in turn.locator(".reason").inner_text()
        assert turn.locator(".token.exact").all_inner_texts() == ["Par", "is"]
        assert turn.locator(".token.raised").all_inner_texts() == ["Par"]
        assert "Answer: warn" in page.get_by_role("status").inner_text()


def test_tokens_are_coloured_while_the_answer_is_written(open_page: Open) -> None:
    with open_page(SURE, kind=Slow) as (page, _):
        turn = begin(page)
        turn.locator(".writing .token.raised", has_text="Par").wait_for()
        assert turn.locator(".badge").count() == 0
        turn.locator(".badge").wait_for()


@pytest.mark.parametrize("mode", ["live", "sentence", "hold"])
def test_words_that_are_withheld_are_nowhere(open_page: Open, mode: str) -> None:
    with open_page(WITHHELD) as (page, _):
        page.locator("#mode").select_option(mode)
        turn = ask(page)
        assert turn.locator(".badge").inner_text() == "✗ abstain"
        assert turn.locator(".said").inner_text() == STRICT.abstention_text
        assert turn.locator(".risk").inner_text() == f"nll:max {-math.log(0.2):.2f}"
        [kept] = exported(page)["turns"]
        assert "buktu" not in everything(page) + json.dumps(kept)
        assert kept["answer"]["pieces"] == []
        assert kept["answer"]["guard"]["answer"] is None


def test_an_answer_that_is_taken_back_was_there_before(open_page: Open) -> None:
    with open_page(WITHHELD, kind=Slow) as (page, _):
        turn = begin(page)
        turn.locator(".writing .token.high", has_text="Tim").wait_for()
        turn.locator(".badge").wait_for()
        assert "buktu" not in everything(page)


def test_a_withheld_question_is_not_told_to_the_model_again(open_page: Open) -> None:
    bodies = []
    with open_page(WITHHELD, SURE, SURE) as (page, _):
        page.on("request", lambda request: bodies.append(request.post_data_json))
        for question in ("One?", "Two?", "Three?"):
            ask(page, question)
    told = [[message["content"] for message in body["messages"]] for body in bodies]
    assert told == [["One?"], ["Two?"], ["Two?", "The capital is Paris.", "Three?"]]


def test_a_second_attempt_replaces_the_first(open_page: Open) -> None:
    again = STRICT.model_copy(update={"retries": 1})
    with open_page(WITHHELD, SURE, policy=again) as (page, _):
        turn = ask(page)
        assert turn.locator(".said").inner_text() == "The capital is Paris."
        assert "buktu" not in everything(page)


def test_a_token_shows_its_numbers_to_the_mouse_and_to_the_keyboard(open_page: Open) -> None:
    with open_page(SURE) as (page, _):
        turn = ask(page)
        numbers = turn.locator(".numbers")
        assert numbers.is_hidden()
        turn.locator(".token").nth(1).hover()
        assert numbers.locator("h3").inner_text() == "Token Par"
        assert numbers.locator("tr", has_text="nll").locator("td").inner_text() == "0.598"
        assert "Par" in numbers.locator(".others tr").first.inner_text()
        assert "55.0 %" in numbers.locator(".others tr").first.inner_text()
        page.mouse.move(0, 0)
        turn.locator(".token").nth(0).focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert numbers.locator("h3").inner_text() == "Token is"
        page.keyboard.press("Home")
        assert numbers.locator("h3").inner_text() == "Token The␣capital␣is␣"
        page.keyboard.press("Enter")
        assert numbers.evaluate("(element) => element === document.activeElement")
        page.keyboard.press("Tab")
        assert "Go on with" in page.evaluate("() => document.activeElement.ariaLabel")


def test_the_page_is_used_by_keyboard_alone_with_one_stop_for_the_tokens(open_page: Open) -> None:
    with open_page(SURE) as (page, _):
        turn = ask(page)
        assert page.locator("#question").evaluate("(element) => element === document.activeElement")
        assert turn.locator(".token[tabindex='0']").count() == 1
        turn.locator(".token").nth(2).click()
        assert turn.locator(".token[tabindex='0']").inner_text() == "is"


def test_a_signal_is_plotted_along_the_answer(open_page: Open) -> None:
    with open_page(SURE) as (page, _):
        turn = ask(page)
        plot = turn.get_by_role("img")
        assert plot.get_attribute("aria-label") == "nll of each token, from 0.01 to 0.60"
        assert plot.locator("rect").count() == 4
        assert plot.locator("rect.exact").count() == 2
        turn.get_by_label("Plot of").select_option("entropy")
        assert (plot.get_attribute("aria-label") or "").startswith("entropy of each token")
        plot.locator("rect").nth(1).click()
        assert turn.locator(".numbers h3").inner_text() == "Token Par"


def test_limits_judge_the_answers_on_the_screen_again(open_page: Open) -> None:
    with open_page(SURE, WITHHELD) as (page, _):
        shown, withheld = ask(page), ask(page)
        badges = page.locator(".badge")
        assert badges.all_inner_texts() == ["! warn", "✗ abstain"]
        assert page.locator("#warn-at").inner_text() == "0.50"
        move(page, "warn", 0.8)
        assert badges.all_inner_texts() == ["✓ accept", "✗ abstain"]
        assert "the server said warn" in shown.locator(".reason").inner_text()
        move(page, "abstain", 0.55)
        assert badges.all_inner_texts() == ["✗ abstain", "✗ abstain"]
        assert page.locator("#warn-at").inner_text() == "0.55"
        move(page, "abstain", 3)
        assert badges.all_inner_texts() == ["! warn", "! warn"]
        assert "has sent none of its words" in withheld.locator(".reason").inner_text()
        assert withheld.locator(".said").inner_text() == STRICT.abstention_text
        page.get_by_role("button", name="As the server has them").click()
        assert badges.all_inner_texts() == ["! warn", "✗ abstain"]


def test_an_answer_without_a_score_is_judged_by_no_limit(open_page: Open) -> None:
    with open_page(SURE, SURE, settings={"max_tokens": 2}) as (page, _):
        turn = ask(page)
        assert turn.locator(".badge").inner_text() == "? unscored"
        move(page, "abstain", 4)
        move(page, "warn", 4)
        assert turn.locator(".badge").inner_text() == "? unscored"
        assert "Par" not in everything(page)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"p_wrong": 0.7, "calibrated": True}, "accept"),
        ({"p_wrong": 0.7, "calibrated": False}, "unscored"),
        ({"p_wrong": 0.95, "calibrated": False}, "abstain"),
        ({"p_wrong": None, "calibrated": False}, "abstain"),
    ],
    ids=["its own", "borrowed", "borrowed and above", "none"],
)
def test_a_risk_that_withholds_an_answer_never_shows_it(
    open_page: Open, told: dict[str, Any], expected: str
) -> None:
    limits = {"on": "p_wrong", "warn": 0.3, "abstain": 0.5}
    guard = {"verdict": "abstain", "thresholds": limits, "p_wrong_from": "profile"} | told
    with open_page(SURE) as (page, _):
        verdict = page.evaluate(
            """async (guard) => {
              const { Limits } = await import("/page/limits.js");
              const limits = new Limits();
              limits.learn(guard);
              limits.move("abstain", 0.9);
              limits.move("warn", 0.8);
              return limits.verdict(guard);
            }""",
            guard,
        )
    assert verdict == expected


def test_an_answer_goes_on_from_a_token_as_the_user_says(open_page: Open) -> None:
    bodies = []
    with open_page(SURE, LYON, LYON_WHOLE, SURE[2:], SURE) as (page, _):
        page.on("request", lambda request: bodies.append(request.post_data_json))
        turn = ask(page)
        turn.locator(".token").nth(1).click()
        turn.get_by_role("button", name="Regenerate from this token").click()
        turn.locator(".said", has_text="Lyon.").wait_for()
        assert turn.locator(".said").inner_text() == "The capital is Lyon."
        assert turn.locator(".token.exact").inner_text() == "Lyon"
        assert "were given" in turn.locator(".notes").inner_text()
        assert page.locator(".turn").count() == 1
        turn.locator(".token").nth(1).click()
        turn.get_by_role("button", name="Go on with Par").click()
        turn.locator(".said", has_text="Paris").wait_for()
    ids = [body["energy_guard"].get("beginning") for body in bodies]
    assert ids[0] is None
    assert (len(ids[1]), len(ids[2])) == (1, 2)  # the token before; and the one that was taken
    assert [body["temperature"] for body in bodies] == [0, 0.8, 0]


def test_an_answer_stays_if_the_model_cannot_go_on(open_page: Open) -> None:
    with open_page(SURE) as (page, _):
        turn = ask(page)
        turn.locator(".token").nth(1).click()
        turn.get_by_role("button", name="Regenerate from this token").click()
        page.get_by_role("alert").filter(has_text="the server failed").wait_for()
        assert turn.locator(".said").inner_text() == "The capital is Paris."
        assert turn.locator(".badge").inner_text() == "! warn"


def test_limits_give_no_verdict_on_an_answer_that_is_being_written(open_page: Open) -> None:
    with open_page(SURE, SURE, kind=Slow) as (page, _):
        turn = ask(page)
        turn.locator(".token").nth(0).click()
        turn.get_by_role("button", name="Regenerate from this token").click()
        turn.locator(".writing .token", has_text="The capital").wait_for()
        move(page, "warn", 0.8)
        assert turn.locator(".answer").get_attribute("class") == "answer writing"
        turn.locator(".badge").wait_for()
        assert turn.locator(".badge").inner_text() == "✓ accept"


def test_only_the_last_answer_can_go_on(open_page: Open) -> None:
    with open_page(SURE, SURE) as (page, _):
        first, last = ask(page), ask(page)
        again = "Regenerate from this token"
        for turn, count in ((first, 0), (last, 1)):
            turn.locator(".token").nth(1).click()
            assert turn.get_by_role("button", name=again).count() == count


def test_an_answer_behind_reasoning_cannot_go_on_without_it(open_page: Open) -> None:
    thought = [("<think>", 0.9), ("Lyon?", 0.9), ("</think>", 0.9), *SURE]
    with open_page(thought) as (page, _):
        turn = ask(page)
        turn.locator(".token").nth(1).click()
        assert turn.locator(".numbers h3").inner_text() == "Token Par"
        assert turn.locator(".numbers button").count() == 0


def test_text_of_the_model_and_of_the_user_is_never_code(open_page: Open) -> None:
    said = [(attack, 0.9) for attack in ATTACKS]
    lax = Policy(
        detector="nll:max", warn=5.0, abstain=9.0, unscored="show", nothing_to_check="show"
    )
    with open_page(said, said, policy=lax) as (page, _):
        turn = ask(page, "".join(ATTACKS))
        assert turn.locator(".said").inner_text() == "".join(ATTACKS)
        turn.locator(".token").nth(1).click()
        page.reload()
        turn = page.locator(".turn").first
        assert turn.locator("h2").inner_text() == "".join(ATTACKS)
        assert turn.locator(".said").inner_text() == "".join(ATTACKS)
        turn.locator(".token").nth(0).click()
        assert page.locator(".turn img, .turn script, .turn svg[onload]").count() == 0
        assert page.title() == "energy-guard"


def test_a_character_of_several_tokens_is_whole(open_page: Open) -> None:
    class Bytes(Scripted):
        """Says a character in two tokens."""

        @classmethod
        def saying(cls, *answers: Any, **options: Any) -> Any:
            made = super().saying(*answers, **options)
            pieces = {b"#": "é".encode()[:1], b"%": "é".encode()[1:]}
            made.vocabulary = tuple(pieces.get(piece, piece) for piece in made.vocabulary)
            return made

    with open_page([("caf", 0.99), ("#", 0.99), ("%", 0.55), (".", 0.99)], kind=Bytes) as (page, _):
        turn = ask(page)
        assert turn.locator(".token").all_inner_texts() == ["caf", "é", "."]
        assert turn.locator(".token.raised").inner_text() == "é"
        turn.locator(".token.raised").click()
        numbers = turn.locator(".numbers tr", has_text="nll").locator("td")
        assert numbers.all_inner_texts() == ["0.010", "0.598"]  # of both tokens
        label = turn.get_by_role("img").get_attribute("aria-label")
        assert label == "nll of each token, from 0.01 to 0.60"


def test_history_outlasts_the_page_until_it_is_cleared(open_page: Open) -> None:
    with open_page(SURE, WITHHELD) as (page, _):
        ask(page, "One?")
        ask(page, "Two?")
        page.reload()
        assert page.locator(".turn h2").all_inner_texts() == ["One?", "Two?"]
        assert page.locator(".badge").all_inner_texts() == ["! warn", "✗ abstain"]
        page.get_by_role("button", name="Clear").click()
        assert page.locator(".turn").count() == 0
        assert page.evaluate("() => localStorage.length") == 0
        page.reload()
        page.get_by_text("Ask a question.").wait_for()
        assert page.locator(".turn").count() == 0


def test_two_pages_at_once_overwrite_nothing_of_each_other(open_page: Open) -> None:
    with open_page(SURE, SURE, LYON_WHOLE, SURE, SURE) as (page, server):
        ask(page, "One?")
        other = page.context.new_page()
        other.goto(server.url)
        ask(page, "Two?")
        ask(other, "Three?")
        for each in (page, other):
            each.reload()
            assert each.locator(".turn h2").all_inner_texts() == ["One?", "Two?", "Three?"]
        page.get_by_role("button", name="Clear").click()
        ask(other, "Four?")
        ask(page, "Five?")
        page.reload()
        assert page.locator(".turn h2").all_inner_texts() == ["Four?", "Five?"]


@pytest.mark.parametrize(
    "refusal",
    [
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no'); }})",
        "Storage.prototype.setItem = () => { throw new DOMException('full'); }",
    ],
    ids=["refused", "full"],
)
def test_history_is_in_memory_if_the_browser_stores_nothing(open_page: Open, refusal: str) -> None:
    with open_page(SURE, SURE) as (page, _):
        page.add_init_script(refusal)
        page.reload()
        ask(page)
        assert page.get_by_text("it is gone when you leave").is_visible()
        assert len(exported(page)["turns"]) == 1


OTHER_FORM = {
    "id": "1",
    "asked": "2026-01-01",
    "question": "?",
    "answer": {"text": "!", "pieces": [], "guard": {"verdict": "accept", "thresholds": None}},
}


@pytest.mark.parametrize(
    "stored", ["{", "[1]", '{"question": 1}', '{"question": "?"}', json.dumps(OTHER_FORM)]
)
def test_a_turn_that_cannot_be_read_is_left_out(open_page: Open, stored: str) -> None:
    with open_page(SURE, SURE) as (page, _):
        ask(page)
        page.evaluate("(text) => localStorage.setItem('energy-guard.turn.1', text)", stored)
        page.reload()
        assert page.locator(".turn").count() == 1
        ask(page)
        page.get_by_role("button", name="Clear").click()
        assert page.evaluate("() => localStorage.length") == 0


def test_the_key_is_asked_for_and_kept_in_memory_alone(open_page: Open) -> None:
    with open_page(SURE, settings={"api_key": "sesame"}) as (page, _):
        key = page.get_by_label("This server needs a key")
        key.fill("simsim")
        page.keyboard.press("Enter")
        page.get_by_text("The key is wrong.").wait_for()
        assert page.locator("#question").is_hidden()
        key.fill("sesame")
        page.keyboard.press("Enter")
        ask(page)
        assert "sesame" not in everything(page)
        assert page.context.cookies() == []
        page.reload()
        key.wait_for()


def test_a_key_of_any_characters_is_shown_to_the_server(open_page: Open) -> None:
    with open_page(SURE) as (page, _), page.expect_request("**/v1/models") as request:
        page.evaluate(
            """async () => {
              const { modelName, useKey } = await import("/page/server.js");
              useKey("sésame ☃");
              await modelName();
            }"""
        )
    shown = request.value.headers["authorization"]
    assert shown.encode("latin-1") == "Bearer sésame ☃".encode()


def test_an_answer_that_is_stopped_is_not_shown(open_page: Open) -> None:
    with open_page(SURE, kind=Slow) as (page, server):
        turn = begin(page)
        turn.locator(".token", has_text="The capital").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped: an answer").wait_for()
        assert page.locator(".turn").count() == 0
        assert page.get_by_label("Your question").input_value() == "What is the capital of France?"
        assert eventually(lambda: not server.service.line._served)


@pytest.mark.parametrize("begun", [False, True], ids=["before", "in between"])
def test_a_server_that_goes_away_is_told_of(open_page: Open, begun: bool) -> None:
    with open_page(SURE, kind=Slow) as (page, _):
        if begun:
            cut = """() => {
              const { read } = ReadableStreamDefaultReader.prototype;
              ReadableStreamDefaultReader.prototype.read = async function () {
                await read.call(this);
                throw new TypeError("network error");
              };
            }"""
        else:
            cut = "() => { window.fetch = async () => { throw new TypeError('no network'); }; }"
        page.evaluate(cut)
        begin(page)
        page.get_by_role("alert").filter(has_text="the server cannot be reached").wait_for()
        assert page.locator(".turn").count() == 0


def test_a_mistake_of_the_page_is_not_told_as_one_of_the_network(open_page: Open) -> None:
    with open_page(SURE) as (page, _):
        page.evaluate("() => { console.error = () => {}; JSON.parse = () => null.nothing; }")
        begin(page)
        page.get_by_role("alert").filter(has_text="The page failed").wait_for()
        assert page.locator(".turn").count() == 0


class Breaking(Slow):
    """Fails in the middle of an answer."""

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        yield from super()._play(number, request, Script(script.ids, script.rows, fail_at=2))


def test_an_answer_that_breaks_off_is_not_shown(open_page: Open) -> None:
    with open_page(SURE, kind=Breaking) as (page, _):
        begin(page)
        page.get_by_role("alert").filter(has_text="the server failed").wait_for()
        assert page.locator(".turn").count() == 0
        assert "The capital" not in everything(page).replace("What is the capital", "")


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(open_page: Open, width: int, scheme: str) -> None:
    wide = [("word" * 60, 0.99), ("Par", 0.55), ("is", 0.99), (".", 0.99)]
    size = {"width": width, "height": 700}
    with open_page(wide, viewport=size, color_scheme=scheme) as (page, _):
        turn = ask(page, "q" * 200)
        turn.locator(".token").nth(1).focus()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(20, 24, 27)") == (scheme == "dark")
