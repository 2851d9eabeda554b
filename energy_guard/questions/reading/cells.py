"""What stands in a column, as the texts that questions, answers and choices are.

Several answers are a list, Hugging Face's {"text": [...]} or TriviaQA's value with aliases.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from energy_guard.errors import InputError


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a row.

    where: place and column, for messages. written: whether a list in it is written as JSON.
    separator: what stands between several texts in one; None: nothing does.
    """

    value: Any
    where: str
    written: bool = False
    separator: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it: None, or the NaN that pandas puts in gaps."""
        return self.value is None or (isinstance(self.value, float) and math.isnan(self.value))

    def text(self) -> str | None:
        """Return what is in it as one text; None if it is empty.

        Whole numbers have no decimal point, whatever type they are of.

        >>> [Cell(value, "x").text() for value in ("York", 2.0, 0.5, True)]
        ['York', '2', '0.5', 'true']

        Raises:
            InputError: It is neither text nor number.

        """
        value = self.value
        if self.is_empty:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int):
            return str(value)
        if isinstance(value, float) and math.isfinite(value):
            return str(int(value)) if value.is_integer() else repr(value)
        if isinstance(value, Decimal) and value.is_finite():
            return format(value, "f").rstrip("0").rstrip(".") if value % 1 else format(value, ".0f")
        if isinstance(value, datetime) and value.time() == time():
            return value.date().isoformat()  # pandas has no type for days
        if isinstance(value, date | time):
            return value.isoformat()
        raise InputError(f"{self.where}: this is neither a text nor a number", _AS_TEXT)

    def answers(self) -> tuple[list[str], bool]:
        """Return the right answers in it, and whether it says itself that there are none.

        A yes-or-no answer of type bool counts in both wordings.

        >>> Cell({"text": ["York"], "answer_start": [3]}, "x").answers()
        (['York'], False)
        >>> Cell({"text": [], "answer_start": []}, "x").answers()
        ([], True)
        >>> Cell(True, "x").answers()
        (['true', 'yes'], False)

        Raises:
            InputError: It is neither text, number, nor some of them.

        """
        if isinstance(self.value, bool):
            return (["true", "yes"] if self.value else ["false", "no"]), False
        values = self._unwritten()
        if isinstance(values, dict):
            if "text" in values:
                inner = self._with(values["text"])._several()
                return inner, not inner
            if "value" in values:
                aliases = self._with(values.get("aliases") or [])._several()
                return [*self._with(values["value"])._several(), *aliases], False
            raise InputError(f"{self.where}: there is no text in this object", _ANSWERS)
        return self._with(values)._several(), False

    def choices(self) -> list[tuple[str | None, str]]:
        """Return the choices in it, each with its label if it has one.

        >>> Cell({"text": ["York", "Ely"], "label": ["A", "B"]}, "x").choices()
        [('A', 'York'), ('B', 'Ely')]

        Raises:
            InputError: It is no list of texts, or has not one label for every text.

        """
        values = self._unwritten()
        if isinstance(values, dict):
            texts = self._with(values.get("text"))._several()
            labels = self._with(values.get("label"))._several()
            if len(texts) != len(labels):
                what = f"{len(texts)} texts and {len(labels)} labels"
                raise InputError(f"{self.where}: there are {what}", _CHOICES)
            return list(zip(labels, texts, strict=True))
        if isinstance(values, list) and any(isinstance(each, dict) for each in values):
            objects = [each if isinstance(each, dict) else {} for each in values]
            labels, texts = (
                self._with([each.get(key) for each in objects])._several()
                for key in ("label", "text")
            )
            return list(zip(labels, texts, strict=True))
        if isinstance(values, str):
            raise InputError(f"{self.where}: this is one text, not a list of choices", _CHOICES)
        return [(None, text) for text in self._with(values)._several()]

    def _with(self, value: Any) -> Cell:
        return Cell(value, self.where)

    def _unwritten(self) -> Any:
        """What is in it, with the list in it that was written as one text."""
        value = self.value
        if not isinstance(value, str):
            return value
        if self.separator is not None:
            return [part.strip() for part in value.split(self.separator) if part.strip()]
        text = value.strip()
        if not self.written or (text[:1] + text[-1:]) not in ("[]", "{}"):
            return value
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{self.where}: this looks like a list, and is not JSON", _LIST
            ) from error
        if isinstance(found, list) and not all(isinstance(each, str) for each in found):
            raise InputError(f"{self.where}: this may be a list or one answer", _LIST)
        return found

    def _several(self) -> list[str]:
        """The texts of a list, or the only one."""
        if self.is_empty:
            return []
        values: Sequence[Any] = self.value if isinstance(self.value, list) else [self.value]
        texts = []
        for at, value in enumerate(values):
            inner = value["text"] if isinstance(value, dict) and "text" in value else value
            text = Cell(inner, f"{self.where}.{at}").text()
            if text is None:
                raise InputError(f"{self.where}.{at}: there is nothing here", "Leave it out.")
            texts.append(text)
        return texts


_AS_TEXT: Final = "Write it as one text."
_LIST: Final = 'Write a list as JSON texts: ["York", "City of York"]; brackets too: ["[0, 1]"].'
_ANSWERS: Final = 'Write a text, a list of texts, or {"text": [...]}.'
_CHOICES: Final = 'Write a list of texts, or {"text": [...], "label": [...]}.'
