"""Chat templates, rendered in a sandbox within limits of time and size.

A template is a program that comes with a model file: it may not compile, fail in any way that
Python has, run for ever, or fill all memory. All of that is a PromptError here.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from functools import cache, cached_property, wraps
from typing import TYPE_CHECKING, Any, Final

from energy_guard.errors import PromptError

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes

_SECONDS: Final = 10.0
_STEPS: Final = 500_000
"""Turns of loops, calls and filters of one rendering."""

_LARGEST: Final = 20_000_000
"""Characters of one value, and of what is rendered."""

_ITEM: Final = 20
"""Characters that an item of a list counts for."""

_LONGEST_TEMPLATE: Final = 1_000_000
_HEAVIEST: Final = 5_000_000
"""The sum of depth² over all parts of expressions: at each part Jinja goes all the way down.

A million of it takes about a second."""

_WIDE_FIELD: Final = re.compile(r"%[-+ #0]*\d{5,}|[:.]\D{0,4}\d{5,}")
"""In a format: a field of ten thousand characters, or more."""


class _TooMuchError(ValueError):
    """The template takes more time or memory than any prompt needs."""


class _Budget:
    """What is left of the time and the steps of one rendering."""

    def __init__(self) -> None:
        self._until = time.monotonic() + _SECONDS
        self._steps = 0

    def step(self) -> None:
        """Count a turn of a loop, a call, a filter or an output."""
        self._steps += 1
        if self._steps > _STEPS:
            raise _TooMuchError(f"it takes more than {_STEPS} steps")
        if time.monotonic() > self._until:
            raise _TooMuchError(f"it takes longer than {_SECONDS:g} s")


_budget: Final[ContextVar[_Budget]] = ContextVar("budget of the rendering")


class ChatTemplate:
    """One template, compiled when it is first rendered.

    text: Jinja. tokens: what it may call `bos_token`, `eos_token` and the like.
    """

    def __init__(self, text: str, tokens: Mapping[str, Any]) -> None:
        self._text = text
        self._tokens = dict(tokens)

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[Any] | None,
        variables: Mapping[str, Any],
    ) -> str:
        """Return the prompt, up to where the answer begins.

        Args:
            messages: the turns, as templates read them.
            tools: functions that are shown to the model, or None.
            variables: what the template may ask for besides, such as `enable_thinking`.

        Raises:
            PromptError: the template refuses this chat, has a mistake, asks for no such variable,
                or takes too much.
        """
        given = {"messages": messages, "tools": tools, "add_generation_prompt": True}
        parts, size = [], 0
        before = _budget.set(_Budget())
        try:
            self._check_known(variables)
            for part in self._compiled.generate(self._tokens | dict(variables) | given):
                size += len(part)
                _check_size(size)
                parts.append(part)
            text = "".join(parts)
            text.encode()  # half of a surrogate pair is text to Python, and to no engine
        except template_failures() as error:
            why = str(error) or type(error).__name__
            raise PromptError(f"the model's chat template refuses this chat: {why}") from error
        finally:
            _budget.reset(before)
        return text

    def _check_known(self, variables: Mapping[str, Any]) -> None:
        unknown = sorted(variables.keys() - self._asked_for) if variables else []
        if unknown:
            raise ValueError(f"it asks for no variable {', '.join(unknown)}")

    @cached_property
    def _asked_for(self) -> set[str]:
        from jinja2.meta import find_undeclared_variables

        return find_undeclared_variables(_parsed(self._text))

    @cached_property
    def _compiled(self) -> Template:
        return _environment().from_string(_parsed(self._text))


def _parsed(text: str) -> nodes.Template:
    if len(text) > _LONGEST_TEMPLATE:
        raise _TooMuchError(f"it has {len(text)} characters")
    return _environment().parse(text)


def template_failures() -> tuple[type[Exception], ...]:
    """All that a template's own mistakes raise in Python, and Jinja's errors."""
    from jinja2 import TemplateError

    return (
        *(TemplateError, ArithmeticError, AssertionError, AttributeError, LookupError),
        *(MemoryError, RuntimeError, SyntaxError, TypeError, ValueError),
    )


@cache
def _environment() -> Environment:
    """The sandbox, with what templates of transformers and llama.cpp expect to find there."""
    from jinja2 import nodes, pass_context
    from jinja2.ext import Extension, LoopControlExtension
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.visitor import NodeTransformer

    class Generation(Extension):
        """`{% generation %}` marks for training what the assistant said: here it is left out."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Counted(NodeTransformer):
        """Sends what each loop runs over, and what `~` joins, through a filter."""

        def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
            self.generic_visit(node)
            node.iter = nodes.Filter(node.iter, "_turns", [], [], None, None, lineno=node.lineno)
            return node

        def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
            self.generic_visit(node)
            first, *others = node.nodes
            return nodes.Filter(first, "_joined", others, [], None, None, lineno=node.lineno)

    class Limited(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("+", "*", "**", "%"))

        def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
            parsed = super()._parse(source, name, filename)
            _check_weight(parsed)
            tree: nodes.Template = Counted().visit(parsed)
            return tree.set_environment(self)  # type: ignore[return-value]

        def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
            _budget.get().step()
            method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
            owner = getattr(method, "__self__", None)  # "text".center(…) is a call of "text"
            name = getattr(__obj, "__name__", "")
            _check_call(name, [owner, *args, *kwargs.values()])
            return _checked(super().call(__context, __obj, *args, **kwargs))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _budget.get().step()
            _check_operator(operator, left, right)
            return super().call_binop(context, operator, left, right)

    def finalize(value: Any) -> Any:
        _budget.get().step()
        return _checked(value)

    environment = Limited(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, LoopControlExtension],
        finalize=finalize,
    )
    environment.filters["tojson"] = _tojson
    for name, function in environment.filters.items():
        environment.filters[name] = _limited(name, function)
    environment.filters["_turns"] = pass_context(_turns)  # with the context: never at compile time
    environment.filters["_joined"] = _joined
    del environment.globals["lipsum"]
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    return environment


def _check_weight(tree: nodes.Node) -> None:
    """Hold the time that compiling would take against the limit."""
    from jinja2.nodes import Stmt

    weight, open_nodes = 0, [(tree, 0)]
    while open_nodes:
        node, above = open_nodes.pop()
        depth = 0 if isinstance(node, Stmt) else above + 1
        weight += depth * depth
        if weight > _HEAVIEST:
            raise _TooMuchError("its expressions are too deep")
        open_nodes += [(child, depth) for child in node.iter_child_nodes()]


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, held within the limits; its attributes say whether it gets the context."""

    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        _budget.get().step()
        _check_call(name, [*args, *kwargs.values()])
        return _checked(function(*args, **kwargs))

    return limited


def _turns(_context: Any, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _budget.get().step()
        yield item


def _joined(*parts: Any) -> str:
    _budget.get().step()
    _check_size(sum(map(_size, parts)))
    return "".join(map(str, parts))


def _check_operator(operator: str, left: Any, right: Any) -> None:
    """Hold what an operator would make against the limit, before it is made."""
    numbers = [value for value in (left, right) if isinstance(value, int)]
    if operator == "%" and isinstance(left, str):
        _check_call("format", [left, right])
    elif len(numbers) == 2:  # Python's integers have no limit of their own
        bits = left.bit_length()
        _check_size(bits * abs(right) if operator == "**" else bits + right.bit_length())
    elif operator == "*":
        _check_size(_size(left) * _size(right) * max(map(abs, numbers), default=1))
    else:
        _check_size(_size(left) + _size(right))


def _check_call(name: str, values: list[Any]) -> None:
    """Hold what a call could make at most against the limit, before it is made."""
    texts = [value for value in values if isinstance(value, str)]
    if name in ("format", "format_map") and any(map(_WIDE_FIELD.search, texts)):
        raise _TooMuchError("it formats a field that is too wide")
    sizes = [_size(value) for value in values if isinstance(value, str | list | tuple | dict)]
    numbers = [abs(value) for value in values if isinstance(value, int)]
    most = max(1, sum(sizes)) * max([1, *numbers])
    if name in ("replace", "join") and len(sizes) > 1:
        most = max(most, min(sizes[0] + 1, _found(name, values)) * max(sizes[1:]))
    _check_size(most)


def _found(name: str, values: list[Any]) -> int:
    """How often the last text of a `replace` or `join` is put in."""
    texts = [value for value in values if isinstance(value, str)]
    if name == "replace" and len(texts) > 2:
        return texts[0].count(texts[1])
    return max(len(value) for value in values if isinstance(value, str | list | tuple | dict))


def _checked(value: Any) -> Any:
    _check_size(_size(value))
    return value


def _size(value: Any) -> int:
    """How large a value is, in characters; what stands in it twice counts twice."""
    size, open_values = 0, [value]
    while open_values:
        value = open_values.pop()
        size += len(value) if isinstance(value, str) else _ITEM
        if isinstance(value, dict):
            open_values += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            open_values += value
        _check_size(size + _ITEM * len(open_values))
    return size


def _check_size(size: int) -> None:
    if size > _LARGEST:
        raise _TooMuchError("it makes a text or a list that is too large")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> None:
    raise ValueError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)  # the user's own clock, as templates say today's date
