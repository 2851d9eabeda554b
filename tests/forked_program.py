"""Runs `energy-guard` many times, each in a fork of one process that has imported PyTorch.

Reads jobs from standard input, one JSON object a line: args, stdout and stderr (paths). Writes
the exit status of each.
"""

from __future__ import annotations

import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from energy_guard.cli import main

READY = (AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM)


def run(args: list[str], stdout: str, stderr: str) -> None:
    for number, path in enumerate((os.devnull, stdout, stderr)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.argv = ["energy-guard", *args]
    main()


torch.set_num_threads(1)
for line in sys.stdin:
    child = os.fork()
    if not child:
        run(**json.loads(line))
        break
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
