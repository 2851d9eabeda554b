"""Ask a folder of text files: the answer with its sources, or that the passages do not hold it."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import bm25s
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_energy_guard import ChatEnergyGuard, guarded

from energy_guard import Guard, Profile

SYSTEM: Final = "Answer in one short sentence."
"""Profiles that are shipped, and those of `energy-guard calibrate`, were made with it."""

MAX_TOKENS: Final = 48

PASSAGES: Final = Path(__file__).with_name("passages")


class Folder(BaseRetriever):
    """The paragraphs of a folder's text files, ranked by BM25; only those that share a word."""

    paragraphs: list[Document]
    index: bm25s.BM25

    @classmethod
    def read(cls, folder: Path) -> Folder:
        """Index every paragraph of every .txt file."""
        paragraphs = [
            Document(" ".join(text.split()), metadata={"source": path.name})
            for path in sorted(folder.glob("*.txt"))
            for text in path.read_text("utf-8").split("\n\n")
            if text.strip()
        ]
        index = bm25s.BM25()
        index.index(_words([each.page_content for each in paragraphs]), show_progress=False)
        return cls(paragraphs=paragraphs, index=index)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int = 1
    ) -> list[Document]:
        wanted = min(k, len(self.paragraphs))
        found, scores = self.index.retrieve(_words([query]), k=wanted, show_progress=False)
        pairs = zip(found[0], scores[0], strict=True)
        return [self.paragraphs[at] for at, score in pairs if score > 0]


def _words(texts: list[str]) -> Any:
    return bm25s.tokenize(texts, stopwords="en", show_progress=False)


def messages_of(question: str, passages: list[Document]) -> list[BaseMessage]:
    """The prompt; passages are blocks of their own, so that the guard can tell them apart."""
    blocks: list[str | dict[str, Any]] = [
        {"type": "text-plain", "text": passage.page_content} for passage in passages
    ]
    asked = HumanMessage([*blocks, {"type": "text", "text": question}])
    return [SystemMessage(SYSTEM), asked]


@dataclass(frozen=True)
class Reply:
    """What the user sees. sources: the files that the answer rests on; none of an abstention.

    support: by how much its passages make a token of the exact answer likelier (nats, on average).
    """

    text: str
    sources: tuple[str, ...]
    verdict: str
    reason: str
    support: float | None = None


def answering(guard: Guard, folder: Folder) -> Runnable[str, Reply]:
    """Make the chain, from a question to its reply."""
    model = ChatEnergyGuard(guard=guard, max_tokens=MAX_TOKENS)

    def answer(question: str) -> Reply:
        passages = folder.invoke(question)
        if not passages:
            return Reply(guard.policy.abstention_text, (), "abstain", "no passage is about this")
        said = model.invoke(messages_of(question, passages))
        judged = said.response_metadata["energy_guard"]
        sources = dict.fromkeys(passage.metadata["source"] for passage in passages)
        gain = judged["support"] and judged["support"]["gain"]
        return Reply(said.text, tuple(sources), judged["verdict"], judged["reason"], gain)

    return guarded(
        RunnableLambda(answer),
        abstention=lambda result: Reply(result.text, (), result.verdict, result.unquoted_reason),
    )


def guard_of(model: str, profile: Path | None) -> Guard:
    """Load a model; profile: a file in the place of the one that is found, rules included."""
    made = Profile.read(profile) if profile else None
    return Guard(model, profile=made or "auto", support=True)


def main() -> int:
    """Answer one question; 0 where there is an answer, 3 where it abstains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--folder", type=Path, default=PASSAGES)
    parser.add_argument("--model", default="demo", help="a GGUF file; demo: the embedded model")
    parser.add_argument("--profile", type=Path, help="made by energy-guard calibrate")
    given = parser.parse_args()
    guard = guard_of(given.model, given.profile)
    reply = answering(guard, Folder.read(given.folder)).invoke(given.question)
    print(reply.text)
    print("sources:", ", ".join(reply.sources) or "none")
    print(f"{reply.verdict}: {reply.reason}")
    if reply.support is not None:
        times = math.exp(reply.support)
        print(f"support: a token of it is {times:,.1f} times as likely with the passage")
    return 0 if reply.verdict in ("accept", "warn") else 3


if __name__ == "__main__":
    sys.exit(main())
