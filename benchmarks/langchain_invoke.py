"""What the guard costs in LangChain: `python -m benchmarks.langchain_invoke`.

A guarded `invoke` against the same `Llama` behind the smallest chat model there can be: its own
chat completion, no more. Both write the same number of tokens, greedily; the pairs are
interleaved, and each starts with an empty cache. No retries. Beside the time on the clock stands
the processor's, which says something on a machine that others use, too.
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated, Any

import typer
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_energy_guard import ChatEnergyGuard
from rich.console import Console

from energy_guard import Policy, load

QUESTIONS = (
    "Tell me about the river Seine.",
    "What is a black hole? Explain it to a child.",
    "Describe how bread is made.",
    "Who was Marie Curie?",
)


class Bare(BaseChatModel):
    """llama-cpp-python's own chat completion as a chat model."""

    llm: Any
    max_tokens: int

    @property
    def _llm_type(self) -> str:
        return "bare"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        asked = [{"role": "user", "content": message.text} for message in messages]
        done = self.llm.create_chat_completion(
            asked, temperature=0.0, max_tokens=self.max_tokens, stop=stop
        )
        used = done["usage"]
        message = AIMessage(
            done["choices"][0]["message"]["content"],
            usage_metadata={
                "input_tokens": used["prompt_tokens"],
                "output_tokens": used["completion_tokens"],
                "total_tokens": used["total_tokens"],
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


def main(
    rounds: Annotated[int, typer.Option(help="Pairs of calls of each question.")] = 10,
    tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 64,
    model: str = "demo",
    threads: int = 2,
) -> None:
    """Print the medians of the ratios of guarded to bare, with their quartiles."""
    backend: Any = load(model, n_ctx=1024, n_threads=threads)
    llm = backend.engine
    shows_all = Policy(detector="nll:max", warn=1.0, unscored="show")
    guarded = ChatEnergyGuard.of(backend, shows_all, max_tokens=tokens)
    bare = Bare(llm=llm, max_tokens=tokens)
    clocks = {"clock": time.perf_counter, "processor": time.process_time}
    ratios: dict[str, list[float]] = {name: [] for name in clocks}
    for number in range(rounds + 1):
        for question in QUESTIONS:
            pair: tuple[BaseChatModel, ...] = (bare, guarded)
            spent: dict[type, dict[str, float]] = {}
            said: set[str] = set()
            for one in pair if number % 2 else pair[::-1]:
                llm.reset()
                start = {name: read() for name, read in clocks.items()}
                said.add(one.invoke(question).text)
                spent[type(one)] = {name: read() - start[name] for name, read in clocks.items()}
            if len(said) > 1:
                raise SystemExit("the two write different answers, so their times say nothing")
            if number:  # the first round warms up
                for name in clocks:
                    ratios[name].append(spent[ChatEnergyGuard][name] / spent[Bare][name])
    for name, found in ratios.items():
        low, middle, high = statistics.quantiles(found, n=4)
        Console().print(
            f"guarded / bare, {name}: {middle:.3f} (quartiles {low:.3f} to {high:.3f}, "
            f"{len(found)} pairs of up to {tokens} tokens, {threads} threads)"
        )


if __name__ == "__main__":
    typer.run(main)
