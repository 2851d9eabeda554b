"""A long answer at a large vocabulary, scored fast in a process of its own.

argv: tokens of the answer, size of the vocabulary. stdout: how far the peak of resident memory
rose, in MiB.
"""

import resource
import sys

import torch
from tiny_models import tiny_model

from energy_guard.backends.transformers.fast import read_given


def peak():
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib / (2**20 if sys.platform == "darwin" else 2**10)


def main(tokens, vocabulary):
    torch.set_num_threads(1)
    model = tiny_model(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=16, max_position_embeddings=8192
    )
    answer = [(31 * t) % vocabulary for t in range(tokens)]
    list(read_given(model, [[1, 2]], [answer[:2]], [1.0]))
    before = peak()
    steps = sum(1 for _ in read_given(model, [answer[:100]], [answer], [1.0]))
    assert steps == tokens + 1
    print(peak() - before)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
