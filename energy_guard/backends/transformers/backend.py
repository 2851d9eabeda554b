"""Hugging Face transformers in process, around the user's own model and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from energy_guard.backends.base import HiddenStates, ModelInfo
from energy_guard.backends.in_process import InProcess
from energy_guard.backends.locks import DEFAULT_WAIT_S
from energy_guard.backends.transformers.check import (
    check_generation,
    check_model,
    check_tokenizer,
    vectors_of,
)
from energy_guard.backends.transformers.codec import TokenizerCodec, context_of
from energy_guard.backends.transformers.engine import Engine
from energy_guard.backends.transformers.fast import read_states
from energy_guard.backends.transformers.fingerprint import fingerprint
from energy_guard.backends.transformers.options import engine_options
from energy_guard.backends.transformers.session import TransformersSession
from energy_guard.backends.transformers.vocabulary import Vocabulary
from energy_guard.errors import ConfigError, InputError
from energy_guard.request import Request

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Transformers(InProcess):
    """A backend over one model and its tokenizer, which stay the user's and are left as found.

    chat_template: Jinja text instead of the tokenizer's own. template_variables: what the template
    may ask for besides, such as `enable_thinking`. n_ctx: fewer tokens of context than
    the model has positions. batch_size: requests that are answered at once. generation: further
    options of the model's `generate` (min_new_tokens, logits_processor, cache_implementation,
    …). last_row: evaluate the row after the last token where the generation did not. wait_s: how
    long to wait for an engine in use.

    Raises InputError for a model or tokenizer that cannot be used, ConfigError for options.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str | None = None,
        template_variables: Mapping[str, Any] = MappingProxyType({}),
        n_ctx: int | None = None,
        batch_size: int = 8,
        generation: Mapping[str, Any] = MappingProxyType({}),
        last_row: bool = True,
        wait_s: float = DEFAULT_WAIT_S,
    ) -> None:
        check_model(model)
        check_tokenizer(model, tokenizer)
        check_generation(model, generation)
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}", "Give at least 1.")
        self.engine = model
        self.tokenizer = tokenizer
        self._template = chat_template
        vocabulary = Vocabulary(tokenizer)
        context = context_of(model, tokenizer, n_ctx)
        codec = TokenizerCodec(tokenizer, chat_template, context, vectors_of(model), vocabulary)
        super().__init__(model, codec, template_variables, wait_s)
        self._engine = Engine(
            model,
            tokenizer,
            codec,
            vocabulary,
            self._prompts,
            batch_size,
            generation,
            last_row,
        )

    @property
    def info(self) -> ModelInfo:
        """Name of the model, the fingerprint of its weights and chat template, how it computes."""
        name = Path(self.engine.name_or_path or "").name or type(self.engine).__name__
        engine = engine_options(self.engine) | {"template_variables": self._prompts.option}
        return ModelInfo(name, self._fingerprint, backend="transformers", engine=engine)

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.engine, self.tokenizer, self._template)

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self._engine.ends

    @property
    def at_once(self) -> int:
        """The size of its batches."""
        return self._engine.batch_size

    def _held(self) -> TransformersSession:
        return TransformersSession(self._engine)

    def states(self, request: Request, answer: Sequence[int], *, token: int) -> HiddenStates:
        """Read hidden states of a token of an answer; see `ShowsStates.states`."""
        if not 0 <= token < len(answer):
            raise InputError(f"the answer has {len(answer)} tokens, and none at {token}")
        prompt, ids = self.encode(request, answer[: token + 1])
        with self._lock.hold(self._wait_s):
            return read_states(self.engine, prompt, ids)
