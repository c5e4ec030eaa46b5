"""Integer expressions of kernel.yaml: shapes, work sizes and derived scalars.

Grammar: integer literals, names, ``+ - * // % /``, unary minus, parentheses, ``min(...)`` and ``max(...)``.
``/`` divides exactly and is an error when a remainder is left, so that ``n/512`` states a requirement; write
``(n + 511) // 512`` to round up. Nothing else is understood, so an expression from an image cannot run code.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from safhost.errors import ConfigError

MAX_EXPRESSION_CHARS = 400
"""Longer ones are refused: nobody writes them and a deep tree would exhaust the interpreter's stack."""

_MAX_VALUE = 1 << 64
"""Results and intermediate values stay below this, so that no expression can grow without bound."""

_HINT = "integers, argument names, + - * // % / and min(), max() are understood"


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression; equal when the text is equal."""

    text: str
    names: frozenset[str]

    @property
    def is_name(self) -> bool:
        """True for a bare name, which an array's shape can be solved for."""
        return self.text in self.names

    def evaluate(self, values: Mapping[str, int]) -> int:
        """Value with ``values`` for the names. Raises :class:`ConfigError` for a missing name or a bad
        division."""
        return _evaluate(_tree(self.text), values, self.text)


def parse_expression(source: str | int) -> Expression:
    """Check ``source`` and list its names. Raises :class:`ConfigError` saying what is not understood."""
    text = str(source).strip()
    if isinstance(source, bool) or not text or len(text) > MAX_EXPRESSION_CHARS:
        raise ConfigError(f"{source!r} is not an expression", _HINT)
    try:
        tree = _tree(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConfigError(f"{text!r} is not an expression", _HINT) from None
    names: set[str] = set()
    _check(tree, names, text)
    return Expression(text, frozenset(names))


@lru_cache(maxsize=1024)
def _tree(text: str) -> ast.expr:
    """Parsed once: a card evaluates the same few expressions for every command."""
    return ast.parse(text, mode="eval").body


def _check(node: ast.expr, names: set[str], text: str) -> None:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool) and number < _MAX_VALUE:
            return
        case ast.Name(id=name):
            names.add(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            _check(operand, names, text)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv() | ast.Mod() | ast.Div()):
            _check(node.left, names, text)
            _check(node.right, names, text)
        case ast.Call(func=ast.Name(id="min" | "max"), args=args, keywords=[]) if args:
            for arg in args:
                _check(arg, names, text)
        case _:
            raise ConfigError(f"{ast.unparse(node)!r} in {text!r} is not understood", _HINT)


def _evaluate(node: ast.expr, values: Mapping[str, int], text: str) -> int:
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.Name(id=name):
            if name not in values:
                raise ConfigError(f"{text!r} needs a value for {name}", f"give {name}=…")
            return int(values[name])
        case ast.UnaryOp(operand=operand):
            return -_evaluate(operand, values, text)
        case ast.BinOp(left=left, op=op, right=right):
            result = _binary(op, _evaluate(left, values, text), _evaluate(right, values, text), text)
        case ast.Call(func=ast.Name(id=name), args=args):
            results = [_evaluate(arg, values, text) for arg in args]
            result = min(results) if name == "min" else max(results)
        case _:
            raise ConfigError(f"{text!r} is not an expression", _HINT)
    if abs(result) >= _MAX_VALUE:
        raise ConfigError(f"{text!r} is beyond 64 bits", "check the sizes it is given")
    return result


def _binary(op: ast.operator, left: int, right: int, text: str) -> int:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
    if right == 0:
        raise ConfigError(f"{text!r} divides by zero", "check the sizes it is given")
    if isinstance(op, ast.Mod):
        return left % right
    if isinstance(op, ast.Div) and left % right:
        raise ConfigError(f"{text!r}: {left} is not a multiple of {right}",
                          "use a size that divides, or // in kernel.yaml to round down")
    return left // right
