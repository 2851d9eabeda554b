"""Other people's servers: models behind OpenAI's interface, known by their log-probabilities."""

from energy_guard.backends.remote.backend import RemoteServer

__all__ = ["RemoteServer"]
