"""A guard over local chat models, as LangChain uses them."""

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
