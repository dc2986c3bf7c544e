"""Decides whether two values are equal: exactly, to 40 digits, or by rounding to a decimal."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

import mpmath

from twogrpo.rewards.math_grading import expression_values, units
from twogrpo.rewards.math_grading.answer_types import Decimal, Scalar
from twogrpo.rewards.math_grading.expression_parser import Tree
from twogrpo.rewards.math_grading.expression_values import Undefined, Value

MIN_ROUNDED_DIGITS = 4
"""A decimal with fewer digits is no approximation: 0.33 is not 1/3, 0.3333 is."""

_COARSER_TOLERANCE = Fraction(1, 100_000)
_COMPOSITE_TOLERANCE = mpmath.mpf("2e-4")
_LONG_DECIMAL = re.compile(r"\d*\.\d{3,}|\d{2,}\.\d{2,}|\d{3,}\.\d")


def same_scalar(reference: Scalar, answer: Scalar) -> bool:
    """Whether two values are equal; one side may leave out a percent or degree sign."""
    if units.clash(reference.units, answer.units):
        return False
    pairs = itertools.product(_meanings(reference, answer), _meanings(answer, reference))
    return any(_same_value(mine, theirs) for mine, theirs in pairs)


def _meanings(one: Scalar, other: Scalar) -> list[Scalar]:
    """Returns what a value may mean against another: 50% is 50 or 1/2, 90° is 90 or pi/2."""
    meanings = [one]
    if one.percent and not other.percent:
        meanings.append(Scalar(("/", one.tree, ("number", Fraction(100))), one.text))
    if one.degrees and not other.degrees:
        meanings.append(Scalar(("degrees", one.tree), ""))
    return meanings


def _same_value(reference: Scalar, answer: Scalar) -> bool:
    if reference.tree == answer.tree:
        return True
    mine, theirs = expression_values.exact(reference.tree), expression_values.exact(answer.tree)
    if mine is not None and theirs is not None:
        return mine == theirs or _rounds(reference, answer, mine, theirs)
    names = expression_values.symbols(reference.tree) | expression_values.symbols(answer.tree)
    if names:
        return _same_function(reference.tree, answer.tree, names, _tolerance(reference, answer))
    return _same_irrational(reference, answer)


def _same_irrational(reference: Scalar, answer: Scalar) -> bool:
    for base in _log_bases(reference.tree, answer.tree):
        try:
            mine = expression_values.value(reference.tree, log_base=base)
            theirs = expression_values.value(answer.tree, log_base=base)
        except Undefined:
            continue
        if expression_values.close(mine, theirs, tolerance=_tolerance(reference, answer)):
            return True
        if _comparable(reference, answer, mine, theirs) and _rounds(
            reference, answer, _fraction(mine), _fraction(theirs)
        ):
            return True
    return False


def _comparable(reference: Scalar, answer: Scalar, mine: Value, theirs: Value) -> bool:
    """Whether rounding may apply: real values of moderate size, one of them a decimal."""
    real = mpmath.im(mine) == 0 == mpmath.im(theirs)
    moderate = all(x == 0 or 1e-300 < abs(x) < 1e300 for x in (mine, theirs))
    return bool(reference.decimals or answer.decimals) and real and moderate


def _log_bases(*trees: Tree) -> tuple[int | None, ...]:
    """Returns the bases that a bare log may have: e, and 10 where there is one."""
    return (None, 10) if any(expression_values.mentions(tree, "log") for tree in trees) else (None,)


def _fraction(value: Value) -> Fraction:
    with mpmath.workdps(expression_values.DIGITS):
        return Fraction(*mpmath.libmp.to_rational(mpmath.re(value)._mpf_))


def _rounds(reference: Scalar, answer: Scalar, mine: Fraction, theirs: Fraction) -> bool:
    """Whether the answer rounds or truncates the reference, or the reference rounds the answer."""
    wanted, given = reference.decimals, answer.decimals
    if given and _may_stand(given, wanted, mine):
        # If the reference is a decimal itself, only its very last digits may be rounded away.
        near = wanted is None or abs(mine - given.value) <= abs(mine) * _COARSER_TOLERANCE
        if near and _is_rounding(given, mine, cut=wanted is None):
            return True
    return bool(
        wanted and _may_stand(wanted, given, theirs) and _is_rounding(wanted, theirs, cut=False)
    )


def _may_stand(written: Decimal, finer: Decimal | None, exact: Fraction) -> bool:
    """Whether a decimal has enough digits to stand for a more precise value."""
    if written.digits < MIN_ROUNDED_DIGITS or exact.denominator == 1:
        return False
    return finer is None or finer.last_place < written.last_place


def _is_rounding(written: Decimal, exact: Fraction, *, cut: bool) -> bool:
    """Whether the difference is at most half a unit in the last place, or one if truncated."""
    difference = abs(exact) - abs(written.value)
    noise = abs(exact) / 10**14  # the last digits of a double precision number
    half = max(written.last_place / 2, noise)
    same_sign = (exact < 0) == (written.value < 0)
    return (
        same_sign
        and -half <= difference
        and (difference < max(written.last_place, noise) if cut else difference <= half)
    )


def _tolerance(reference: Scalar, answer: Scalar) -> Value:
    """Returns a looser tolerance if exactly one side contains rounded decimals (1.414x)."""
    mine, theirs = (
        side.decimals is None and bool(_LONG_DECIMAL.search(side.text))
        for side in (reference, answer)
    )
    return _COMPOSITE_TOLERANCE if mine != theirs else expression_values.TOLERANCE


def _same_function(mine: Tree, theirs: Tree, names: frozenset[str], tolerance: Value) -> bool:
    """Whether two expressions agree at all positive points and wherever both are real."""
    bases = _log_bases(mine, theirs)
    return any(_agree_at_points(mine, theirs, names, tolerance, base) for base in bases)


def _agree_at_points(
    mine: Tree, theirs: Tree, names: frozenset[str], tolerance: Value, base: float | None
) -> bool:
    agreed = 0
    for trial, point in enumerate(expression_values.points(names)):
        a, b = value_at(mine, point, base), value_at(theirs, point, base)
        if a is None or b is None:
            if trial < expression_values.POSITIVE_POINTS and (a is None) != (b is None):
                return False
            continue
        real = abs(mpmath.im(a)) < 1e-30 and abs(mpmath.im(b)) < 1e-30
        if expression_values.close(a, b, tolerance=tolerance):
            agreed += 1
        elif trial < expression_values.POSITIVE_POINTS or (
            real and tolerance == expression_values.TOLERANCE
        ):
            return False
    return agreed >= 2


def value_at(tree: Tree, point: expression_values.Point, base: float | None = None) -> Value | None:
    """Returns the value at a point; None where it is undefined."""
    try:
        return expression_values.value(tree, point, log_base=base)
    except Undefined:
        return None
