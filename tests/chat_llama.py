"""A user's own ChatLlamaCpp on the embedded model."""

from __future__ import annotations

import warnings
from typing import Any

from energy_guard.backends.demo_model import demo_path


def chat_llama(**options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the package says it has an end
        from langchain_community.chat_models import ChatLlamaCpp
    settings = {"temperature": 0, "max_tokens": 16} | options
    return ChatLlamaCpp(
        model_path=str(demo_path()),
        n_ctx=1024,
        n_threads=1,
        model_kwargs={"n_threads_batch": 1},
        verbose=False,
        **settings,
    )
