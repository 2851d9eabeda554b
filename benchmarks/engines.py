"""llama.cpp and transformers on the same weights: do they give the same numbers?

    python -m benchmarks.engines DATA.jsonl… [-n 10]

The embedded model answers the first n questions of each file with both engines. Then both replay
the answers of llama.cpp, token by token, so that every signal is compared on the same ids. The
file's weights are 4-bit, and llama.cpp multiplies them with activations that it rounds to 8 bits;
transformers unpacks them to float32. To show that this is all the difference there is, the same
is done with the weights unpacked for llama.cpp too, with a float32 cache.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from energy_guard import load
from energy_guard.backends import Backend
from energy_guard.backends.demo_model import demo_path
from energy_guard.energy import Floats
from energy_guard.locate import Asked, Span, locator
from energy_guard.request import Finished, Message, Request
from energy_guard.score import POOLINGS, Detector, Score
from energy_guard.trace import SIGNALS, Trace

SYSTEM = "Answer in one short sentence."


def unpack(source: Path, target: Path) -> None:
    """Write a GGUF file again with its weights in float32."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = 0 if name == "general.file_type" else field.contents()
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, kind, sub_type=inner)
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def requests_of(paths: Sequence[Path], n: int) -> list[Request]:
    """The first n questions of each file."""
    rows = [json.loads(line) for path in paths for line in path.read_text().splitlines()[:n]]
    return [
        Request.chat(
            [Message("system", SYSTEM), Message("user", row["question"])],
            context=(row["context"],) if row["context"] else (),
            max_tokens=48,
        )
        for row in rows
    ]


def answer(backend: Backend, request: Request) -> Trace:
    """Let the engine answer."""
    return next(e.trace for e in backend.generate([request]) if isinstance(e, Finished))


def replay(backend: Backend, request: Request, ids: Sequence[int]) -> Trace:
    """Let the engine read an answer token by token."""
    return next(e.trace for e in backend.replay(request, ids) if isinstance(e, Finished))


@dataclass(frozen=True)
class Comparison:
    """One question: the answers of both engines, and both engines' numbers of the first's."""

    request: Request
    first: Trace
    second: Trace
    mine: Trace
    other: Trace


def compare(first: Backend, second: Backend, requests: Sequence[Request]) -> list[Comparison]:
    """Answer with both, and replay the first's answers with both."""
    compared = []
    for request in requests:
        written = answer(first, request)
        ids = written.ids.tolist()
        compared.append(
            Comparison(
                request,
                written,
                answer(second, request),
                replay(first, request, ids),
                replay(second, request, ids),
            )
        )
    return compared


def tokens_table(compared: Sequence[Comparison]) -> list[str]:
    """Shares of greedy tokens that are equal."""
    before, at_place, total, same = 0, 0, 0, 0
    for c in compared:
        pairs = list(zip(c.first.ids.tolist(), c.second.ids.tolist(), strict=False))
        before += len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        at_place += sum(one == other for one, other in pairs)
        total += max(len(c.first), len(c.second))
        same += c.first.ids.tolist() == c.second.ids.tolist()
    prompts = sum(c.first.prompt_tokens == c.second.prompt_tokens for c in compared)
    return [
        f"Prompts of the same length in tokens: {prompts} of {len(compared)}. "
        f"Answers that are equal to the last token: {same} of {len(compared)}. "
        f"Tokens before the first that differs: {before / total:.1%} of {total}; "
        f"equal at the same place: {at_place / total:.1%}."
    ]


def differences_table(compared: Sequence[Comparison]) -> list[str]:
    """Absolute and mean signed differences of each signal, on the same ids."""
    lines = ["| signal | n | median | 95th percentile | largest | mean, signed |", "|---|" * 2]
    lines[1] = "|---|---|---|---|---|---|"
    for name in SIGNALS:
        parts = [c.other.signal(name) - c.mine.signal(name) for c in compared]
        found: Floats = np.concatenate(parts)
        found = found[np.isfinite(found)]
        size = np.abs(found)
        lines.append(
            f"| {name} | {len(found)} | {np.median(size):.2g} | {np.quantile(size, 0.95):.2g} | "
            f"{size.max():.2g} | {found.mean():+.2g} |"
        )
    return lines


def ranks_table(compared: Sequence[Comparison]) -> list[str]:
    """Rank correlation of every detector over the answers, on the same ids and spans."""
    find = locator("automatic")
    found = [find(c.mine, Asked(c.request.question)) for c in compared]
    pairs = [(c, span) for c, span in zip(compared, found, strict=True) if isinstance(span, Span)]
    lines = [f"| signal (n = {len(pairs)}) | {' | '.join(POOLINGS)} |", "|---|" + "---|" * 6]
    for name in SIGNALS:
        cells = []
        for pooling in POOLINGS:
            detector = Detector.parse(f"{name}:{pooling}")
            scores = [(detector.score(c.mine, s), detector.score(c.other, s)) for c, s in pairs]
            both = [
                (a.value, b.value)
                for a, b in scores
                if isinstance(a, Score) and isinstance(b, Score)
            ]
            cells.append(f"{spearmanr(np.array(both)).statistic:.3f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("-n", type=int, default=10, help="questions of each file")
    options = parser.parse_args()
    requests = requests_of(options.data, options.n)
    threads: dict[str, Any] = {"n_threads": 1, "n_threads_batch": 1}
    second = load("demo", "transformers", n_threads=1)
    packed = compare(load("demo", n_ctx=2048, **threads), second, requests)
    print("### The file as it is: 4-bit weights in llama.cpp, unpacked in transformers\n")  # noqa: T201
    print("\n".join([*tokens_table(packed), "", *differences_table(packed), ""]))  # noqa: T201
    print("\n".join(["Rank correlation of each detector:", "", *ranks_table(packed), ""]))  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unpacked.gguf"
        unpack(demo_path(), path)
        exact = load(path, n_ctx=2048, type_k=0, type_v=0, flash_attn=False, **threads)
        plain = compare(exact, second, requests)
    print("### The same weights in float32 in both\n")  # noqa: T201
    print("\n".join([*tokens_table(plain), "", *differences_table(plain)]))  # noqa: T201


if __name__ == "__main__":
    main()
