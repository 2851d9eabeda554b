"""The transformers backend. Importing it loads neither torch nor transformers: calling it does."""

from energy_guard.backends.transformers.backend import Transformers

__all__ = ["Transformers"]
