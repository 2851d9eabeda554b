"""Pydantic AI over Energy Guard: a model whose withheld answers send an agent to its fallback."""

from pydantic_ai_energy_guard.errors import AnswerWithheldError
from pydantic_ai_energy_guard.model import EnergyGuardModel

__all__ = ["AnswerWithheldError", "EnergyGuardModel"]
