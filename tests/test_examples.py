"""The examples as programs, with the embedded model: what they answer, withhold and remember."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from langchain_energy_guard.messages import passages_of

from energy_guard import Profile

pytestmark = [pytest.mark.model, pytest.mark.slow]

EXAMPLES = Path(__file__).parent.parent / "examples"
WITHHELD = "I am not sure enough to answer that."


def run(example: str, *args: str, said: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(EXAMPLES / example), *args]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, input=said, capture_output=True, text=True, timeout=280, env=environment
    )


def test_the_script_keeps_what_it_can_trust() -> None:
    done = run(
        "local_script.py",
        "What is the capital of France? Answer in one short sentence.",
        "Who won the 1987 Tour de France? Answer in one short sentence.",
    )
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "  The capital of France is Paris."
    assert lines[2].startswith("  warn: P(wrong) of the exact answer “Paris”")
    assert lines[3:] == ["look up: Who won the 1987 Tour de France? Answer in one short sentence."]


def test_the_script_says_that_nothing_is_left() -> None:
    done = run("local_script.py", "What is the capital of France? Answer in one short sentence.")
    assert done.returncode == 0, done.stderr
    assert "look up" not in done.stdout


def test_the_chat_remembers_what_was_shown_and_only_that() -> None:
    asked = ["What is the capital of France?", "", "Who won the 1987 Tour de France?"]
    done = run("langchain_chat/chat.py", said="\n".join([*asked, "And of Italy?"]))
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert answers[0] == "The capital of France is Paris."
    assert answers[1].startswith("  warn: ")
    assert answers[2] == WITHHELD
    assert answers[3].startswith("  abstain: ")
    assert answers[4] == "  this question and its answer are not remembered"
    assert answers[5] == "The capital of Italy is Rome.", "it follows on the first question"


def test_the_agent_answers_in_words_what_needs_no_tool() -> None:
    done = run("langchain_agent/agent.py", "What is the capital of France?")
    assert done.returncode == 0, done.stderr
    question, answer, verdict = done.stdout.splitlines()
    assert question == "What is the capital of France?"
    assert answer == "  The capital of France is Paris."
    assert verdict.startswith("    accept: nll:max of the exact answer is ")


def test_a_folder_answers_with_its_source() -> None:
    done = run("langchain_rag/rag.py", "When was the bridge repaired?")
    assert done.returncode == 0, done.stderr
    text, sources, verdict = done.stdout.splitlines()
    assert "1904" in text
    assert sources == "sources: bridge.txt"
    assert verdict.startswith("warn: P(wrong) of the exact answer is ")


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


def test_measuring_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    passage = "The mill on Bell Street was built in 1822 by Jonas Reed. It has {} stones."
    rows = [
        {
            "id": f"{kind}-{number}",
            "question": question,
            "context": passage.format(number),
            "answers": [answer],
            "answerable": kind == "held",
        }
        for number in range(2, 8)
        for kind, question, answer in (
            ("held", "Who built the mill on Bell Street?", "Jonas Reed"),
            ("not", "Who painted the mill on Bell Street?", "unanswerable"),
        )
    ]
    questions = tmp_path / "mills.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = ("langchain_rag/measure.py", str(questions), "--out", str(tmp_path / "out"))
    done = run(*args)
    assert done.returncode == 0, done.stderr
    assert "8 test questions" in done.stdout
    assert "| all answers: no guard | 8 |" in done.stdout
    assert "8 of 8 verdicts the same" in done.stdout
    profile = Profile.read(tmp_path / "out" / "profile.json")
    assert profile.calibration.n == 4

    answers = tmp_path / "out" / "answers.jsonl"
    whole = answers.read_text().splitlines(keepends=True)
    answers.write_text("".join(whole[:-3]))
    assert run(*args).stdout == done.stdout
    assert answers.read_text().splitlines(keepends=True) == whole


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
