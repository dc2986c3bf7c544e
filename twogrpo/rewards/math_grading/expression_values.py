"""Evaluates expression trees as complex numbers of 60 digits.

Two expressions count as equal if they agree to 40 digits at random points of their variables: a
nonzero polynomial vanishes at a random point with probability 0 (Schwartz 1980, Zippel 1979).
Where an operation hides digits, such as the sum of 1 and 10^-70, all is computed again with as
many more; beyond 1,000 digits nothing is called equal.
Nothing here can run for long: sizes are bounded before any big operation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import mpmath

from twogrpo.rewards.math_grading.exact_values import ARITHMETIC, exact
from twogrpo.rewards.math_grading.expression_parser import Tree
from twogrpo.rewards.math_grading.latex_symbols import FUNCTIONS

DIGITS = 60
MAX_DIGITS = 1_000
_NOISY_DIGITS = 20
"""Rounding may spoil as many digits at the end."""
TOLERANCE = mpmath.mpf(10) ** (_NOISY_DIGITS - DIGITS)
_SCALES = (2.7, 1.3, 9.0, 70.0, 23.0, 2.1, 3.3, 31.0, 5.0)
POSITIVE_POINTS = 5
_MAX_MAGNITUDE = 1e15

Value: TypeAlias = Any
"""An mpf or mpc of mpmath, which is untyped."""
Point = dict[str, Value]


class Undefined(ValueError):
    """The expression has no finite value here, or none of a size that can be handled."""


class Lost(ArithmeticError):
    """A difference may hide behind more digits than can be computed."""


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


def values(
    trees: Sequence[Tree],
    point: Point | None = None,
    *,
    log_base: float | None = None,
    digits: int | None = None,
    hidden_twice: bool = False,
) -> tuple[list[Value | None], Value]:
    """Returns the values of trees at a point and the relative tolerance that their digits allow.

    A bare log has base `log_base` (None: natural). The value is None at poles, for infinities and
    for huge numbers such as 10^(10^(10^10)). Raises Lost where `digits` (None: up to 1,000, as
    many as it takes) are not enough. Whoever divides the values needs twice the hidden digits,
    `hidden_twice`: (x - C) / (x - C - 1) changes with x by one part in C^2.
    """
    run = _Evaluation(point or {}, log_base)
    found = run.values(trees, digits or DIGITS)
    needed = DIGITS + (1 + hidden_twice) * run.hidden_bits * 3 // 10
    if needed > (digits or DIGITS) + _NOISY_DIGITS:
        if digits or needed > MAX_DIGITS:
            raise Lost
        digits = needed
        found = run.values(trees, digits)
    return found, mpmath.mpf(10) ** (_NOISY_DIGITS - (digits or DIGITS))


def close(a: Value, b: Value, *, tolerance: Value = TOLERANCE) -> bool:
    """Whether two values agree relatively; only zero is close to zero."""
    with mpmath.workdps(MAX_DIGITS):
        return bool(abs(a - b) <= tolerance * max(abs(a), abs(b)))


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


class _Evaluation:
    """Evaluates trees at one point and notes how many bits of a value its operations hide."""

    def __init__(self, point: Point, log_base: float | None) -> None:
        self.point, self.log_base, self.hidden_bits = point, log_base, 0
        self.noise = TOLERANCE

    def values(self, trees: Sequence[Tree], digits: int) -> list[Value | None]:
        self.noise = mpmath.mpf(10) ** (_NOISY_DIGITS - digits)
        with mpmath.workdps(digits):
            return [self._defined(tree) for tree in trees]

    def _defined(self, tree: Tree) -> Value | None:
        try:
            return self._value(tree)
        except (ZeroDivisionError, OverflowError, ValueError, TypeError, MemoryError):
            return None

    def _value(self, tree: Tree) -> Value:
        operation = tree[0]
        if operation == "number":
            return mpmath.mpf(tree[1].numerator) / tree[1].denominator
        if operation == "symbol":
            if tree[1] not in self.point:
                raise Undefined(f"no value for {tree[1]}")
            return self.point[tree[1]]
        if operation == "function":
            operation, operands = tree[1], [self._value(part) for part in tree[2:]]
            result = _function(operation, operands, self.log_base)
        else:
            operands = [self._value(part) for part in tree[1:]]
            result = _real_power(tree[2], *operands) if operation == "^" else None
            result = _OPERATIONS[operation](*operands) if result is None else result
        if not mpmath.isfinite(result):
            raise Undefined("infinite")
        return self._without_noise(operation, operands, result)

    def _without_noise(self, operation: str, operands: list[Value], result: Value) -> Value:
        """Notes what the operation hides; returns 0 where only rounding errors are left."""
        if operation in ("+", "-"):
            sizes = [mpmath.mag(operand) for operand in operands if operand]
            self._hide(max(sizes, default=0) - min(sizes, default=0))
            return result if abs(result) > self.noise * max(map(abs, operands)) else mpmath.mpf(0)
        if operation in _TRANSPARENT:
            return result
        if operation in ("tanh", "coth"):  # tanh(200) is 1 to 170 digits
            self._hide(3 * int(abs(operands[0])))
        hiding = operands[1:] if operation in ("^", "root") else operands
        if operation not in ("ln", "log", "lg"):
            self._hide(*(2 * mpmath.mag(operand) for operand in hiding if operand))
        is_exact = operation not in _FUNCTIONS or operation == "exp" or not result
        if is_exact or abs(result) >= self.noise:
            return result
        self._hide(mpmath.mag(result))
        return mpmath.mpf(0)

    def _hide(self, *bits: int) -> None:
        self.hidden_bits = max(self.hidden_bits, *map(abs, bits), 0)


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


def _real_power(exponent: Tree, base: Value, power: Value) -> Value | None:
    """Returns the real x^(p/q) for negative x and odd q, consistent with roots, else None."""
    fraction = exact(exponent) if mpmath.im(base) == 0 and mpmath.re(base) < 0 else None
    if fraction is None or fraction.denominator % 2 == 0 or fraction.denominator == 1:
        return None
    size = _power(-base, power)
    return -size if fraction.numerator % 2 else size


def _bounded(function: Callable[..., Value]) -> Callable[..., Value]:
    def call(*arguments: Value) -> Value:
        if any(abs(argument) > 1e6 for argument in arguments):
            raise Undefined("too big for a gamma function")
        if mpmath.mp.dps > 300:  # its first value of 1,000 digits takes seconds
            raise Lost
        return function(*arguments)

    return call


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


_TRANSPARENT = frozenset(
    ("*", "/", "negative", "abs", "degrees", "pi", "e", "i", "infty", "sqrt", "cbrt", "gcd", "lcm")
) | {"max", "min", "sgn", "Re", "Im"}
_OPERATIONS = {
    **ARITHMETIC,
    "degrees": lambda a: a * mpmath.pi / 180,
    "^": _power,
    "root": _root,
    "factorial": _bounded(mpmath.factorial),
    "double_factorial": _bounded(mpmath.fac2),
    "binomial": _bounded(mpmath.binomial),
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
