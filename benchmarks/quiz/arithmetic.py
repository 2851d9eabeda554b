"""What an expression of whole numbers comes to, exactly; nothing else can be in it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Final

_DOES: Final[dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def value_of(expression: str) -> int:
    """Return what an expression with + - * / and brackets comes to.

    >>> value_of("2 * (18 + 11)")
    58

    Raises:
        ValueError: It holds something else, or does not come to a whole number.

    """
    value = _value(ast.parse(expression, mode="eval").body)
    if value.denominator != 1:
        raise ValueError(f"{expression} is no whole number")
    return value.numerator


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _DOES:
            return _DOES[type(sign)](_value(left), _value(right))
    raise ValueError(f"{ast.unparse(node)} is no sum of whole numbers")
