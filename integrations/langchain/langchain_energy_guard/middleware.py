"""Middleware that puts the policy around every call of an agent's model; needs `langchain`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda

from energy_guard import Policy, Profile
from energy_guard.arguments import Filled, checked
from energy_guard.extras import needs_extra
from langchain_energy_guard.chat_model import ChatEnergyGuard
from langchain_energy_guard.errors import AnswerWithheldError
from langchain_energy_guard.graph_stream import GuardEvents
from langchain_energy_guard.guarded import guarded
from langchain_energy_guard.metadata import KEY, Details, response_metadata
from langchain_energy_guard.person import ASKED, CallsToDecide, GuardState, asked_of, decide

with needs_extra("agents"):
    from langchain.agents.middleware import (
        AgentMiddleware,
        ExtendedModelResponse,
        ModelRequest,
        ModelResponse,
        hook_config,
    )
    from langgraph.constants import TAG_NOSTREAM
    from langgraph.types import Command

Answer = ModelResponse[Any] | AIMessage | ExtendedModelResponse[Any]

_HELD: Final[RunnableConfig] = {"tags": [TAG_NOSTREAM]}
"""LangGraph streams what the model's node returns, and nothing that a model says before that."""


@dataclass(frozen=True)
class _AgentCall:
    """A call of the model that an agent makes, and how it is made."""

    request: ModelRequest[Any]
    make: Callable[[ModelRequest[Any]], Any]


class EnergyGuardMiddleware(AgentMiddleware[GuardState, Any, Any]):
    """Judges every answer and every call of tools of an agent's model before the agent acts on it.

    model: the agent's own ChatLlamaCpp, HuggingFacePipeline or ChatHuggingFace, which is then
    watched (with detector, locator and profile as `Guard` takes them); without, the agent has a
    ChatEnergyGuard. policy: in the place of that one's. fallback: the model that is asked the same
    if an answer is withheld in the end. ask_person: a person decides on a call of tools that is
    withheld, by an interrupt, for which the agent needs a checkpointer; the interrupt quotes the
    call. details: how much of a result its message carries.

    What is withheld, a call of tools as well, becomes the fallback's answer, or the policy's
    abstention, with which the agent ends. The next time, the agent forgets that exchange: a model
    that sees an abstention copies it.

    Raises what `guarded` raises, with the first call at the latest.
    """

    state_schema = GuardState
    transformers = (GuardEvents,)

    @checked
    def __init__(
        self,
        policy: Policy | None = None,
        *,
        model: BaseChatModel | None = None,
        detector: Filled | None = None,
        locator: Filled | None = None,
        profile: Profile | Literal["auto"] | None = "auto",
        fallback: BaseChatModel | None = None,
        ask_person: bool = False,
        details: Details = "summary",
    ) -> None:
        super().__init__()
        self._watched = model
        self._ask_person = ask_person
        self._details = details
        around = guarded(
            RunnableLambda(_asked, afunc=_aasked),
            policy,
            model=model,
            detector=detector,
            locator=locator,
            profile=profile,
            fallback=None if fallback is None else self._with_model(_holding(fallback)),
            details=details,
        )
        self._guarded = around.replacing(self._instead)

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Forget the exchanges of earlier turns whose answer was withheld."""
        gone = forgotten(state["messages"])
        return {"messages": gone, ASKED: None} if gone else None

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> Answer:
        """Let the model answer under the policy."""
        answer: Answer = self._guarded.invoke(_AgentCall(self._held(request), handler), _HELD)
        return answer

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> Answer:
        """Let the model answer under the policy."""
        call = _AgentCall(self._held(request), handler)
        answer: Answer = await self._guarded.ainvoke(call, _HELD)
        return answer

    @hook_config(can_jump_to=["end"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """End the agent after an abstention, or let a person decide on the calls behind it."""
        last = state["messages"][-1]
        if not is_withheld(last):
            return None
        asked: CallsToDecide | None = state.get(ASKED)
        if asked is None or asked["message_id"] != last.id:
            return {"jump_to": "end"}
        return {"messages": decide(asked, last), ASKED: None}

    def _held(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """The request, with nobody hearing a model of the user's own before it is judged."""
        if self._watched is None:
            return request
        silent = {"disable_streaming": True, "streaming": False}  # some models have the second
        known = {name: silent[name] for name in silent.keys() & type(request.model).model_fields}
        return request.override(model=request.model.model_copy(update=known))

    def _instead(self, call: _AgentCall, error: AnswerWithheldError) -> Answer:
        """The abstention, with what a person is to be asked beside it, if anything is."""
        result = error.result
        message = AIMessage(
            result.policy.abstention_text,
            response_metadata=response_metadata(result, details=self._details),
        )
        asked = asked_of(error, call.request.tools) if self._ask_person else None
        if asked is None:
            return message
        message.id = asked["message_id"]
        return ExtendedModelResponse(
            ModelResponse(result=[message]), Command(update={ASKED: asked})
        )

    def _with_model(self, model: BaseChatModel) -> RunnableLambda[_AgentCall, Any]:
        """The same call, of the fallback; what that withholds is no answer either."""

        def ask(call: _AgentCall) -> Any:
            try:
                return call.make(call.request.override(model=model))
            except AnswerWithheldError as error:
                return self._instead(call, error)

        async def aask(call: _AgentCall) -> Any:
            try:
                return await call.make(call.request.override(model=model))
            except AnswerWithheldError as error:
                return self._instead(call, error)

        return RunnableLambda(ask, afunc=aask)


def _holding(model: BaseChatModel) -> BaseChatModel:
    """The model, with nobody hearing it before its verdict if it has one."""
    if not isinstance(model, ChatEnergyGuard):
        return model
    return model.model_copy(update={"streaming_mode": "hold"})


def is_withheld(message: BaseMessage) -> bool:
    """Whether a message stands in the place of an answer that is not shown."""
    block = message.response_metadata.get(KEY) or {}
    return isinstance(message, AIMessage) and block.get("shown") is False


def forgotten(messages: Sequence[BaseMessage]) -> list[RemoveMessage]:
    """Return what takes every exchange whose answer was withheld out of an agent's messages.

    Args:
        messages: of the agent's state. An exchange is all from a question to its answer.
    """
    gone: list[BaseMessage] = []
    exchange: list[BaseMessage] = []
    for message in messages:
        exchange = [message] if isinstance(message, HumanMessage) else [*exchange, message]
        if is_withheld(message):
            gone += exchange
            exchange = []
    return [RemoveMessage(id=message.id) for message in gone if message.id is not None]


def _asked(call: _AgentCall) -> Any:
    return call.make(call.request)


async def _aasked(call: _AgentCall) -> Any:
    return await call.make(call.request)
