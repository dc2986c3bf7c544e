"""Evaluates expression trees: exactly if all is rational, else as complex numbers of 50 digits.

Two expressions count as equal if they agree to 40 digits at random points of their variables: a
nonzero polynomial vanishes at a random point with probability 0 (Schwartz 1980, Zippel 1979).
Nothing here can run for long: sizes are bounded before any big operation.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath

from twogrpo.rewards.math_grading.expression_parser import Tree
from twogrpo.rewards.math_grading.latex_symbols import FUNCTIONS

DIGITS = 50
TOLERANCE = mpmath.mpf(10) ** -36
_NOTHING = mpmath.mpf(10) ** -42  # what is left of an exact zero after cancellation
_MAX_BITS = 20_000
_SCALES = (2.7, 1.3, 9.0, 70.0, 23.0, 2.1, 3.3, 31.0, 5.0)
POSITIVE_POINTS = 5
_MAX_MAGNITUDE = 1e15

Value: TypeAlias = Any
"""An mpf or mpc of mpmath, which is untyped."""
Point = dict[str, Value]


class Undefined(ValueError):
    """The expression has no finite value here, or none of a size that can be handled."""


class _Inexact(Exception):
    """The value is irrational or too big for exact arithmetic."""


def symbols(tree: Tree) -> frozenset[str]:
    """Returns the names of the variables in a tree."""
    if tree[0] == "symbol":
        return frozenset((tree[1],))
    return frozenset().union(*(symbols(part) for part in tree[1:] if isinstance(part, tuple)))


def mentions(tree: Tree, operation: str) -> bool:
    """Whether an operation, a constant or a function of this name occurs in a tree."""
    if operation in (tree[0], tree[1] if tree[0] == "function" else None):
        return True
    return any(mentions(part, operation) for part in tree[1:] if isinstance(part, tuple))


def exact(tree: Tree) -> Fraction | None:
    """Returns the rational value of a tree; None if it has variables, is irrational or huge."""
    try:
        return _exact(tree)
    except (_Inexact, ZeroDivisionError):
        return None


def value(tree: Tree, point: Point | None = None, *, log_base: float | None = None) -> Value:
    """Returns the value of a tree at a point; a bare log has base `log_base` (None: natural).

    Raises Undefined at poles, for infinities and for huge numbers such as 10^(10^(10^10)).
    """
    with mpmath.workdps(DIGITS):
        try:
            result = _value(tree, point or {}, log_base)
        except (ZeroDivisionError, OverflowError, ValueError, TypeError, MemoryError) as error:
            raise Undefined(str(error)) from error
        if not mpmath.isfinite(result):
            raise Undefined("infinite")
        return result


def close(a: Value, b: Value, *, tolerance: Value = TOLERANCE) -> bool:
    """Whether two values agree relatively, or absolutely around zero."""
    with mpmath.workdps(DIGITS):
        size = max(abs(a), abs(b))
        return bool(abs(a - b) <= tolerance * size or size < _NOTHING)


def points(names: frozenset[str]) -> list[Point]:
    """Returns fixed pseudo-random points: POSITIVE_POINTS positive ones, then mixed signs.

    They are small and large, so that floors and cases of an absolute value differ too.
    """
    found = []
    for trial, scale in enumerate(_SCALES):
        generator = random.Random(f"point {trial}")
        draw = {name: mpmath.mpf(generator.uniform(0.1, 1) * scale) for name in sorted(names)}
        if trial >= POSITIVE_POINTS:
            draw = {name: x * generator.choice((-1, 1, -1)) for name, x in draw.items()}
        found.append(draw)
    return found


def _exact(tree: Tree) -> Fraction:
    operation = tree[0]
    if operation == "number":
        return tree[1]
    if operation not in _EXACT:
        raise _Inexact
    result = _EXACT[operation](*(_exact(part) for part in tree[1:]))
    if max(result.numerator.bit_length(), result.denominator.bit_length()) > _MAX_BITS:
        raise _Inexact
    return result


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator != 1 or abs(exponent) * bits > _MAX_BITS:
        raise _Inexact
    return base ** int(exponent)


def _exact_root(radicand: Fraction, degree: Fraction) -> Fraction:
    if degree != 2 or radicand < 0:
        raise _Inexact
    top, bottom = math.isqrt(radicand.numerator), math.isqrt(radicand.denominator)
    if top * top != radicand.numerator or bottom * bottom != radicand.denominator:
        raise _Inexact
    return Fraction(top, bottom)


def _exact_factorial(n: Fraction) -> Fraction:
    if n.denominator != 1 or not 0 <= n <= 1000:
        raise _Inexact
    return Fraction(math.factorial(int(n)))


def _exact_binomial(n: Fraction, k: Fraction) -> Fraction:
    if n.denominator != 1 or k.denominator != 1 or not 0 <= k <= n <= 2000:
        raise _Inexact
    return Fraction(math.comb(int(n), int(k)))


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "negative": operator.neg,
    "abs": abs,
}
_EXACT: dict[str, Callable[..., Fraction]] = {
    **_ARITHMETIC,
    "^": _exact_power,
    "root": _exact_root,
    "factorial": _exact_factorial,
    "binomial": _exact_binomial,
    "floor": lambda a: Fraction(a.numerator // a.denominator),
    "ceil": lambda a: Fraction(-(-a.numerator // a.denominator)),
}


def _value(tree: Tree, point: Point, log_base: float | None) -> Value:
    operation = tree[0]
    if operation == "number":
        return mpmath.mpf(tree[1].numerator) / tree[1].denominator
    if operation == "symbol":
        if tree[1] not in point:
            raise Undefined(f"no value for {tree[1]}")
        return point[tree[1]]
    if operation == "function":
        return _function(tree[1], [_value(part, point, log_base) for part in tree[2:]], log_base)
    if operation == "^" and (power := _odd_root_power(tree, point, log_base)) is not None:
        return power
    operands = [_value(part, point, log_base) for part in tree[1:]]
    result = _OPERATIONS[operation](*operands)
    if not mpmath.isfinite(result):
        raise Undefined("infinite")
    return result


def _power(base: Value, exponent: Value) -> Value:
    if not base:
        if mpmath.re(exponent) <= 0:
            raise Undefined("0 to a power that is not positive")
        return mpmath.mpf(0)
    if max(abs(exponent), abs(exponent * mpmath.log(abs(base) or 1))) > _MAX_MAGNITUDE:
        raise Undefined("too big a power")
    return mpmath.power(base, exponent)


def _root(radicand: Value, degree: Value) -> Value:
    """Returns the principal root, but the real one for odd roots of negative numbers."""
    odd = mpmath.isint(degree) and int(degree) % 2 == 1
    if odd and mpmath.im(radicand) == 0 and mpmath.re(radicand) < 0:
        return -mpmath.power(-radicand, 1 / degree)
    return _power(radicand, 1 / degree)


def _odd_root_power(tree: Tree, point: Point, log_base: float | None) -> Value | None:
    """Returns the real x^(p/q) for negative x and odd q, consistent with roots, else None."""
    exponent = exact(tree[2])
    if exponent is None or exponent.denominator % 2 == 0 or exponent.denominator == 1:
        return None
    base = _value(tree[1], point, log_base)
    if mpmath.im(base) != 0 or mpmath.re(base) >= 0:
        return None
    size = _power(-base, mpmath.mpf(exponent.numerator) / exponent.denominator)
    return -size if exponent.numerator % 2 else size


def _factorial(n: Value) -> Value:
    if abs(n) > 1e6:
        raise Undefined("too big a factorial")
    return mpmath.gamma(n + 1)


def _double_factorial(n: Value) -> Value:
    if not mpmath.isint(n) or not 0 <= n <= 10_000:
        raise Undefined("double factorial")
    return mpmath.fac2(n)


def _binomial(n: Value, k: Value) -> Value:
    if max(abs(n), abs(k)) > 1e6:
        raise Undefined("too big a binomial coefficient")
    return mpmath.binomial(n, k)


def _function(name: str, arguments: list[Value], log_base: float | None) -> Value:
    if any(abs(x) > _MAX_MAGNITUDE for x in arguments) and name not in ("ln", "log", "lg", "abs"):
        raise Undefined("too big an argument")
    if name == "log" and len(arguments) == 1 and log_base:
        return mpmath.log(arguments[0], log_base)
    if name == "log" and len(arguments) == 2:
        return mpmath.log(arguments[0]) / mpmath.log(arguments[1])
    if name not in _FUNCTIONS:
        raise Undefined(f"function {name}")
    return _FUNCTIONS[name](*arguments)


_OPERATIONS = {
    **_ARITHMETIC,
    "degrees": lambda a: a * mpmath.pi / 180,
    "^": _power,
    "root": _root,
    "factorial": _factorial,
    "double_factorial": _double_factorial,
    "binomial": _binomial,
    "floor": mpmath.floor,
    "ceil": mpmath.ceil,
    "pi": lambda: +mpmath.pi,
    "e": lambda: +mpmath.e,
    "i": lambda: mpmath.mpc(0, 1),
    "infty": lambda: mpmath.inf,
}
_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "abs": abs,
    "sqrt": mpmath.sqrt,
    "cbrt": lambda x: _root(x, mpmath.mpf(3)),
    "lg": mpmath.log10,
    "max": max,
    "min": min,
    "sgn": mpmath.sign,
    "Re": mpmath.re,
    "Im": mpmath.im,
    "gcd": lambda *xs: mpmath.mpf(math.gcd(*(int(x) for x in xs))),
    "lcm": lambda *xs: mpmath.mpf(math.lcm(*(int(x) for x in xs))),
}
for _name in FUNCTIONS - _FUNCTIONS.keys() - {"det"}:
    _FUNCTIONS[_name] = getattr(mpmath, _name.replace("arc", "a"))
