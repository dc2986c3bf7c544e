"""Evaluates expression trees exactly where all is rational.

Sizes are bounded before any big operation: numbers beyond them are left to expression_values.py.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from twogrpo.rewards.math_grading.expression_parser import Tree

_MAX_BITS = 300_000
_MAX_GCD_BITS = 4e9
"""The product of the bits of numerator and denominator, on which the time of reducing depends."""
_MAX_COUNT = 10_000
"""The largest argument of a factorial or a binomial coefficient."""


@functools.lru_cache(64)
def exact(tree: Tree) -> Fraction | None:
    """Returns the rational value of a tree; None if it has variables, is irrational or huge."""
    try:
        return _exact(tree)
    except (_Inexact, ZeroDivisionError):
        return None


class _Inexact(Exception):
    """The value is irrational or too big for exact arithmetic."""


def _exact(tree: Tree) -> Fraction:
    operation = tree[0]
    if operation == "number":
        return tree[1]
    if operation not in _EXACT:
        raise _Inexact
    result = _EXACT[operation](*(_exact(part) for part in tree[1:]))
    top, bottom = result.numerator.bit_length(), result.denominator.bit_length()
    if max(top, bottom) > _MAX_BITS or top * bottom > _MAX_GCD_BITS:
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


def _whole(*numbers: Fraction) -> list[int]:
    if any(n.denominator != 1 or not 0 <= n <= _MAX_COUNT for n in numbers):
        raise _Inexact
    return [int(n) for n in numbers]


ARITHMETIC: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "negative": operator.neg,
    "abs": abs,
}
_EXACT: dict[str, Callable[..., Fraction]] = {
    **ARITHMETIC,
    "^": _exact_power,
    "root": _exact_root,
    "factorial": lambda n: Fraction(math.factorial(*_whole(n))),
    "binomial": lambda n, k: Fraction(math.comb(*_whole(n, k))),
    "floor": lambda a: Fraction(a.numerator // a.denominator),
    "ceil": lambda a: Fraction(-(-a.numerator // a.denominator)),
}
