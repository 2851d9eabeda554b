"""The examples as programs, with the embedded model: what they answer, withhold and remember."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from langchain_energy_guard.messages import passages_of
from pages import assert_same, sessions

from energy_guard import Guard, Policy
from energy_guard.backends import Scripted

pytestmark = [pytest.mark.model, pytest.mark.slow]

EXAMPLES = Path(__file__).parent.parent / "examples"
WITHHELD = "I am not sure enough to answer that."


def run(example: str, *args: str, said: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(EXAMPLES / example), *args]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, input=said, capture_output=True, text=True, timeout=280, env=environment
    )


def shown(page: str, example: str) -> tuple[list[str], str]:
    """The words of the command that starts an example, and what the page shows below it."""
    text = EXAMPLES.joinpath(page).read_text("utf-8")
    [found] = [(shlex.split(c), out) for c, out in sessions(text) if f"examples/{example}" in c]
    return found


def test_the_script_keeps_what_it_can_trust() -> None:
    words, expected = shown("README.md", "local_script.py")
    done = run("local_script.py", *words[2:])
    assert done.returncode == 3, done.stderr
    assert_same(done.stdout, expected)


def test_the_script_says_that_nothing_is_left() -> None:
    done = run("local_script.py", "What is the capital of France? Answer in one short sentence.")
    assert done.returncode == 0, done.stderr
    assert "look up" not in done.stdout


def test_the_chat_remembers_what_was_shown_and_only_that() -> None:
    words, expected = shown("langchain_chat/README.md", "langchain_chat/chat.py")
    first, *others = words[2 : words.index("|")]
    done = run("langchain_chat/chat.py", said="\n".join([first, "", *others]))
    assert done.returncode == 0, done.stderr
    assert_same(done.stdout, expected)
    assert WITHHELD in expected
    assert "The capital of England is London." in expected, "it follows on the first question"


def test_the_agent_answers_in_words_what_needs_no_tool() -> None:
    done = run("langchain_agent/agent.py", "What is the capital of France?")
    assert done.returncode == 0, done.stderr
    question, answer, verdict = done.stdout.splitlines()
    assert question == "What is the capital of France?"
    assert answer == "  The capital of France is Paris."
    assert verdict.startswith("    accept: nll:max of the exact answer is ")


def test_a_folder_answers_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "langchain_rag")
    rag = importlib.import_module("rag")
    says = Scripted.saying([("In", 0.99), (" 1904", 0.99)], [("In", 0.99), (" 1905", 0.01)])
    guard = Guard(says, Policy(detector="nll:max", warn=1.0, abstain=2.0))
    asked = rag.answering(guard, rag.Folder.read(rag.PASSAGES))
    reply = asked.invoke("When was the bridge repaired?")
    assert (reply.text, reply.sources, reply.verdict) == ("In 1904", ("bridge.txt",), "accept")
    reply = asked.invoke("When was the bridge repaired?")
    assert (reply.text, reply.sources, reply.verdict) == (WITHHELD, (), "abstain")


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What is the phone number of the museum?", "abstain: P(wrong) of the exact answer is "),
        ("Which team won the football match?", "abstain: no passage is about this"),
    ],
)
def test_a_folder_that_does_not_hold_the_answer(question: str, reason: str) -> None:
    done = run("langchain_rag/rag.py", question)
    assert done.returncode == 3, done.stderr
    text, sources, verdict = done.stdout.splitlines()
    assert (text, sources) == (WITHHELD, "sources: none")
    assert verdict.startswith(reason)


def test_measuring_counts_what_is_shown(tmp_path: Path) -> None:
    rows = [
        {
            "question": question,
            "source": source,
            "answers": answers,
            "answerable": bool(answers),
        }
        for question, source, answers in (
            ("When was the bridge repaired?", "bridge.txt", ["1904"]),
            ("What is the phone number of the museum?", "museum.txt", []),
            ("Which team won the football match?", "museum.txt", []),
        )
    ]
    questions, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = ("--questions", str(questions), "--out", str(out))
    done = run("langchain_rag/measure.py", *args)
    assert done.returncode == 0, done.stderr
    held, silent = done.stdout.splitlines()[2:]
    assert held == "| answer in the files | 1 | 1 | 1 | 0 (0% to 98%) | 0 (0% to 98%) |"
    assert silent == "| no answer there | 2 | 1 | 0 | 0 (0% to 84%) | 0 (0% to 84%) |"
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert "1904" in answers[0]["answer"], "what is withheld is in the file"


def test_half_of_the_questions_to_the_folder_have_their_answer_there() -> None:
    lines = (EXAMPLES / "langchain_rag/questions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["answerable"] for row in rows] == [True] * 30 + [False] * 30
    assert len({row["question"] for row in rows}) == 60
    for row in rows:
        text = (EXAMPLES / "langchain_rag/passages" / row["source"]).read_text("utf-8")
        words = f" {re.sub(r'[^a-z0-9]+', ' ', text.lower())} "
        wanted = row["answers"][0] if row["answerable"] else row["missing"]
        assert (f" {wanted.lower()} " in words) == row["answerable"], row


def test_passages_are_told_apart_from_the_question() -> None:
    blocks = [{"type": "text-plain", "text": "A mill."}, {"type": "text", "text": "What is it?"}]
    passages, (asked,) = passages_of([HumanMessage(blocks)])
    assert passages == ("A mill.",)
    assert asked.content == [{"type": "text", "text": "What is it?"}]


def test_a_document_without_a_question_stays_what_is_asked() -> None:
    messages = [HumanMessage([{"type": "text-plain", "text": "A mill."}])]
    assert passages_of(messages) == ((), messages)
    plain = [HumanMessage("What is it?")]
    assert passages_of(plain) == ((), plain)
