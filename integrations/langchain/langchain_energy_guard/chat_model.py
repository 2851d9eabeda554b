"""A chat model with a guard over it: LangChain's interface around `energy_guard.Guard`.

Here is only how LangChain calls. What is asked is made in `chat_request`; `answer_run` asks it, and
makes what comes back, with `answer_stream` and `answer_message`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, get_config_list
from pydantic import ConfigDict, Field, ValidationError, model_validator

from energy_guard import Guard, Policy, Profile, load
from energy_guard.arguments import (
    Filled,
    NotNegative,
    Positive,
    Share,
    checked,
    not_fitting,
)
from energy_guard.called import with_calls
from energy_guard.errors import InputError
from energy_guard.log import TraceLog
from energy_guard.tools import CallsRule, chosen, schemas_of
from langchain_energy_guard.answer_run import AnswerRun
from langchain_energy_guard.answer_stream import StreamingMode
from langchain_energy_guard.cache_key import cache_key
from langchain_energy_guard.chat_request import SAMPLING, chat_request
from langchain_energy_guard.gathering import abatched, batched
from langchain_energy_guard.inside_guarded import guard_here
from langchain_energy_guard.metadata import Carried, Details
from langchain_energy_guard.middleware_calls import is_of_middleware, judge_for_call
from langchain_energy_guard.partner_models import engine_of, settings_of
from langchain_energy_guard.run_handlers import RunHandlers
from langchain_energy_guard.structured_output import structured
from langchain_energy_guard.token_counts import CountingChatModel
from langchain_energy_guard.tools import Tool, openai_form

_NOT_OURS: Final = frozenset({"api_key", "max_retries"})
"""Standard settings of hosted models that mean nothing here; the policy says what is retried."""

Schema = dict[str, Any] | type

Manager = TypeVar("Manager", CallbackManagerForLLMRun, AsyncCallbackManagerForLLMRun)


class ChatEnergyGuard(CountingChatModel):
    """A chat model whose answers are judged before they count.

    guard: with its model and its rules; `ChatEnergyGuard.of` makes it from a model. temperature
    0 is greedy; seed None draws a fresh seed. timeout: for one answer, in seconds. streaming_mode:
    hold gives nothing before the verdict, sentence a sentence that would be shown by itself, live
    text at once; of the latter two a retraction says if the text was not the answer. The verdict is
    on the last chunk.

    Passages that the answer should rest on are blocks of type "text-plain" of the last message.

    An answer that is shown is the message's content, unaltered; one that is withheld is replaced
    by the policy's abstention, and is an AnswerWithheldError if structured output or a tool
    call is expected. The verdict and all numbers are in `response_metadata["energy_guard"]`.
    details: how much stands there: summary has no words of any answer and no lists with an entry a
    token, full has all, those of an answer that is withheld included, none has no texts at all.
    refusal_block: whether `content_blocks` of an abstention has a refusal beside the text.

    >>> from energy_guard.backends import Scripted
    >>> model = ChatEnergyGuard.of(Scripted.saying([("Par", 0.97), ("is", 0.99)]))
    >>> message = model.invoke("Which city?")
    >>> message.content, message.response_metadata["energy_guard"]["verdict"]
    ('Paris', 'accept')
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True, allow_inf_nan=False)

    temperature: NotNegative = 0.0
    top_p: Share = 0.95
    top_k: int = 40
    min_p: Share = 0.05
    repeat_penalty: Positive = 1.0
    seed: int | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 256
    stop: list[str] | None = None
    timeout: Positive | None = None
    streaming: bool = False
    streaming_mode: StreamingMode = "hold"
    details: Details = "summary"
    refusal_block: bool = False

    def __init__(self, **settings: Any) -> None:
        """Make one; InputError names a setting that has another value than it can have."""
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise not_fitting(error) from error

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_setting(cls, values: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(values.keys() - cls.model_fields.keys() - _NOT_OURS)
        if unknown:
            raise InputError(
                f"ChatEnergyGuard has no setting {', '.join(unknown)}",
                "Options of the engine belong to energy_guard.load(…).",
            )
        return values

    @classmethod
    @checked
    def of(
        cls,
        model: object,
        policy: Policy | None = None,
        *,
        detector: Filled | None = None,
        locator: Filled | None = None,
        profile: Profile | Literal["auto"] | None = "auto",
        fallback: Guard | None = None,
        log: TraceLog | None = None,
        support: bool = False,
        **settings: Any,
    ) -> Self:
        """Make one from a model.

        model: what `energy_guard.load` takes, or your own ChatLlamaCpp, LlamaCpp,
        HuggingFacePipeline or ChatHuggingFace: its engine is used, and stays as it is, and its
        settings hold unless others are given. The rest is as `Guard` takes it. settings: fields
        of this class. Raises InputError for a model whose logits cannot be seen.
        """
        guard = Guard(
            load(engine_of(model)),
            policy,
            detector=detector,
            locator=locator,
            profile=profile,
            fallback=fallback,
            log=log,
            support=support,
        )
        return cls(guard=guard, **(settings_of(model) | settings))

    @property
    def model_name(self) -> str:
        """The model's own name."""
        return self.guard.backend.info.name

    @property
    def _llm_type(self) -> str:
        return "energy-guard"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What an answer depends on: LangChain's cache goes by it."""
        names = (*SAMPLING, "max_tokens", "timeout", "stop", "details", "refusal_block")
        return {name: getattr(self, name) for name in names} | cache_key(guard_here(self.guard))

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = "energy-guard"
        return params

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        kwargs.pop("run_handlers", None)
        return super()._get_invocation_params(stop=stop, **kwargs)

    # In one call

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        listener = self._listener(run_manager, False, kwargs)
        handlers = RunHandlers.of_run(run_manager)
        run = self._run(messages, stop, kwargs, handlers, whole=listener is None)
        for chunk in run.chunks():
            if listener is not None:
                listener.on_llm_new_token(chunk.text, chunk=chunk)
        return run.chat_result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        listener = self._listener(run_manager, True, kwargs)
        handlers = RunHandlers.of_run(run_manager)
        run = self._run(messages, stop, kwargs, handlers, whole=listener is None)
        async with aclosing(run.achunks()) as chunks:
            async for chunk in chunks:
                if listener is not None:
                    await listener.on_llm_new_token(chunk.text, chunk=chunk)
        return run.chat_result()

    # In chunks

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Stream the answer; see `streaming_mode`."""
        config, kwargs = self._listened(config, False, kwargs)
        yield from super().stream(input, config, stop=stop, **kwargs)

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream the answer; a task that is cancelled stops the engine within one token."""
        config, kwargs = self._listened(config, True, kwargs)
        chunks: Any = super().astream(input, config, stop=stop, **kwargs)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        run_handlers: RunHandlers | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        handlers = run_handlers or RunHandlers.of_run(run_manager)
        run = self._run(messages, stop, kwargs, handlers, hold=run_manager is not None)
        yield from run.chunks()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        run_handlers: RunHandlers | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        handlers = run_handlers or RunHandlers.of_run(run_manager)
        run = self._run(messages, stop, kwargs, handlers, hold=run_manager is not None)
        async with aclosing(run.achunks()) as chunks:
            async for chunk in chunks:
                yield chunk

    # Several

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Ask as many at once as the engine answers in a batch; llama.cpp answers one at a time.

        Those that it cannot answer at once would only wait for each other in threads, and the last
        ones for too long.
        """
        configs = get_config_list(config, len(inputs))
        options = {"return_exceptions": return_exceptions, **kwargs}
        return batched(self, self.guard.backend, inputs, configs, **options)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Ask as `batch` does, from an event loop."""
        configs = get_config_list(config, len(inputs))
        options = {"return_exceptions": return_exceptions, **kwargs}
        return await abatched(self, self.guard.backend, inputs, configs, **options)

    # Tools and structured output

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Give the model functions to call.

        tool_choice: "any", or the name of one, forces a call, with a grammar; a model whose chat
        template has no tools is told of them in words. Raises InputError for an unknown name, and
        for a tool whose schema is none.
        """
        for name in ("strict", "parallel_tool_calls"):  # grammars are strict; a call at a time
            kwargs.pop(name, None)
        formatted = openai_form(tools)
        schemas_of(formatted)
        chosen(formatted, tool_choice)
        return self.bind(tools=formatted, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self,
        schema: Schema,
        *,
        include_raw: bool = False,
        method: Literal["json_schema", "json_mode", "function_calling"] = "json_schema",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return objects of a schema: a grammar lets the model write nothing else.

        json_schema and json_mode are the same here; function_calling asks for it as a call.
        strict makes no difference. A withheld answer raises AnswerWithheldError, one that was cut
        off OutputParserException.
        """
        if kwargs:
            raise InputError(f"with_structured_output has no option {', '.join(sorted(kwargs))}")
        return structured(self, schema, method, include_raw)

    # What they share

    def _run(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        options: dict[str, Any],
        handlers: RunHandlers,
        *,
        hold: bool = False,
        whole: bool = False,
    ) -> AnswerRun:
        """hold: what is streamed becomes a message that others read, as it is."""
        settings = {name: getattr(self, name) for name in (*SAMPLING, "max_tokens", "timeout")}
        stop = self.stop if stop is None else stop
        asked = chat_request(messages, settings, stop, options, self.guard.backend.takes_tools)
        guard = guard_here(self.guard)
        if is_of_middleware(handlers.metadata):
            asked = replace(asked, structured=True)
            guard = guard.with_judge(judge_for_call(guard.judge, handlers.metadata))
        guard = with_calls(guard, CallsRule(asked.tools, asked.forced))
        mode = "hold" if hold else self.streaming_mode
        carried = Carried(self.details, self.refusal_block)
        return AnswerRun(guard, asked, handlers, mode=mode, carried=carried, whole=whole)

    def _listened(
        self, config: RunnableConfig | None, async_api: bool, options: dict[str, Any]
    ) -> tuple[RunnableConfig, dict[str, Any]]:
        """The config and the options of a stream, with those who listen to it."""
        config = ensure_config(config)
        if not self._should_stream(async_api=async_api, **{**options, "stream": True}):
            return config, options  # LangChain calls `invoke` instead
        config, handlers = RunHandlers.of_stream(self, config)
        return config, options | {"run_handlers": handlers}

    def _should_stream(
        self,
        *,
        async_api: bool,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> bool:
        """Not for a call that wants one message: merged chunks may hold a text that was withdrawn.

        `_generate` tells those who listen of every chunk itself.
        """
        if run_manager is not None:
            return False
        return super()._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)

    def _listener(
        self, run_manager: Manager | None, async_api: bool, options: dict[str, Any]
    ) -> Manager | None:
        """The run that is told of every chunk of an answer that is returned whole, if any is."""
        streams = super()._should_stream(async_api=async_api, run_manager=run_manager, **options)
        return run_manager if streams else None
