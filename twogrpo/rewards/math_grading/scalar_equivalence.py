"""Decides whether two values are equal: exactly, to 40 digits, or by rounding to a decimal."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

import mpmath

from twogrpo.rewards.math_grading import expression_values, units
from twogrpo.rewards.math_grading.answer_types import Decimal, Scalar
from twogrpo.rewards.math_grading.exact_values import exact
from twogrpo.rewards.math_grading.expression_parser import Tree
from twogrpo.rewards.math_grading.expression_values import Value

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


def may_equate(one: Scalar, other: Scalar, *, roughly: bool) -> bool:
    """Whether a chain may equate two constants: it may round decimals and convert units."""
    if units.clash(one.units, other.units) or same_scalar(one, other):
        return True
    (a, b), _ = expression_values.values((one.tree, other.tree))
    if a is None or b is None or not _real(a, b):
        return False
    if roughly:
        return expression_values.close(a, b, tolerance=0.1)
    written = ((one.decimals, b), (other.decimals, a))
    return any(w is not None and _is_rounding(w, _fraction(x), cut=True) for w, x in written)


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
    mine, theirs = exact(reference.tree), exact(answer.tree)
    if mine is not None and theirs is not None:
        return mine == theirs or _rounds(reference, answer, mine, theirs)
    bases = _log_bases(reference.tree, answer.tree)
    return any(_agree_at_points(reference, answer, base) for base in bases)


def _agree_at_points(reference: Scalar, answer: Scalar, log_base: float | None) -> bool:
    """Whether values agree at all positive points and wherever both are real.

    Where there are no variables the values are constants, which may be rounded.
    """
    names = expression_values.symbols(reference.tree) | expression_values.symbols(answer.tree)
    loose = _tolerance(reference, answer)
    agreed, lost = 0, None
    for trial, point in enumerate(expression_values.points(names) if names else [{}]):
        is_positive = trial < expression_values.POSITIVE_POINTS
        try:
            (a, b), tolerance = expression_values.values(
                (reference.tree, answer.tree), point, log_base=log_base
            )
        except expression_values.Lost as error:  # other points may hide fewer digits
            lost = error
            continue
        if a is None or b is None:
            if is_positive and (a is None) != (b is None):
                return False
        elif expression_values.close(a, b, tolerance=loose or tolerance):
            agreed += 1
        elif not names:
            is_decimal = bool(reference.decimals or answer.decimals) and _real(a, b)
            return is_decimal and _rounds(reference, answer, _fraction(a), _fraction(b))
        elif is_positive or (not loose and _real(a, b)):
            return False
    if lost and agreed < 2:
        raise lost
    return agreed >= (2 if names else 1)


def _real(*values: Value) -> bool:
    return all(abs(mpmath.im(value)) < 1e-30 for value in values)


def _log_bases(*trees: Tree) -> tuple[int | None, ...]:
    """Returns the bases that a bare log may have: e, and 10 where there is one."""
    return (None, 10) if any(expression_values.mentions(tree, "log") for tree in trees) else (None,)


def _fraction(value: Value) -> Fraction:
    if value and abs(mpmath.mag(value)) > 1_000:
        raise expression_values.Lost
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
    if finer is None:
        return written.value.denominator > 1  # 1.000 does not stand for 1 - 1/9!
    return finer.last_place < written.last_place


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


def _tolerance(reference: Scalar, answer: Scalar) -> Value | None:
    """Returns a looser tolerance if exactly one side contains rounded decimals (1.414x)."""
    mine, theirs = (
        side.decimals is None and bool(_LONG_DECIMAL.search(side.text))
        for side in (reference, answer)
    )
    return _COMPOSITE_TOLERANCE if mine != theirs else None
