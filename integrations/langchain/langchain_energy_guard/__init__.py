"""A guard over local chat models, as LangChain uses them."""

from energy_guard.extras import needs_extra

with needs_extra("langchain"):
    import langchain_core as _langchain_core  # noqa: F401

from langchain_energy_guard.callback import (
    AsyncEnergyGuardCallbackHandler,
    EnergyGuardCallbackHandler,
)
from langchain_energy_guard.chat_model import ChatEnergyGuard
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError
from langchain_energy_guard.guarded import Guarded, guarded

__all__ = [
    "AnswerRetryError",
    "AnswerWithheldError",
    "AsyncEnergyGuardCallbackHandler",
    "ChatEnergyGuard",
    "EnergyGuardCallbackHandler",
    "Guarded",
    "guarded",
]
