"""A guarded chat in the terminal; what was withheld is not remembered."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    trim_messages,
)
from langchain_energy_guard import ChatEnergyGuard

SYSTEM: Final = "Answer in one short sentence."
"""The shipped profile of the embedded model was made with it."""

REMEMBERED: Final = 12
"""Messages that the model still sees, beside the system prompt."""


class Chat:
    """A model with a memory of what it was asked, and of what was shown."""

    def __init__(self, model: ChatEnergyGuard) -> None:
        self.model = model
        self.history: list[BaseMessage] = []

    def ask(self, text: str) -> AIMessage:
        """Ask the next question.

        An answer that is withheld is forgotten with its question: the model would build on the
        answer, or copy the abstention.
        """
        question = HumanMessage(text)
        known = trim_messages(
            self.history,
            max_tokens=REMEMBERED,
            token_counter=len,  # messages are counted, not tokens
            start_on="human",
        )
        said = self.model.invoke([SystemMessage(SYSTEM), *known, question])
        if said.response_metadata["energy_guard"]["shown"]:
            self.history += [question, said]
        return said


def main() -> int:
    """Answer every line that comes in, from a person or from a pipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo", help="a GGUF file; demo: the embedded model")
    model = ChatEnergyGuard.of(parser.parse_args().model, max_tokens=64)
    chat = Chat(model)
    while True:
        try:
            question = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return 0
        if not question:
            continue
        said = chat.ask(question)
        judged = said.response_metadata["energy_guard"]
        print(said.text)
        print(f"  {judged['verdict']}: {judged['reason']}")
        if not judged["shown"]:
            print("  this question and its answer are not remembered")


if __name__ == "__main__":
    sys.exit(main())
