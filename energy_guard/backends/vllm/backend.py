"""vLLM, around the user's own `LLM` or `LLMEngine`, in its own loop and its own batches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from energy_guard.backends.base import ModelInfo
from energy_guard.backends.in_process import InProcess
from energy_guard.backends.locks import DEFAULT_WAIT_S
from energy_guard.backends.transformers.check import is_tokenizer
from energy_guard.backends.transformers.codec import TokenizerCodec
from energy_guard.backends.transformers.vocabulary import Vocabulary
from energy_guard.backends.vllm.engine import VllmEngine, engine_failures
from energy_guard.backends.vllm.fingerprint import fingerprint
from energy_guard.backends.vllm.handshake import (
    check_config,
    check_rows,
    check_version,
    check_workers,
)
from energy_guard.backends.vllm.options import engine_options
from energy_guard.backends.vllm.session import VllmSession
from energy_guard.errors import InputError, ModelFileError


class Vllm(InProcess):
    """A backend over one engine of vLLM, which was started with `ENGINE_ARGUMENTS`.

    llm: an `LLM` or its `LLMEngine`; it stays the user's. chat_template: Jinja text instead of the
    tokenizer's own. template_variables: what the template may ask for besides. wait_s: how long to
    wait for an engine in use.

    Raises ConfigError or EngineError for an engine whose numbers are not what they should be, and
    InputError for one that cannot be used.
    """

    def __init__(
        self,
        llm: Any,
        *,
        chat_template: str | None = None,
        template_variables: Mapping[str, Any] = MappingProxyType({}),
        wait_s: float = DEFAULT_WAIT_S,
    ) -> None:
        import vllm

        self.engine = getattr(llm, "llm_engine", llm)
        self._config = self.engine.vllm_config
        check_version(vllm.__version__)
        check_config(self._config)
        with engine_failures():
            self._device = check_workers(self.engine.collective_rpc("energy_guard_state"))
        tokenizer = self.engine.get_tokenizer()
        if not is_tokenizer(tokenizer):
            raise InputError(
                f"a {type(tokenizer).__name__} is no tokenizer of transformers",
                'Start vLLM with tokenizer_mode="hf".',
            )
        model = self._config.model_config
        vocabulary = Vocabulary(tokenizer)
        # One place is kept for the token whose row is the one after the last token.
        codec = TokenizerCodec(
            tokenizer, chat_template, model.max_model_len - 1, model.get_vocab_size(), vocabulary
        )
        self._template = chat_template or tokenizer.chat_template
        super().__init__(self.engine, codec, template_variables, wait_s)
        parts = bool(self._config.scheduler_config.enable_chunked_prefill)
        self._engine = VllmEngine(
            self.engine,
            tokenizer,
            codec,
            vocabulary,
            self._prompts,
            _ends(model, tokenizer),
            seeds=self._device != "cpu" or not parts,
        )
        with self._lock.hold(wait_s):
            check_rows(self._engine, codec.tokenize("The capital of France is", special=False))

    @property
    def info(self) -> ModelInfo:
        """Name of the model, the fingerprint of its files, how it computes."""
        model = self._config.model_config
        engine = engine_options(self._config, self._device)
        engine |= {"template_variables": self._prompts.option}
        return ModelInfo(Path(model.model).name, self._fingerprint, backend="vllm", engine=engine)

    @cached_property
    def _fingerprint(self) -> str:
        model = self._config.model_config
        template = self._template if isinstance(self._template, str) else repr(self._template)
        return fingerprint(model, _folder(model), len(self._engine.tokenizer), template)

    @property
    def at_once(self) -> int:
        """How many sequences vLLM writes at once."""
        return int(self._config.scheduler_config.max_num_seqs)

    def _held(self) -> VllmSession:
        return VllmSession(self._engine)


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: those of the model's generation settings, the tokenizer's."""
    stated = model.try_get_generation_config().get("eos_token_id")
    if stated is None:
        stated = getattr(model.hf_config, "eos_token_id", None)
    listed = stated if isinstance(stated, list) else [stated]
    return frozenset(token for token in [*listed, tokenizer.eos_token_id] if token is not None)


def _folder(model: Any) -> Path:
    """Where the model's files lie; those of a hub id are in the hub's cache, which vLLM filled."""
    path = Path(model.model)
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model.model, revision=model.revision, local_files_only=True))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"the files of {model.model} are not found, so there is no fingerprint of them",
            "Load the model from a directory.",
        ) from error
