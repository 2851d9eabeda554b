"""A program with an engine of vLLM in vLLM's own processes: prints what it has said, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from energy_guard import load
from energy_guard.request import Finished, Request, Sampling

PROMPTS = ("The capital of France is", "thththth", "One", "".join(map(chr, range(40, 126))))


def traces(backend: Any, requests: list[Request]) -> list[Any]:
    events = [event for event in backend.generate(requests) if isinstance(event, Finished)]
    return [event.trace for event in sorted(events, key=lambda event: event.sequence)]


def main(folder: str, options: dict[str, Any]) -> None:
    del options["distributed_executor_backend"]
    backend = load(folder, "vllm", **options)
    drawn = [
        Request.raw("One", max_tokens=12, sampling=Sampling(temperature=1.0, seed=seed))
        for seed in (7, 8)
    ]
    together, alone = traces(backend, drawn), traces(backend, drawn[:1])
    seeded = [together[0], alone[0], together[1]]
    asked = [Request.raw(prompt, max_tokens=12) for prompt in PROMPTS]
    said = {
        "fingerprint": backend.info.fingerprint,
        "seeded": [trace.ids.tolist() for trace in seeded],
        "numbers": [trace.log_partition.tolist() for trace in traces(backend, asked)],
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
