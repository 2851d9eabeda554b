"""The alignment of tokens and rows, as types.

A `Step` is a token with the numbers of the row that chose it. A `Trace` is all of a sequence:
it alone knows that the row after a token is the next one. No other module counts `t + 1`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from energy_guard import energy
from energy_guard.arguments import checked
from energy_guard.energy import Floats, LogProbabilityRow, Numbers, Row
from energy_guard.errors import ConfigError, InputError, NormalisedRowsError
from energy_guard.json_text import read_json
from energy_guard.likeliest import Likeliest, as_arrays
from energy_guard.possible import check_trace
from energy_guard.text import Alignment, align, quoted

SCHEMA: Final = 1
"""Number of the JSON form of traces and results; raised when a field changes its meaning."""

FinishReason = Literal["eos", "stop", "length", "stopped", "cancelled", "deadline", "closed"]
"""Why a sequence ended: the model's end token, a stop string (or the end of an answer that existed
already), max_tokens (or the end of the context), a rule that watched it, a CancelToken, the
deadline, or the consumer who went away."""

INCOMPLETE: Final = frozenset({"stopped", "cancelled", "deadline", "closed"})
"""Reasons that leave an answer unfinished, so that it cannot be judged as one."""

SIGNALS: Final = tuple(energy.FORMULAS)
"""Signals with one number a token, in the order in which reports show them."""

NEEDS_RAW_ROWS: Final = frozenset(name for name in SIGNALS if "energy" in name) | {"token_logit"}
"""Signals that mean nothing when the rows are log-probabilities."""


@dataclass(frozen=True, slots=True)
class Step:
    """A chosen token with the numbers of the row that chose it.

    likeliest: tokens that were likely in its place; none unless the request asks for them.

    >>> step = Step(7, b" Paris", token_logit=9.0, row=Row(9.5, 0.0, 0.2, 3.0))
    >>> step.nll
    0.5
    """

    id: int
    piece: bytes
    token_logit: float
    row: Row
    likeliest: Likeliest = ()

    def signal(self, name: str, next_row: Row | None) -> float:
        """Return a signal of this token; NaN if it needs a next row and there is none."""
        after = (
            (math.nan, math.nan) if next_row is None else (next_row.log_partition, next_row.mean)
        )
        row = self.row
        numbers = Numbers(
            self.token_logit, row.log_partition, row.mean, row.entropy, row.margin, *after
        )
        return float(energy.FORMULAS[name](numbers))

    @property
    def nll(self) -> float:
        """−log p(token), in nats."""
        return self.signal("nll", None)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)  # arrays have no one truth value
class Trace:
    """One generated sequence of T tokens with the numbers of its rows.

    The signals (`nll`, `spilled_energy` and so on) are attributes of shape (T,), in nats or logits.
    One that needs the row after its token is NaN if that row is missing.

    Attributes:
        ids: The ids of all tokens, end and stop tokens included, shape (T,).
        pieces: Their bytes.
        token_logit: The raw logit of each token, shape (T,).
        log_partition: log Σ exp of each row, shape (T + 1,) if the row after the last token was
            evaluated, else (T,).
        row_mean: The mean logit of each row, of the same shape.
        entropy: The entropy of the row that chose each token, in nats, shape (T,).
        margin: How far the two largest logits of that row lie apart, shape (T,).
        content_bytes: How many bytes of the joined pieces are content.
        finish_reason: Why the sequence ended.
        prompt_tokens: How many tokens the prompt has.
        inverse_temperature: β, which multiplied every row.
        reasoning_open: Whether the prompt ended inside <think>, so that the text begins as
            reasoning.
        log_probabilities: Whether the rows were no logits, so that there are no energies.
        extras: Further arrays by name, their first axis of length T.

    >>> row = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)
    >>> trace = Trace.from_steps([Step(0, b"Hi", 1.5, row)], last_row=row)
    >>> trace.text, trace.spilled_energy.tolist()
    ('Hi', [0.5])
    """

    ids: npt.NDArray[np.int64]
    pieces: tuple[bytes, ...]
    token_logit: Floats
    log_partition: Floats
    row_mean: Floats
    entropy: Floats
    margin: Floats
    content_bytes: int
    finish_reason: FinishReason
    prompt_tokens: int = 0
    inverse_temperature: float = 1.0
    reasoning_open: bool = False
    log_probabilities: bool = False
    extras: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_trace(self, get_args(FinishReason))

    @classmethod
    @checked
    def from_steps(
        cls,
        steps: list[Step],
        last_row: Row | None = None,
        *,
        content_bytes: int | None = None,
        finish_reason: FinishReason = "eos",
        prompt_tokens: int = 0,
        inverse_temperature: float = 1.0,
        reasoning_open: bool = False,
    ) -> Self:
        """Build a trace.

        Args:
            steps: The tokens with their rows, in order.
            last_row: The row after the last token, if it was evaluated.
            content_bytes: How many bytes of the joined pieces are content; all unless given.
            finish_reason: Why the sequence ended.
            prompt_tokens: How many tokens the prompt has.
            inverse_temperature: β, which multiplied every row.
            reasoning_open: Whether the prompt ended inside <think>.

        """
        rows = [step.row for step in steps] + ([last_row] if last_row else [])
        pieces = tuple(step.piece for step in steps)
        return cls(
            ids=np.array([step.id for step in steps], dtype=np.int64),
            pieces=pieces,
            token_logit=_floats([step.token_logit for step in steps]),
            log_partition=_floats([row.log_partition for row in rows]),
            row_mean=_floats([row.mean for row in rows]),
            entropy=_floats([step.row.entropy for step in steps]),
            margin=_floats([step.row.margin for step in steps]),
            content_bytes=sum(map(len, pieces)) if content_bytes is None else content_bytes,
            finish_reason=finish_reason,
            prompt_tokens=prompt_tokens,
            inverse_temperature=inverse_temperature,
            reasoning_open=reasoning_open,
            log_probabilities=bool(rows)
            and all(isinstance(row, LogProbabilityRow) for row in rows),
            extras=as_arrays([step.likeliest for step in steps]),
        )

    def __len__(self) -> int:
        return len(self.pieces)

    def __repr__(self) -> str:
        """Two lines for a prompt: counts with the mean and the largest nll, and the text."""
        nll = self.signal("nll")
        worst = f", nll {nll.mean():.2f} on average, {nll.max():.2f} at most" if len(self) else ""
        return (
            f"<Trace tokens: {len(self)}, of the prompt: {self.prompt_tokens}, "
            f"ended by {self.finish_reason}{worst}>\n  {quoted(self.text)}"
        )

    @cached_property
    def alignment(self) -> Alignment:
        """The content's text with its tokens; see `energy_guard.text.Alignment`."""
        return align(self.pieces, self.content_bytes)

    @property
    def text(self) -> str:
        """The content as text: end tokens and stop strings are not part of it."""
        return self.alignment.text

    @cached_property
    def content_end(self) -> int:
        """Index after the last token that has content."""
        starts = np.cumsum([0, *map(len, self.pieces)])[:-1]
        filled = [
            t for t, piece in enumerate(self.pieces) if piece and starts[t] < self.content_bytes
        ]
        return filled[-1] + 1 if filled else 0

    @cached_property
    def normalised(self) -> bool:
        """Whether the rows are log-probabilities, so that the energies are meaningless."""
        return self.log_probabilities or energy.is_normalised(self.log_partition)

    @checked
    def signal(self, name: str) -> Floats:
        """Return a signal by its name.

        Args:
            name: One of `SIGNALS`.

        Returns:
            A number a token, shape (T,); NaN if the row that it needs is missing.

        Raises:
            ConfigError: If there is no such signal.
            NormalisedRowsError: If it is an energy, and the rows are log-probabilities.

        """
        if name not in SIGNALS:
            raise ConfigError(f"there is no signal {name!r}", f"One of: {', '.join(SIGNALS)}.")
        if name in NEEDS_RAW_ROWS and self.normalised:
            raise NormalisedRowsError(
                f"{name} cannot be computed: these rows are log-probabilities, not raw logits",
                "Use nll, entropy or margin here, or a backend that gives raw logits.",
            )
        values: Floats = energy.FORMULAS[name](self._numbers)
        return values

    @property
    def nll(self) -> Floats:
        """−log p(token) in nats, shape (T,); see `energy.nll`."""
        return self.signal("nll")

    @property
    def logit_energy(self) -> Floats:
        """E^ℓ in logits, shape (T,); see `energy.logit_energy`."""
        return self.signal("logit_energy")

    @property
    def marginal_energy(self) -> Floats:
        """E^m in logits, shape (T,); see `energy.marginal_energy`."""
        return self.signal("marginal_energy")

    @property
    def spilled_energy(self) -> Floats:
        """ΔE in logits, shape (T,); see `energy.spilled_energy`."""
        return self.signal("spilled_energy")

    @property
    def scaled_spilled_energy(self) -> Floats:
        """ΔE_s, shape (T,); see `energy.scaled_spilled_energy`."""
        return self.signal("scaled_spilled_energy")

    @property
    def centred_logit_energy(self) -> Floats:
        """Gauge-fixed E^ℓ in logits, shape (T,); see `energy.centred_logit_energy`."""
        return self.signal("centred_logit_energy")

    @property
    def centred_marginal_energy(self) -> Floats:
        """Gauge-fixed E^m in logits, shape (T,); see `energy.centred_marginal_energy`."""
        return self.signal("centred_marginal_energy")

    @property
    def centred_spilled_energy(self) -> Floats:
        """Gauge-fixed ΔE in logits, shape (T,); see `energy.centred_spilled_energy`."""
        return self.signal("centred_spilled_energy")

    @cached_property
    def _numbers(self) -> Numbers:
        return Numbers(
            self.token_logit,
            self._chosen(self.log_partition),
            self._chosen(self.row_mean),
            self.entropy,
            self.margin,
            self._next(self.log_partition),
            self._next(self.row_mean),
        )

    def _chosen(self, rows: Floats) -> Floats:
        """The numbers of the rows that chose the tokens."""
        return rows[: len(self)]

    def _next(self, rows: Floats) -> Floats:
        """The numbers of the rows after the tokens; NaN if the row is missing."""
        after = rows[1:]
        return np.append(after, [math.nan] * (len(self) - len(after)))

    def tokens(self) -> list[dict[str, Any]]:
        """Return an object for JSON a token: id, text and every signal, None if it is missing."""
        columns = {
            name: [None] * len(self)
            if self.normalised and name in NEEDS_RAW_ROWS
            else _nullable(self.signal(name))
            for name in SIGNALS
        }
        columns["log_partition"] = _nullable(self._chosen(self.log_partition))
        return [
            {"id": int(self.ids[t]), "text": self.alignment.texts[t]}
            | {name: column[t] for name, column in columns.items()}
            for t in range(len(self))
        ]

    def to_json(self) -> str:
        """Write everything as JSON text; missing numbers are null."""
        arrays = {name: _nullable(getattr(self, name)) for name in _STORED}
        return json.dumps(
            {
                "schema": SCHEMA,
                "ids": self.ids.tolist(),
                "pieces": [_piece_to_json(piece) for piece in self.pieces],
                **arrays,
                "content_bytes": self.content_bytes,
                "finish_reason": self.finish_reason,
                "prompt_tokens": self.prompt_tokens,
                "inverse_temperature": self.inverse_temperature,
                "reasoning_open": self.reasoning_open,
                "log_probabilities": self.log_probabilities,
                "extras": extras_to_json(self.extras),
            },
            allow_nan=False,
        )

    @classmethod
    @checked
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Args:
            text: JSON text.

        Raises:
            InputError: If the text is something else.

        """
        try:
            data = read_json(text)
            if data["schema"] != SCHEMA:
                raise InputError(f"the trace has schema {data['schema']}, not {SCHEMA}")
            trace = cls(
                ids=np.array(data["ids"], dtype=np.int64),
                pieces=tuple(_piece_from_json(piece) for piece in data["pieces"]),
                **{name: _floats(data[name]) for name in _STORED},
                content_bytes=int(data["content_bytes"]),
                finish_reason=data["finish_reason"],
                prompt_tokens=int(data["prompt_tokens"]),
                inverse_temperature=float(data["inverse_temperature"]),
                reasoning_open=bool(data["reasoning_open"]),
                log_probabilities=bool(data.get("log_probabilities", False)),
                extras={name: extra_from_json(value) for name, value in data["extras"].items()},
            )
        except _UNREADABLE as error:
            raise InputError(f"this is not a trace: {error!r}") from error
        return trace


_PER_TOKEN: Final = ("token_logit", "entropy", "margin")
_STORED: Final = (*_PER_TOKEN, "log_partition", "row_mean")
_UNREADABLE: Final = (
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading JSON of another shape may raise."""


def _floats(values: list[float]) -> Floats:
    return np.array(values, dtype=np.float64)


def _nullable(values: Floats) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]


def extras_to_json(extras: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Write further arrays of a trace as nested lists, None if a number is missing."""
    return {name: _nested(value.tolist()) for name, value in extras.items()}


def extra_from_json(values: list[Any]) -> npt.NDArray[Any]:
    """Read one of them again."""
    array = np.array(values)
    return array.astype(np.float64) if array.dtype == object else array  # None becomes NaN


def _nested(values: Any) -> Any:
    if isinstance(values, list):
        return [_nested(value) for value in values]
    return values if math.isfinite(values) else None


def _piece_to_json(piece: bytes) -> str | dict[str, str]:
    """Text where it is text; the bytes of a split character as hexadecimal digits."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return {"hex": piece.hex()}


def _piece_from_json(piece: str | dict[str, str]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes.fromhex(piece["hex"])


StepHook = Callable[[Step], bool | None]
"""Sees each step as its token is chosen; returning True stops the generation there."""

__all__ = ["NEEDS_RAW_ROWS", "SCHEMA", "SIGNALS", "Step", "StepHook", "Trace"]
