"""Objects of a schema in the place of text."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

Method = Literal["json_schema", "json_mode", "function_calling"]


def structured(
    model: BaseChatModel, schema: dict[str, Any] | type, method: Method, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return a chain of the model, bound to the schema, and of what reads its answer.

    It raises OutputParserException for an answer that is no whole object.
    """
    told = {"kwargs": {"method": method}, "schema": schema}
    is_class = isinstance(schema, type) and is_basemodel_subclass(schema)
    parser: Runnable[Any, Any]
    if method == "function_calling":
        name = convert_to_openai_tool(schema)["function"]["name"]
        bound = model.bind_tools([schema], tool_choice=name, ls_structured_output_format=told)
        parser = RunnableLambda(_with_call) | (
            PydanticToolsParser(tools=[_model(schema)], first_tool_only=True)
            if is_class
            else JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
        )
    else:
        form = {"type": "json_schema", "json_schema": {"schema": convert_to_json_schema(schema)}}
        bound = model.bind(response_format=form, ls_structured_output_format=told)
        parser = RunnableLambda(_whole) | (
            PydanticOutputParser(pydantic_object=_model(schema)) if is_class else JsonOutputParser()
        )
    if not include_raw:
        return bound | parser
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _whole(message: AIMessage) -> AIMessage:
    """Refuse JSON that was cut off: LangChain's parsers would mend it into a smaller object."""
    try:
        json.loads(message.text)
    except (ValueError, RecursionError) as error:
        raise _incomplete(message, message.text) from error
    return message


def _with_call(message: AIMessage) -> AIMessage:
    """Refuse an answer without a call: LangChain's parsers would make None of it."""
    if not message.tool_calls:
        written = "".join(call["args"] or "" for call in message.invalid_tool_calls)
        raise _incomplete(message, written)
    return message


def _incomplete(message: AIMessage, text: str) -> OutputParserException:
    reason = message.response_metadata.get("finish_reason")
    return OutputParserException(
        f"the answer is no complete object ({reason}); with “length”, give more max_tokens",
        llm_output=text,
    )


def _model(schema: Any) -> Any:
    """A pydantic model of either version; the parsers' own types do not know all of them."""
    return schema
