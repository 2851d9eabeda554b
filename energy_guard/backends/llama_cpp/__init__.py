"""The llama.cpp backend. Importing it does not import llama_cpp: calling it does."""

from energy_guard.backends.llama_cpp.backend import LlamaCpp

__all__ = ["LlamaCpp"]
