"""The piece around a chain that acts on what its handlers and models withhold."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, Self, TypeVar, get_args, get_type_hints

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list, patch_config

from energy_guard import Policy, Profile, Result
from energy_guard.arguments import Filled, checked
from energy_guard.backends import Backend
from energy_guard.errors import ConfigError
from langchain_energy_guard import custom_events
from langchain_energy_guard.callback import (
    AsyncEnergyGuardCallbackHandler,
    EnergyGuardCallbackHandler,
)
from langchain_energy_guard.chat_model import ChatEnergyGuard
from langchain_energy_guard.custom_events import CustomEvent
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError
from langchain_energy_guard.gathering import abatched, batched
from langchain_energy_guard.guarded_call import GuardedCall
from langchain_energy_guard.guards_in_chain import guards_seen
from langchain_energy_guard.judged_answers import JudgedAnswers
from langchain_energy_guard.metadata import Details, response_metadata

Input = TypeVar("Input")
Output = TypeVar("Output")

More = Callable[[Any, AnswerRetryError], Any]
"""From the chain's input and what was withheld to the input of the next attempt."""

Instead = Callable[[Input, AnswerWithheldError], Output]
"""From the chain's input and what is withheld to what is returned in its place."""


@checked
def guarded(
    runnable: Runnable[Input, Output],
    policy: Policy | None = None,
    *,
    model: object = None,
    detector: Filled | None = None,
    locator: Filled | None = None,
    profile: Profile | Literal["auto"] | None = "auto",
    fallback: Runnable[Input, Output] | None = None,
    more: More | None = None,
    abstention: Callable[[Result], Output] | None = None,
    details: Details = "summary",
) -> Guarded[Input, Output]:
    """Put the policy around a chain: it retries, asks the fallback, or abstains.

    model: the chain's own model object, which is then watched (with detector, locator and profile
    as `Guard` takes them); without, the chain has a handler or a ChatEnergyGuard inside. policy:
    in the place of theirs, which gives ConfigError or MismatchError in the call if it does not
    fit their detector or profile. fallback: asked the same if the answer is withheld in the end.
    more: gives the input of a retry, from the input so far and the error: more passages, say.
    abstention: makes what is returned in the place of an answer. Without it that is a text or
    an AIMessage if the chain returns one of these, else the AnswerWithheldError is raised.
    details: how much of a result stands in that message, and in those of the model that is watched.

    Nothing of an answer is returned before its verdict, in `stream` neither. Raises ConfigError
    if the policy retries with a fallback and there is none, and what Guard raises. A call raises
    ConfigError if nobody judged what the chain returns.
    """
    if model is None and (detector or locator or profile != "auto"):
        raise ConfigError(
            "detector, locator and profile belong to the model that is watched",
            "Give the model, too; or give them to the handler or ChatEnergyGuard of the chain.",
        )
    if fallback is not None and fallback is runnable:
        raise ConfigError(
            "the chain would be its own fallback, without any rule around it",
            "Give another chain.",
        )
    if policy is not None and policy.retries and "fallback" in policy.retry and fallback is None:
        raise _no_fallback()
    handler = None
    if model is not None:
        handler = EnergyGuardCallbackHandler(
            model, policy, detector=detector, locator=locator, profile=profile, details=details
        )
    made: Instead[Input, Output] | None = None
    if abstention is not None:
        made = _from_result(abstention)
    return Guarded(runnable, policy, handler, fallback, more, made, details)


class Guarded(Runnable[Input, Output]):
    """A chain with a policy around it; see `guarded`."""

    @checked
    def __init__(
        self,
        runnable: Runnable[Input, Output],
        policy: Policy | None,
        handler: EnergyGuardCallbackHandler | None,
        fallback: Runnable[Input, Output] | None,
        more: More | None,
        abstention: Instead[Input, Output] | None,
        details: Details,
    ) -> None:
        self.name = "guarded"
        self.runnable = runnable
        self.policy = policy
        self.fallback = fallback
        self._more = more
        self._abstention = abstention
        self._details = details
        self._handlers: list[BaseCallbackHandler] = []
        self._async_handlers: list[BaseCallbackHandler] = []
        if handler is not None:
            self._handlers = [handler]
            # A plain function in an asynchronous chain is run in a thread, synchronously. The
            # asynchronous one comes last: LangChain leaves those behind it waiting if it raises.
            self._async_handlers = [
                EnergyGuardCallbackHandler(handler.watched, details=details),
                AsyncEnergyGuardCallbackHandler(handler.watched, details=details),
            ]

    def replacing(self, make: Instead[Input, Output]) -> Self:
        """Return the same chain, with another abstention: it may depend on what was asked."""
        other = copy.copy(self)
        other._abstention = make
        return other

    @property
    def InputType(self) -> type[Input]:  # noqa: N802
        """What the chain takes."""
        return self.runnable.InputType

    @property
    def OutputType(self) -> type[Output]:  # noqa: N802
        """What the chain returns."""
        return self.runnable.OutputType

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        """Run the chain, again if the policy says so, and return what is to be shown."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Output:
        """Run the chain as `invoke` does."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def batch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """Run the chain for several inputs, at once.

        Those runs that ask a ChatEnergyGuard in the chain whose engine answers in batches ask it
        together, see `ChatEnergyGuard.batch`; what they ask it later on, each asks by itself.
        """
        options = {"return_exceptions": return_exceptions, **kwargs}
        engine = self._engine_of_batches()
        if engine is None:
            return super().batch(inputs, config, **options)
        return batched(self, engine, inputs, get_config_list(config, len(inputs)), **options)

    async def abatch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """Run the chain as `batch` does."""
        options = {"return_exceptions": return_exceptions, **kwargs}
        engine = self._engine_of_batches()
        if engine is None:
            return await super().abatch(inputs, config, **options)
        configs = get_config_list(config, len(inputs))
        return await abatched(self, engine, inputs, configs, **options)

    def _engine_of_batches(self) -> Backend | None:
        """The engine of the first ChatEnergyGuard in the chain, if it answers in batches."""
        guards = (each for each in guards_seen(self.runnable) if isinstance(each, ChatEnergyGuard))
        first = next(guards, None)
        return first.guard.backend if first and first.guard.backend.at_once > 1 else None

    def _invoke(
        self,
        asked: Input,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Output:
        call = self._guarded_call()
        with call.telling(run_manager.run_id):
            return self._carry_out(call, asked, run_manager, config, **kwargs)

    async def _ainvoke(
        self,
        asked: Input,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Output:
        call = self._guarded_call()
        with call.telling(run_manager.run_id):
            return await self._acarry_out(call, asked, run_manager, config, **kwargs)

    def _carry_out(
        self,
        call: GuardedCall,
        asked: Input,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Output:
        given = asked
        while True:
            try:
                with call.running() as run:
                    handlers = [run.answers, *self._handlers]
                    inner = _with(handlers, config, run_manager.get_child())
                    answer = self.runnable.invoke(given, inner, **kwargs)
                self._check_judged(run.answers)
                return answer
            except AnswerWithheldError as error:
                after = self._after(call, error)
            custom_events.dispatch(after.event)
            if after.retry is None:
                break
            given = self._more(given, after.retry) if self._more else given
        if after.fallback is None:
            return self._abstain(asked, after.withheld)
        inner = patch_config(config, callbacks=run_manager.get_child())
        return after.fallback.invoke(asked, inner)

    async def _acarry_out(
        self,
        call: GuardedCall,
        asked: Input,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Output:
        given = asked
        while True:
            try:
                with call.running() as run:
                    handlers = [run.answers, *self._async_handlers]
                    inner = _with(handlers, config, run_manager.get_child())
                    answer = await self.runnable.ainvoke(given, inner, **kwargs)
                self._check_judged(run.answers)
                return answer
            except AnswerWithheldError as error:
                after = self._after(call, error)
            await custom_events.adispatch(after.event)
            if after.retry is None:
                break
            if self._more is not None:
                more = self._more(given, after.retry)
                given = await more if inspect.isawaitable(more) else more
        if after.fallback is None:
            return self._abstain(asked, after.withheld)
        inner = patch_config(config, callbacks=run_manager.get_child())
        return await after.fallback.ainvoke(asked, inner)

    def _guarded_call(self) -> GuardedCall:
        return GuardedCall(self.policy, asks_more=self._more is not None)

    def _check_judged(self, answers: JudgedAnswers) -> None:
        """Raise the error of a withheld answer that the chain has gone on without.

        Raises ConfigError if nobody judged what the chain returns.
        """
        dropped = answers.dropped()
        if dropped is not None:
            raise dropped
        guarded_here = self._handlers or any(True for _ in guards_seen(self.runnable))
        if not answers.any_judged and (answers.any_model or not guarded_here):
            raise ConfigError(
                "nobody judged what this chain returns: no guarded model answered in it",
                "Give guarded(…, model=…) the model that the chain asks, or build the chain with "
                "a ChatEnergyGuard; a model that a function asks has to get the function's config.",
            )

    def _after(self, call: GuardedCall, withheld: AnswerWithheldError) -> _After[Input, Output]:
        """What is done about an answer that is withheld."""
        retry = withheld if isinstance(withheld, AnswerRetryError) else None
        if retry is not None and call.again() and not retry.changes.fallback:
            return _After(withheld, custom_events.retry(retry), retry)
        if retry is not None and retry.changes.fallback and self.fallback is None:
            raise _no_fallback() from withheld
        event = custom_events.ended(withheld, asks_fallback=self.fallback is not None)
        return _After(withheld, event, fallback=self.fallback)

    def _abstain(self, asked: Input, error: AnswerWithheldError) -> Output:
        """What stands for the answer; raises the error if nothing can."""
        if self._abstention is not None:
            return self._abstention(asked, error)
        kind = _kind(self.runnable)
        if error.structured or kind is None:
            raise error
        text = error.result.policy.abstention_text
        if kind is str:
            return text  # type: ignore[return-value]
        carried = response_metadata(error.result, details=self._details)
        return AIMessage(text, response_metadata=carried)  # type: ignore[return-value]


@dataclass(frozen=True)
class _After(Generic[Input, Output]):
    """What is done about an answer that is withheld.

    event: tells of it. retry: the chain is run again. fallback: is asked; without either the
    abstention is returned.
    """

    withheld: AnswerWithheldError
    event: CustomEvent
    retry: AnswerRetryError | None = None
    fallback: Runnable[Input, Output] | None = None


def _kind(runnable: Runnable[Any, Any]) -> type | None:
    """Whether a chain returns a text or a message; None if it is neither or not said."""
    try:
        output: Any = runnable.OutputType
        if isinstance(output, str):  # a function's annotation in a module that postpones them
            output = get_type_hints(getattr(runnable, "func", None))["return"]
    except (KeyError, NameError, TypeError):
        return None
    kinds = _members(output)
    if kinds == [str]:
        return str
    return AIMessage if kinds and all(_is_message(kind) for kind in kinds) else None


def _members(annotation: Any) -> list[Any]:
    """The types of a union, without what is annotated to them."""
    if hasattr(annotation, "__metadata__"):
        return _members(annotation.__origin__)
    inner = get_args(annotation)
    return [kind for arg in inner for kind in _members(arg)] if inner else [annotation]


def _is_message(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseMessage)


def _with(
    handlers: list[BaseCallbackHandler], config: RunnableConfig, callbacks: BaseCallbackManager
) -> RunnableConfig:
    """The configuration of the chain, with the handlers for its models.

    They come first: nobody behind them hears how a model's run ends if its answer is withheld.
    """
    for known in (callbacks.handlers, callbacks.inheritable_handlers):
        known[:0] = handlers
    return patch_config(config, callbacks=callbacks)


def _from_result(make: Callable[[Result], Output]) -> Instead[Any, Output]:
    return lambda _, error: make(error.result)


def _no_fallback() -> ConfigError:
    return ConfigError(
        "the policy retries with a fallback and there is none", "Give guarded(…, fallback=…)."
    )
