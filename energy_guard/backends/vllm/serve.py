"""vLLM's own server with our numbers: `python -m energy_guard.backends.vllm.serve --model MODEL …`.

It takes the options of `python -m vllm.entrypoints.openai.api_server`, which it becomes. The
backend `remote` knows such a server by what it tells at /v1/energy_guard: all signals are there.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.transformers.vocabulary import Vocabulary
from energy_guard.backends.vllm.handshake import check_version
from energy_guard.backends.vllm.limit import KeepsNumbersApart
from energy_guard.backends.vllm.shared_numbers import ASKED, PATH, SharedRowNumbers
from energy_guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_SERVER: Final = "vllm.entrypoints.openai.api_server"


class TellsItsVocabulary:
    """What vLLM's server puts around its application: one more address to ask at."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand everything on; see ASGI."""
        if scope["type"] == "lifespan":  # once, at the start; behind what checks keys
            scope["app"].add_route(f"/v1{PATH}", told)
        await self.app(scope, receive, send)


def told(request: Request) -> Response:
    """Tell the context, how the engine computes, and the bytes of all tokens in hexadecimal."""
    from starlette.responses import JSONResponse
    from vllm import __version__ as vllm_version

    state = request.app.state
    config = state.vllm_config
    tokenizer = state.engine_client.renderer.tokenizer
    vocabulary = Vocabulary(tokenizer)
    return JSONResponse(
        {
            "context": config.model_config.max_model_len,
            "engine": {
                "vllm": vllm_version,
                "dtype": str(config.model_config.dtype).removeprefix("torch."),
                "quantization": config.model_config.quantization,
                "tensor_parallel": config.parallel_config.tensor_parallel_size,
                "prefix_caching": config.cache_config.enable_prefix_caching,
                "device": config.device_config.device_type,
            },
            "pieces": [vocabulary.piece(token).hex() for token in range(len(tokenizer))],
        }
    )


def arguments(given: Sequence[str]) -> list[str]:
    """Return the options of vLLM's server, with those that the numbers need.

    Raises:
        ConfigError: one of them is given otherwise.

    >>> arguments(["--model", "owner/name"])[:2]
    ['--model', 'owner/name']
    """
    own = {
        "--worker-extension-cls": _name(SharedRowNumbers),
        "--logprobs-mode": "raw_logprobs",
        "--max-logprobs": str(ASKED),
    }
    taken = sorted(own.keys() & {option.partition("=")[0].replace("_", "-") for option in given})
    if taken:
        raise ConfigError(
            f"{', '.join(taken)} cannot be set here", "The numbers need a value of their own there."
        )
    options = [word for pair in own.items() for word in pair]
    for middleware in (TellsItsVocabulary, KeepsNumbersApart):
        options += ["--middleware", _name(middleware)]
    return [*given, *options]


def _name(kind: type[Any]) -> str:
    """The name by which vLLM imports a class; here this module is called __main__."""
    module = (
        "energy_guard.backends.vllm.serve" if kind.__module__ == "__main__" else kind.__module__
    )
    return f"{module}.{kind.__qualname__}"


if __name__ == "__main__":
    from vllm import __version__ as running

    check_version(running)
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")  # as `load` does
    os.execv(sys.executable, [sys.executable, "-m", _SERVER, *arguments(sys.argv[1:])])  # noqa: S606
