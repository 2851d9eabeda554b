"""Stored answers, judged again without a model: each by the rules that fit its model."""

from __future__ import annotations

from typing import Any

from energy_guard.backends import ModelInfo
from energy_guard.judge import Judge
from energy_guard.log import LogEntry
from energy_guard.result import Result


class Rescorer:
    """Judges entries of a log. settings: what `Judge.assemble` takes, but for the model.

    >>> Rescorer({"detector": "nll:max", "locator": None}).relocates
    False
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._judges: dict[ModelInfo, Judge] = {}

    @property
    def relocates(self) -> bool:
        """Whether answers are to be found anew, with a locator that was asked for."""
        return self._settings["locator"] is not None

    def judged(self, entry: LogEntry, *, relocate: bool) -> Result:
        """Judge one entry.

        Args:
            entry: what was logged.
            relocate: whether the exact answer is found anew.

        Raises:
            ConfigError: policy or profile do not fit its model, or a locator its kind of log.
        """
        info = entry.model_info
        if info not in self._judges:
            judge = Judge.assemble(**self._settings, info=info)
            judge.check_model(info)
            self._judges[info] = judge
        judge = self._judges[info].for_asking(
            entry.mode, scoring=entry.scoring, alone=True, unasked=entry.unasked
        )
        attempts = [judge.assess_stored(entry, relocate=relocate)]
        return judge.conclude(attempts, judge.final(attempts), info=info)
