"""Lets vLLM's V2 model runner run on a CPU: Triton interprets its kernels.

vLLM takes Triton on a CPU only from a build of its own, which has a backend of that name. The
interpreter needs none: it is told of one that is never asked for anything.
"""

import os
from types import SimpleNamespace

os.environ["TRITON_INTERPRET"] = "1"
os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1"

from triton.backends import backends  # read when it is imported

backends["cpu"] = SimpleNamespace(driver=object())
