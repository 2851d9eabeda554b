"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Unpack

import typer

from energy_guard.backends import Backend, load
from energy_guard.backends.load import BACKENDS, backend_for
from energy_guard.backends.transformers.load import DTYPES
from energy_guard.errors import ConfigError, InputError, LogError, PromptError
from energy_guard.locate import LOCATORS
from energy_guard.locate import locator as locator_named
from energy_guard.log import TraceLog
from energy_guard.neuron_detector import scorer_named
from energy_guard.policy import Policy
from energy_guard.profile import Profile
from energy_guard.request import (
    MAX_SEED,
    Message,
    Request,
    RequestOptions,
    Sampling,
    check_template_variables,
)

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="GGUF file, directory, hub id (owner/name, or owner/repo:FILE for GGUF), address of a "
        "server (http://…/v1), or demo.",
    ),
]
BackendName = Annotated[
    str | None,
    typer.Option("--backend", help=f"{' or '.join(BACKENDS)}, if the model does not say which."),
]
ServedModelName = Annotated[
    str | None, typer.Option(help="For a server: the model's name there, if it has several.")
]
MaxTokens = Annotated[int, typer.Option(help="Longest answer, in tokens.")]
Temperature = Annotated[float, typer.Option(help="0 is greedy.")]
Seed = Annotated[int | None, typer.Option(help="Makes sampling repeatable.", min=0, max=MAX_SEED)]
Stop = Annotated[list[str] | None, typer.Option(help="Text that ends the answer.")]
NCtx = Annotated[int | None, typer.Option(help="Tokens of context.", min=1, max=2**24)]
NGpuLayers = Annotated[
    int | None,
    typer.Option(help="For llama-cpp: layers on the GPU; -1 for all.", min=-1, max=2**16),
]
Device = Annotated[str | None, typer.Option("--device", help="For transformers: cpu, cuda or mps.")]
DType = Annotated[
    str | None, typer.Option("--dtype", help=f"For transformers: {', '.join(DTYPES)}.")
]
TemplateVariable = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VALUE for the chat template, such as enable_thinking=false; once for each."
    ),
]
NThreads = Annotated[int | None, typer.Option(help="Threads while generating.", min=1, max=512)]
DetectorName = Annotated[
    str | None,
    typer.Option(
        "--detector",
        help="What makes the score: signal:pooling, such as spilled_energy:max, or "
        "neurons:FILE.json for a probe.",
    ),
]
LocatorName = Annotated[
    str | None,
    typer.Option("--locator", help=f"What finds the exact answer: {', '.join(LOCATORS)}."),
]
PolicyFile = Annotated[
    str | None, typer.Option("--policy", help="Limits and rules: a TOML or JSON file.")
]
ProfileFile = Annotated[
    str | None,
    typer.Option("--profile", help="File with a model's calibration; none: limits set by hand."),
]
Support = Annotated[
    bool,
    typer.Option(
        "--support", help="Read answers over passages again without these, and go by what changes."
    ),
]
System = Annotated[
    str | None,
    typer.Option("--system", help="The system prompt; a profile is right for its own."),
]
Raw = Annotated[bool, typer.Option("--raw", help="Plain completion, no template.")]
LogFile = Annotated[str | None, typer.Option("--log", help="JSONL file to append results to.")]
LogPrivate = Annotated[
    bool, typer.Option("--log-private", help="Log verdicts and rounded scores, no texts.")
]
Shots = Annotated[
    int,
    typer.Option(
        help="Ask in plain text with so many worked examples, as models without a chat template "
        "need it; 0: in a chat.",
        min=0,
        max=4,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


ABSTAINED = 3
"""Exit status if the model's answer is not shown."""

BAD_INPUT = 2
"""Exit status if what was asked for cannot be done as asked."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Which model to load, and how; what is None is left to the engine.

    Raises ConfigError for an option of the backend that does not load this model.
    """

    model: Model = "demo"
    _: KW_ONLY
    backend: BackendName = None
    served_model: ServedModelName = None
    n_ctx: NCtx = None
    n_gpu_layers: NGpuLayers = None
    n_threads: NThreads = None
    device: Device = None
    dtype: DType = None
    template_variable: TemplateVariable = None

    def __post_init__(self) -> None:
        template_variables(self.template_variable or ())
        for name, owner in _OF_ONE_BACKEND.items():
            if getattr(self, name) is not None and self.kind != owner:
                raise ConfigError(
                    f"--{name.replace('_', '-')} is an option of {owner}, and {self.model} is "
                    f"loaded by {self.kind}",
                    f"Leave it out, or choose --backend {owner}.",
                )

    @property
    def kind(self) -> str:
        """The name of the backend that loads the model."""
        return backend_for(self.model, self.backend)

    def check_is_here(self, what: str) -> None:
        """Raise ConfigError for a server, of which something cannot be had.

        Args:
            what: cannot.

        """
        if self.kind == "remote":
            raise ConfigError(
                f"{what} is for models that run here, and {self.model} is a server",
                "Give a file or hub id: --model FILE.",
            )

    def open(self, **more: Any) -> Backend:
        """Load the model; more: options that are no user's."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        variables = given.pop("template_variable", ())
        if variables:
            more = {"template_variables": template_variables(variables), **more}
        return load(given.pop("model"), given.pop("backend", None), **given, **more)


def template_variables(given: Sequence[str]) -> dict[str, Any]:
    """Read variables of a chat template: NAME=VALUE each, VALUE as JSON or else as a text.

    >>> template_variables(["enable_thinking=false", "style=short"])
    {'enable_thinking': False, 'style': 'short'}

    Raises:
        ConfigError: One is not of this form, or comes twice.
        InputError: One is a part of the request, and no variable.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier() or name in found:
            why = "is given twice" if name in found else "is no NAME=VALUE"
            raise ConfigError(
                f"--template-variable {text!r} {why}", "For example: enable_thinking=false"
            )
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    check_template_variables(found)
    return found


_OF_ONE_BACKEND: Final = {
    "served_model": "remote",
    "n_gpu_layers": "llama-cpp",
    "device": "transformers",
    "dtype": "transformers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """How answers are written."""

    max_tokens: MaxTokens = 256
    temperature: Temperature = 0.0
    seed: Seed = None
    stop: Stop = None

    def settings(self) -> RequestOptions:
        """Check and return what a Request takes by these names; ConfigError names a wrong value."""
        return {
            "max_tokens": self.max_tokens,
            "sampling": Sampling(temperature=self.temperature, seed=self.seed),
            "stop": tuple(self.stop or ()),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingOptions:
    """How answers are judged."""

    detector: DetectorName = None
    locator: LocatorName = None
    policy: PolicyFile = None
    profile: ProfileFile = None
    support: Support = False

    def settings(self) -> dict[str, Any]:
        """Read and check a Guard's settings, before any time is spent on loading a model."""
        if self.detector is not None:
            scorer_named(self.detector)
        if self.locator is not None:
            locator_named(self.locator)
        return {
            "policy": Policy.read(self.policy) if self.policy else None,
            "detector": self.detector,
            "locator": self.locator,
            "profile": _profile(self.profile),
            "support": self.support,
        }


def _profile(given: str | None) -> Profile | Literal["auto"] | None:
    if given is None:
        return "auto"
    return None if given == "none" else Profile.read(given)


def open_log(path: str | None, private: bool) -> TraceLog | None:
    """Return the log, checked: what cannot be logged is better known before the first answer."""
    if path is None:
        if private:
            raise ConfigError("--log-private needs a log", "Give one: --log FILE.jsonl.")
        return None
    log = TraceLog(Path(path), texts=not private)
    try:
        log.make()
    except LogError as error:  # here nothing has failed yet: it is the option that is wrong
        raise ConfigError(error.message, "Give another file.") from error
    return log


def asked(
    prompt: str, *, system: str | None, raw: bool, **settings: Unpack[RequestOptions]
) -> Request:
    """Return what is asked.

    Raises:
        InputError: a plain completion is to have a system prompt.
    """
    if not raw:
        opening = () if system is None else (Message("system", system),)
        return Request.chat([*opening, Message("user", prompt)], **settings)
    if system is not None:
        raise InputError("a plain completion has no system prompt", "Leave --raw or --system out.")
    return Request.raw(prompt, **settings)


def read_prompt(text: str) -> str:
    """Return the text, or standard input if it is `-`."""
    if text != "-":
        return text
    return decode_input(sys.stdin.buffer.read())


def decode_input(raw: bytes) -> str:
    """Decode what came from standard input; PromptError if it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise PromptError(
            f"standard input is not valid UTF-8 (at byte {error.start})",
            "Convert it to UTF-8 and try again.",
        ) from error
