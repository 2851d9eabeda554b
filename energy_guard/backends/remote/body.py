"""From a request to the body of an HTTP request; what a server would pass over is refused."""

from __future__ import annotations

from typing import Any, Final

from energy_guard.backends.remote.models import ServedModel
from energy_guard.backends.vllm.shared_numbers import ASKED, MARK
from energy_guard.errors import InputError
from energy_guard.request import Request, Sampling

_UNTOLD: Final = {"typical_p": 1.0, "mirostat_mode": 0, "logit_bias": {}}
"""Settings of sampling that no server is asked for, each with its value if it plays no part."""

_BEYOND_OPENAI: Final = ("repeat_penalty", "top_k", "min_p")
"""Settings that some servers know, and others pass over."""

_PENALTY_NAMES: Final = {
    "energy-guard": "repeat_penalty",
    "llamacpp": "repeat_penalty",
    "me": "repeat_penalty",
    "organization_owner": "repeat_penalty",
    "vllm": "repetition_penalty",
}
"""Servers (llama-server, llama-cpp-python, LM Studio, vLLM) by what they call themselves, that take
more than OpenAI's settings, with the name that the penalty for repetition has there."""


def path_of(request: Request) -> str:
    """Return where a request is sent, below the server's address.

    >>> path_of(Request.raw("The capital of France is"))
    '/completions'
    """
    return "/chat/completions" if request.mode == "chat" else "/completions"


def body_of(
    request: Request, *, model: ServedModel, top: int, full_rows: bool = False
) -> dict[str, Any]:
    """Return the body of a request in OpenAI's form.

    Stop strings are not in it: servers differ in what they list of the tokens of one, so whoever
    reads the answer ends it there.

    Args:
        request: what is asked.
        model: which is asked, and of which server.
        top: how many likely tokens to list in each place.
        full_rows: whether the server sends the numbers of whole rows. Then it is asked for one
            token more than is wanted, as the energies of the last one need the row after it.

    Raises:
        InputError: It asks for something that cannot be had of a server, or not be relied on.

    >>> body_of(Request.chat("?"), model=ServedModel("m", "unknown"), top=20)["messages"]
    [{'role': 'user', 'content': '?'}]
    """
    penalty = _PENALTY_NAMES.get(model.owner)
    _check(request, penalty, top, full_rows)
    body: dict[str, Any] = {"model": model.name, "max_tokens": request.max_tokens}
    body |= _sampling(request.sampling, penalty)
    if full_rows:
        body |= {"max_tokens": request.max_tokens + 1, "return_tokens_as_token_ids": True}
        body[MARK] = True
        top = ASKED
    if request.mode == "raw":
        prompt = request.text if request.ids is None else list(request.ids)
        return body | {"prompt": prompt, "logprobs": top}
    turns = [{"role": turn.role, "content": turn.content} for turn in request.turns()]
    return body | {"messages": turns, "logprobs": True, "top_logprobs": top}


def _sampling(sampling: Sampling, penalty: str | None) -> dict[str, Any]:
    """The settings that all servers have, and those beyond them that this one is known to read.

    It is told of the penalty in any case: some servers have one of their own.
    """
    body: dict[str, Any] = {"temperature": sampling.temperature}
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(sampling, name):
            body[name] = getattr(sampling, name)
    if sampling.temperature > 0:
        body["top_p"] = sampling.top_p
    if penalty is not None:
        body[penalty] = sampling.repeat_penalty
        if sampling.temperature > 0:
            body |= {"top_k": max(0, sampling.top_k), "min_p": sampling.min_p}
    return body


def _check(request: Request, penalty: str | None, top: int, full_rows: bool) -> None:
    refused = {
        "token ids as a prompt": request.ids is not None and not full_rows,
        "a grammar or JSON schema": request.constraint is not None,
        "tools of a chat template": bool(request.tools),
        "calls and results of tools": any(
            turn.calls or turn.role == "tool" for turn in request.messages or ()
        ),
        "the rest of what the assistant has begun to say": request.messages is not None
        and request.messages[-1].role == "assistant",
        "template_variables": bool(request.template_variables),
        "an inverse_temperature other than 1": request.inverse_temperature != 1,
        "more alternatives than top_logprobs": request.alternatives > top,
    }
    if penalty is None:
        refused |= {
            f"sampling with {name}": getattr(request.sampling, name) != getattr(Sampling(), name)
            for name in _BEYOND_OPENAI
        }
    refused |= {
        f"sampling with {name}": getattr(request.sampling, name) != neutral
        for name, neutral in _UNTOLD.items()
    }
    asked = [what for what, is_asked in refused.items() if is_asked]
    if asked:
        raise InputError(
            f"a server cannot be asked for {', '.join(asked)}",
            "Not every server has it, and some pass over it without a word. Leave it out, or load "
            "the model here.",
        )
