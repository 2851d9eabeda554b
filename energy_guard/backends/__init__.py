"""Engines that write text and show their raw rows; `load` and `capture` pick the right one."""

from energy_guard.backends.base import Backend, ModelInfo, PromptSize, Session
from energy_guard.backends.load import capture, load
from energy_guard.backends.scripted import Script, Scripted

__all__ = [
    "Backend",
    "ModelInfo",
    "PromptSize",
    "Script",
    "Scripted",
    "Session",
    "capture",
    "load",
]
