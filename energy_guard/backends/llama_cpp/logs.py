"""What llama.cpp says on its log, listened to for a while."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

ERROR_LEVEL: Final = 4  # GGML_LOG_LEVEL_ERROR


@contextmanager
def listening(hear: Callable[[int, str], bool]) -> Iterator[None]:
    """Call `hear(level, text)` for each message; those it returns True for go no further.

    The log belongs to the process: messages of other engines pass here too. Afterwards
    llama-cpp-python's own listener is back; llama.cpp does not tell whether there was another.
    """
    import llama_cpp
    from llama_cpp import _logger

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def listen(level: int, text: bytes, user_data: Any) -> None:
        if not hear(level, text.decode(errors="replace").strip()):
            _logger.llama_log_callback(level, text, user_data)

    llama_cpp.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        yield
    finally:
        llama_cpp.llama_log_set(_logger.llama_log_callback, ctypes.c_void_p(0))
