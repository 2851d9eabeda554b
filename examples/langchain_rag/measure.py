"""What the guard shows of questions to a folder, half of which its files do not answer.

    python examples/langchain_rag/measure.py --model MODEL --profile PROFILE --out answers.jsonl

Each is asked once, with the passage that is found for it. What the model wrote is in the file of
--out, that which is withheld included.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from langchain_energy_guard import ChatEnergyGuard
from rag import MAX_TOKENS, PASSAGES, Folder, guard_of, messages_of

from energy_guard.estimates.estimate import NotDefined, proportion
from energy_guard.questions.grade import grade

QUESTIONS: Final = Path(__file__).with_name("questions.jsonl")
"""60 of them, one a line: question, source (the file that it is about), answerable and answers;
missing: a word that the file would have, did it hold the answer.
"""


def main() -> int:
    """Ask all of them, and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo", help="a GGUF file; demo: the embedded model")
    parser.add_argument("--profile", type=Path, help="that of the model, unless given")
    parser.add_argument("--folder", type=Path, default=PASSAGES)
    parser.add_argument("--questions", type=Path, default=QUESTIONS)
    parser.add_argument("--out", type=Path, required=True, help="where to keep the answers")
    given = parser.parse_args()
    guard = guard_of(given.model, given.profile)
    model = ChatEnergyGuard(guard=guard, max_tokens=MAX_TOKENS, details="full")
    folder = Folder.read(given.folder)
    rows = [json.loads(line) for line in given.questions.read_text("utf-8").splitlines()]
    answers = [row | answered(row, model, folder) for row in rows]
    given.out.write_text("".join(f"{json.dumps(each)}\n" for each in answers), "utf-8")
    table(answers)
    return 0


def answered(row: dict[str, Any], model: ChatEnergyGuard, folder: Folder) -> dict[str, Any]:
    """Ask one question; found: whether the passage is of the file that it is about."""
    passages = folder.invoke(row["question"])
    if not passages:
        return {"found": False, "shown": False, "right": False}
    said = model.invoke(messages_of(row["question"], passages)).response_metadata["energy_guard"]
    is_answerable = row["answerable"]
    graded = grade(row["question"], row["answers"], said["answer"], answerable=is_answerable)
    return {
        "found": passages[0].metadata["source"] == row["source"],
        "right": graded.outcome == "right",
        **{name: said[name] for name in ("answer", "shown", "p_wrong", "reason")},
    }


def table(answers: list[dict[str, Any]]) -> None:
    """Print how many are shown, and right, of those with an answer in the files and of others."""
    print("| questions | n | passage found | right | shown (95 %) | shown and right (95 %) |")
    print("|---|---|---|---|---|---|")
    for what, answerable in (("answer in the files", True), ("no answer there", False)):
        group = [each for each in answers if each["answerable"] == answerable]
        found, right, shown = (sum(each[k] for each in group) for k in ("found", "right", "shown"))
        both = sum(each["shown"] and each["right"] for each in group)
        shares = f"{share(shown, len(group))} | {share(both, len(group))}"
        print(f"| {what} | {len(group)} | {found} | {right} | {shares} |")


def share(count: int, n: int) -> str:
    """Say a count with the interval of its share."""
    measured = proportion(count, n)
    if isinstance(measured, NotDefined):
        return measured.reason
    return f"{count} ({measured.low:.0%} to {measured.high:.0%})"


if __name__ == "__main__":
    sys.exit(main())
