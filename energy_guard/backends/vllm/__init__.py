"""vLLM's engine: the numbers of each row travel along with its log-probabilities."""

from energy_guard.backends.vllm.backend import Vllm
from energy_guard.backends.vllm.columns import ENGINE_ARGUMENTS

__all__ = ["ENGINE_ARGUMENTS", "Vllm"]
