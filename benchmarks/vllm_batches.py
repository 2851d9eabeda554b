"""What does a guarded batch of vLLM cost? `python -m benchmarks.vllm_batches MODEL`, on a CPU.

Processor time of eight answers at once: bare, as `LLM.generate` gives them with the log-probability
of each token, and guarded, in interleaved turns on one engine in this process. Every answer has as
many tokens; the guarded ones have the row after the last token, which is one more. Then: by how
much the numbers of an answer depend on whether it is read with the others or alone.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

QUESTIONS: Final = tuple(
    f"Write a long story about a {hero} and the sea."
    for hero in ("keeper", "dog", "king", "ship", "child", "storm", "map", "pirate")
)
_ENVIRONMENT: Final = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_CI_ENV": "1"}


def unpacked(gguf: Path, folder: Path) -> Path:
    """Save the weights of a GGUF file in float32, in the form that vLLM loads."""
    from energy_guard.backends.transformers.load import load_pair

    model, tokenizer = load_pair(gguf)
    del model.config.quantization_config  # its weights are float32 now
    fresh = type(model)(model.config)  # the one from the file cannot be saved
    fresh.load_state_dict(model.state_dict())
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main(
    model: Annotated[Path, typer.Argument(help="GGUF file, or a directory.")],
    tokens: Annotated[int, typer.Option(help="Of each answer.")] = 64,
    turns: Annotated[int, typer.Option(help="Of each way.")] = 7,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
) -> None:
    """Print the seconds of each way, and the ratio of each turn's pair."""
    os.environ.update(_ENVIRONMENT)
    with tempfile.TemporaryDirectory() as scratch:
        folder = unpacked(model, Path(scratch)) if model.is_file() else model
        measure(folder, tokens, turns, dtype)


def measure(folder: Path, tokens: int, turns: int, dtype: str) -> None:
    """Start an engine, and compare."""
    from energy_guard import load

    backend: Any = load(
        folder,
        "vllm",
        dtype=dtype,
        n_ctx=512,
        enforce_eager=True,
        enable_prefix_caching=False,
        kv_cache_memory_bytes=256 * 2**20,
        max_num_seqs=len(QUESTIONS),
        distributed_executor_backend="uni",
    )
    ways = {"bare": bare(backend, tokens), "guarded": guarded(backend, tokens)}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name in sorted(ways, reverse=bool(turn % 2)):
            before = time.process_time()
            written = ways[name]()
            if turn:  # the first one compiles
                spent[name].append(time.process_time() - before)
            if written != tokens * len(QUESTIONS):
                raise SystemExit(f"{name} wrote {written} tokens")
    for name, seconds in spent.items():
        print(f"{name}: {statistics.median(seconds):.2f} s of a processor")  # noqa: T201
    ratios = sorted(g / b for g, b in zip(spent["guarded"], spent["bare"], strict=True))
    shown = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
    print(f"guarded / bare: {statistics.median(ratios):.3f} ({shown}, {turns} turns)")  # noqa: T201
    print(f"read with the others or alone: {dependence(backend, tokens):.1e} nats")  # noqa: T201


def bare(backend: Any, tokens: int) -> Callable[[], int]:
    """As the engine's own loop has it, each token with its log-probability."""
    from vllm import SamplingParams

    prompts = [[*backend.encode(request, "x")[0]] for request in requests(tokens)]
    params = SamplingParams(temperature=0.0, max_tokens=tokens, logprobs=1, ignore_eos=True)
    params.flat_logprobs, params.detokenize = True, False

    def run() -> int:
        engine, found = backend.engine, 0
        for number, prompt in enumerate(prompts):
            engine.add_request(f"bare-{number}", {"prompt_token_ids": prompt}, params)
        while engine.has_unfinished_requests():
            found += sum(len(o.outputs[0].token_ids) for o in engine.step() if o.finished)
        return found

    return run


def guarded(backend: Any, tokens: int) -> Callable[[], int]:
    """A session of the backend, without tokens that end an answer."""
    from energy_guard.backends.vllm.session import VllmSession
    from energy_guard.request import Finished

    session = VllmSession(replace(backend._engine, ends=frozenset()))

    def run() -> int:
        events = session.generate(requests(tokens), steps=False)
        return sum(len(event.trace) for event in events if isinstance(event, Finished))

    return run


def dependence(backend: Any, tokens: int) -> float:
    """By how much a log-partition differs, at most, read in a batch and alone."""
    from energy_guard.request import Finished

    def partitions(pairs: list[Any]) -> list[Any]:
        with backend.session() as session:
            ends = [e for e in session.replay(pairs, steps=False) if isinstance(e, Finished)]
        return [e.trace.log_partition for e in sorted(ends, key=lambda e: e.sequence)]

    asked = requests(tokens)
    answers = {e.sequence: e.trace for e in backend.generate(asked) if isinstance(e, Finished)}
    pairs = [(request, answers[i].ids.tolist()) for i, request in enumerate(asked)]
    alone = [partitions([pair])[0] for pair in pairs]
    both = zip(partitions(pairs), alone, strict=True)
    return max(float(abs(together - one).max()) for together, one in both)


def requests(tokens: int) -> list[Any]:
    """The questions, as chats."""
    from energy_guard import Request

    return [Request.chat(question, max_tokens=tokens) for question in QUESTIONS]


if __name__ == "__main__":
    typer.run(main)
