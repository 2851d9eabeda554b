"""An engine that was not started as verified is refused, in words. `make test-vllm`."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import pytest

vllm = pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")

from energy_guard import capture, load  # noqa: E402
from energy_guard.backends.vllm.extension import replace_gathering  # noqa: E402
from energy_guard.backends.vllm.handshake import (  # noqa: E402
    check_config,
    check_version,
    check_workers,
)
from energy_guard.errors import ConfigError, EngineError, InputError, ModelFileError  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # vLLM's own
]

REFUSED: dict[str, tuple[str, Any, str]] = {
    "speculation": (".speculative_config", object(), "speculative decoding is not supported"),
    "pipeline": ("parallel_config.pipeline_parallel_size", 2, "were not verified"),
    "asynchronous": ("scheduler_config.async_scheduling", True, "asynchronous scheduling was not"),
    "no extension": ("parallel_config.worker_extension_cls", "", "worker_extension_cls is ''"),
    "no steering": ("model_config.logits_processors", None, "logits_processors lack ours"),
    "log-probabilities": ("model_config.logprobs_mode", "raw_logprobs", "is 'raw_logprobs'"),
    "few": ("model_config.max_logprobs", 20, "max_logprobs is 20"),
    "watermarks": (".watermark_config", object(), "watermarks and diffusion were not verified"),
    "encoder": ("model_config.runner_type", "pooling", "writes no text"),
}


class Changed:
    """A configuration with one value changed."""

    def __init__(self, config: Any, path: str, value: Any) -> None:
        self._config, self._path, self._value = config, path, value

    def __getattr__(self, name: str) -> Any:
        part, _, attribute = self._path.partition(".")
        if not part and name == attribute:
            return self._value
        if name != part:
            return getattr(self._config, name)
        changed = copy(getattr(self._config, name))
        object.__setattr__(changed, attribute, self._value)
        return changed


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_as_verified_is_named(llm: Any, case: str) -> None:
    config = llm.llm_engine.vllm_config
    check_config(config)
    path, value, said = REFUSED[case]
    with pytest.raises(InputError, match=said) as caught:
        check_config(Changed(config, path, value))
    assert caught.value.hint


def test_versions() -> None:
    check_version(vllm.__version__)
    for version in ("0.31.1", "0.33.0", "1.0", "dev"):
        with pytest.raises(ConfigError, match="was not tried"):
            check_version(version)


def test_another_function_is_left_alone_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sampler:
        @staticmethod
        def gather_logprobs(logprobs: Any, token_ids: Any) -> None: ...

    from energy_guard.backends.vllm import extension

    monkeypatch.setattr(extension._here, "first", "", raising=False)
    before = Sampler.gather_logprobs
    replace_gathering(Sampler, None)
    assert Sampler.gather_logprobs is before
    with pytest.raises(EngineError, match=r"gather_logprobs\(logprobs, token_ids\)"):
        check_workers([{"signature": extension._here.first, "device": "cpu"}])


def test_what_load_refuses(llm: Any, folder: Path, tiny_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is a file"):
        load(tiny_path, "vllm")
    with pytest.raises(ConfigError, match="max_logprobs cannot be set"):
        load(folder, "vllm", max_logprobs=3)
    with pytest.raises(ConfigError, match="threads from the environment"):
        load(folder, "vllm", n_threads=1)
    with pytest.raises(ConfigError, match="unexpected keyword"):
        load(folder, "vllm", dtyp="float32")
    with pytest.raises(ModelFileError, match="vLLM cannot load"):
        load(folder / "none", "vllm")
    with pytest.raises(InputError, match="cannot capture from a LLM"):
        capture(llm)
