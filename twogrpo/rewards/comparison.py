"""When two read answers are the same: value by value, list by list, relation by relation.

Strict where a careful mathematician is: order counts in a tuple and not in a set, an open interval is
not a closed one, a decimal stands for an exact value only as its rounding to four digits or more.
"""

from __future__ import annotations

import re
from fractions import Fraction

import mpmath

from twogrpo.rewards import evaluation, units
from twogrpo.rewards.evaluation import Undefined
from twogrpo.rewards.expressions import Tree
from twogrpo.rewards.reading import (
    Answer,
    Decimal,
    Listing,
    Matrix,
    Relation,
    Scalar,
    Union,
    Words,
)
from twogrpo.rewards.real_sets import real_set, same_real_set

MIN_ROUNDED_DIGITS = 4
"""A decimal of fewer digits is no approximation: 0.33 is not 1/3 (0.3333 is)."""

_COMPOSITE_TOLERANCE = mpmath.mpf("2e-4")
_LONG_DECIMAL = re.compile(r"\d*\.\d{3,}|\d{2,}\.\d{2,}|\d{3,}\.\d")
_NAME = re.compile(
    r"\s*(?:[A-Za-z]'*(?:_(?:\{[^{}]*\}|\w))?'*|\\[A-Za-z]+(?:_(?:\{[^{}]*\}|\w))?"
    r"|\|?\\?[A-Z]{2,3}\|?|\\(?:overline|angle|triangle|bar)\s*\{?\s*[A-Z]+\s*\}?|m?\\angle\s*[A-Z]+"
    r"|[A-Za-z]\s*(?:\^\s*\{?-1\}?|'+)?\s*\([^()=]*\)|[A-Za-z]{3,}(?: [A-Za-z]+)*|\|[A-Za-z]+\|"
    r"|(?:[A-Za-z ]|\\text\s*\{[^{}]*\})+(?:\([^()=]*\))?|\\(?:frac|sqrt)\s*\{[^{}]*[A-Za-z][^{}]*\}.*"
    r"|\(\s*[a-zA-Z](?:\s*,\s*[a-zA-Z])+\s*\))\s*:?\s*"
)


def same(reference: Answer, answer: Answer) -> bool:
    """Whether an answer is the reference, in value and in kind."""
    reference, answer = _unrelated(reference, answer)
    for one, other in ((reference, answer), (answer, reference)):
        if _is_set_notation(one) and (_is_set_notation(other) or _may_be_interval(other)):
            mine, theirs = real_set(one), real_set(other)
            if mine is not None and theirs is not None:
                return same_real_set(mine, theirs)
    if isinstance(reference, Words) or isinstance(answer, Words):
        return isinstance(reference, Words) and reference == answer
    if isinstance(reference, Relation) or isinstance(answer, Relation):
        return isinstance(reference, Relation) and _same_relation(reference, answer)
    if isinstance(reference, Scalar) and isinstance(answer, Scalar):
        return same_scalar(reference, answer)
    if isinstance(reference, Matrix) and isinstance(answer, Matrix):
        return _same_rows(reference.rows, answer.rows)
    if isinstance(reference, Union) and isinstance(answer, Union):
        return _matched(reference.parts, answer.parts)
    return _same_listing(reference, answer)


# -- values -------------------------------------------------------------------------------------


def same_scalar(reference: Scalar, answer: Scalar) -> bool:
    """Equal values; a percent sign or a degree sign on one side alone may be left out."""
    if units.clash(reference.units, answer.units):
        return False
    for mine in _meanings(reference, answer):
        for theirs in _meanings(answer, reference):
            if _same_value(mine, theirs):
                return True
    return False


def _meanings(one: Scalar, other: Scalar) -> list[Scalar]:
    """What a value may mean beside another: 50% is 50 or 1/2, 90 degrees 90 or pi/2."""
    meanings = [one]
    if one.percent and not other.percent:
        meanings.append(Scalar(("/", one.tree, ("number", Fraction(100))), one.text))
    if one.degrees and not other.degrees:
        meanings.append(Scalar(("degrees", one.tree), ""))
    return meanings


def _same_value(reference: Scalar, answer: Scalar) -> bool:
    if reference.tree == answer.tree:
        return True
    mine, theirs = evaluation.exact(reference.tree), evaluation.exact(answer.tree)
    if mine is not None and theirs is not None:
        return mine == theirs or _rounds(reference, answer, mine, theirs)
    names = evaluation.symbols(reference.tree) | evaluation.symbols(answer.tree)
    if names:
        return same_function(reference.tree, answer.tree, tolerance=_tolerance(reference, answer))
    return _same_irrational(reference, answer)


def _same_irrational(reference: Scalar, answer: Scalar) -> bool:
    bases = (None, 10) if _bare_log(reference.tree) or _bare_log(answer.tree) else (None,)
    for base in bases:
        try:
            mine = evaluation.value(reference.tree, log_base=base)
            theirs = evaluation.value(answer.tree, log_base=base)
        except Undefined:
            continue
        if evaluation.close(mine, theirs, tolerance=_tolerance(reference, answer)):
            return True
        if _comparable(reference, answer, mine, theirs) and _rounds(
            reference, answer, _fraction(mine), _fraction(theirs)
        ):
            return True
    return False


def _comparable(
    reference: Scalar, answer: Scalar, mine: evaluation.Value, theirs: evaluation.Value
) -> bool:
    """Whether rounding is worth a look: real values of everyday size, one of them a decimal."""
    real = mpmath.im(mine) == 0 == mpmath.im(theirs)
    moderate = all(x == 0 or 1e-300 < abs(x) < 1e300 for x in (mine, theirs))
    return bool(reference.decimals or answer.decimals) and real and moderate


def _bare_log(tree: Tree) -> bool:
    return evaluation.mentions(tree, "log")


def _fraction(value: evaluation.Value) -> Fraction:
    with mpmath.workdps(evaluation.DIGITS):
        return Fraction(*mpmath.libmp.to_rational(mpmath.re(value)._mpf_))


def _rounds(reference: Scalar, answer: Scalar, mine: Fraction, theirs: Fraction) -> bool:
    """Whether the answer is a decimal that rounds or cuts off the reference, or is rounded by it."""
    wanted, given = reference.decimals, answer.decimals
    if given and _may_stand(given, wanted, mine) and _is_rounding(given, mine, cut=True):
        return True
    return bool(
        wanted and _may_stand(wanted, given, theirs) and _is_rounding(wanted, theirs, cut=False)
    )


def _may_stand(written: Decimal, finer: Decimal | None, exact: Fraction) -> bool:
    """Whether a decimal has the digits to stand for a value that is given with more precision."""
    if written.digits < MIN_ROUNDED_DIGITS or exact.denominator == 1:
        return False
    return finer is None or finer.last_place < written.last_place


def _is_rounding(written: Decimal, exact: Fraction, *, cut: bool) -> bool:
    """Whether the difference is half a unit of the last place, or a whole one if cut off."""
    difference = abs(exact) - abs(written.value)
    noise = abs(exact) / 10**14  # the last digits of a double precision number
    half = max(written.last_place / 2, noise)
    same_sign = (exact < 0) == (written.value < 0)
    return (
        same_sign
        and -half <= difference
        and (difference < max(written.last_place, noise) if cut else difference <= half)
    )


def _tolerance(reference: Scalar, answer: Scalar) -> evaluation.Value:
    """Looser where exactly one side is an expression with rounded decimals in it (1.414x)."""
    rounded = [
        bool(_LONG_DECIMAL.search(side.text)) and side.decimals is None
        for side in (reference, answer)
    ]
    return _COMPOSITE_TOLERANCE if rounded[0] != rounded[1] else evaluation.TOLERANCE


def same_function(
    mine: Tree, theirs: Tree, *, tolerance: evaluation.Value = evaluation.TOLERANCE
) -> bool:
    """Whether two expressions agree wherever both are real, at positive points everywhere."""
    names = evaluation.symbols(mine) | evaluation.symbols(theirs)
    bases = (None, 10) if _bare_log(mine) or _bare_log(theirs) else (None,)
    return any(_agree_at_points(mine, theirs, names, tolerance, base) for base in bases)


def _agree_at_points(
    mine: Tree, theirs: Tree, names: frozenset[str], tolerance: evaluation.Value, base: float | None
) -> bool:
    agreed = 0
    for trial, point in enumerate(evaluation.points(names)):
        a, b = _at(mine, point, base), _at(theirs, point, base)
        if a is None or b is None:
            if trial < evaluation.POSITIVE_POINTS and (a is None) != (b is None):
                return False
            continue
        real = abs(mpmath.im(a)) < 1e-30 and abs(mpmath.im(b)) < 1e-30
        if evaluation.close(a, b, tolerance=tolerance):
            agreed += 1
        elif trial < evaluation.POSITIVE_POINTS or (real and tolerance == evaluation.TOLERANCE):
            return False
    return agreed >= 2


def _at(tree: Tree, point: evaluation.Point, base: float | None) -> evaluation.Value | None:
    try:
        return evaluation.value(tree, point, log_base=base)
    except Undefined:
        return None


# -- lists --------------------------------------------------------------------------------------


def _same_listing(reference: Answer, answer: Answer) -> bool:
    if not any(isinstance(side, Listing | Matrix) for side in (reference, answer)):
        return False
    mine, theirs = _listing(reference), _listing(answer)
    if len(mine.items) != len(theirs.items):
        return False
    kinds = {mine.brackets, theirs.brackets}
    if kinds <= {"", "{}"}:
        return _same_named(mine, theirs) or _matched(mine.items, theirs.items)
    if "{}" in kinds:
        return False
    if len(mine.items) == 2 and "" not in kinds and "matrix" not in kinds and len(kinds) > 1:
        return False  # (1, 2] is not [1, 2)
    return all(same(a, b) for a, b in zip(mine.items, theirs.items, strict=True))


def _listing(answer: Answer) -> Listing:
    """Anything as a list: a column or row as a tuple, relations of names as their values."""
    if isinstance(answer, Matrix):
        if len(answer.rows[0]) == 1:
            return Listing(tuple(row[0] for row in answer.rows), "matrix")
        if len(answer.rows) == 1:
            return Listing(answer.rows[0], "matrix")
        return Listing(tuple(Listing(row, "[]") for row in answer.rows), "matrix")
    if isinstance(answer, Listing):
        return answer
    return Listing((answer,))


def _same_named(mine: Listing, theirs: Listing) -> bool:
    """ "x = 1, y = 2" against "1, 2": named values are in order; unnamed ones must follow it."""
    names = [_assigned_name(item) for item in mine.items], [_assigned_name(i) for i in theirs.items]
    full = [None not in side and len(set(side)) == len(side) > 1 for side in names]
    if full[0] == full[1]:
        return False
    return all(same(a, b) for a, b in zip(mine.items, theirs.items, strict=True))


def _assigned_name(item: Answer) -> str | None:
    if isinstance(item, Relation) and set(item.signs) == {"="} and _NAME.fullmatch(item.texts[0]):
        return item.texts[0].replace(" ", "")
    return None


def _matched(mine: tuple[Answer, ...], theirs: tuple[Answer, ...]) -> bool:
    """Whether the items pair off, in any order."""
    left = list(theirs)
    if len(mine) != len(theirs):
        return False
    for item in mine:
        partner = next((other for other in left if same(item, other)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def _same_rows(
    mine: tuple[tuple[Answer, ...], ...], theirs: tuple[tuple[Answer, ...], ...]
) -> bool:
    return [len(row) for row in mine] == [len(row) for row in theirs] and all(
        same(a, b)
        for row, other in zip(mine, theirs, strict=True)
        for a, b in zip(row, other, strict=True)
    )


# -- relations ----------------------------------------------------------------------------------


def _unrelated(reference: Answer, answer: Answer) -> tuple[Answer, Answer]:
    """Drops "x =" from either side where the other is a bare value."""
    both = isinstance(reference, Relation) and isinstance(answer, Relation)
    if isinstance(answer, Relation) and not both:
        answer = _claimed(answer, reference) or answer
    elif isinstance(reference, Relation) and not both:
        reference = _named_value(reference) or reference
    return reference, answer


def _named_value(relation: Relation) -> Answer | None:
    """v of "name = … = v" (or of "v = name")."""
    if not set(relation.signs) <= {"=", r"\approx"}:
        return None
    if _NAME.fullmatch(relation.texts[0]):
        return _before_approximation(relation)
    if len(relation.sides) == 2 and _NAME.fullmatch(relation.texts[1]):
        return relation.sides[0]
    return None


def _claimed(relation: Relation, reference: Answer) -> Answer | None:
    """The value that a chain of equalities ends in, if it is one."""
    named = _named_value(relation)
    if named is not None:
        return named
    if not set(relation.signs) <= {"=", r"\approx"}:
        return None
    last = _before_approximation(relation)
    if isinstance(last, Scalar) and last.tree == ("number", Fraction(0)):
        first = relation.sides[0]  # "x^2 - 9 = 0" does not claim the value 0
        constant = isinstance(first, Scalar) and not evaluation.symbols(first.tree)
        return last if constant else None
    return last


def _before_approximation(relation: Relation) -> Answer:
    r"""The last exact side: of ``x = 1/3 \approx 0.33`` the 1/3, of ``x \approx 5`` the 5."""
    for index, sign in enumerate(relation.signs):
        if sign == r"\approx" and not _NAME.fullmatch(relation.texts[index]):
            return relation.sides[index]
    return relation.sides[-1]


def _same_relation(reference: Relation, answer: Answer) -> bool:
    if not isinstance(answer, Relation):
        return False
    mine, theirs = _links(reference), _links(answer)
    values = _named_value(reference), _named_value(answer)
    if values[0] is not None and values[1] is not None and same(values[0], values[1]):
        return _same_left(reference, answer) or _is_function(values[0])
    if len(mine) != len(theirs):
        return False
    left = list(theirs)
    for link in mine:
        partner = next((other for other in left if _same_link(link, other)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def _same_left(mine: Relation, theirs: Relation) -> bool:
    return mine.texts[0].replace(" ", "") == theirs.texts[0].replace(" ", "")


def _is_function(value: Answer) -> bool:
    return isinstance(value, Scalar) and bool(evaluation.symbols(value.tree))


Link = tuple[str, Answer, Answer]


def _links(relation: Relation) -> list[Link]:
    """a < b <= c as (a < b), (b <= c), every sign turned to =, !=, < or <=."""
    links = []
    for sign, a, b in zip(relation.signs, relation.sides, relation.sides[1:], strict=False):
        links.append((sign.replace(">", "<"), b, a) if sign[0] == ">" else (sign, a, b))
    return links


def _same_link(mine: Link, theirs: Link) -> bool:
    """The same sign and differences of the sides that are proportional (positively for <)."""
    if mine[0] != theirs[0]:
        return False
    if same(mine[1], theirs[1]) and same(mine[2], theirs[2]):
        return True
    sides = [*mine[1:], *theirs[1:]]
    if not all(isinstance(side, Scalar) for side in sides):
        flip = mine[0] in ("=", "!=", r"\equiv")
        return flip and same(mine[1], theirs[2]) and same(mine[2], theirs[1])
    a, b, c, d = (side.tree for side in sides if isinstance(side, Scalar))
    return _proportional(("-", a, b), ("-", c, d), positive=mine[0] in ("<", "<="))


def _proportional(mine: Tree, theirs: Tree, *, positive: bool) -> bool:
    names = evaluation.symbols(mine)
    if names != evaluation.symbols(theirs) or not names:
        return False
    ratios = []
    for point in evaluation.points(names):
        a, b = _at(mine, point, None), _at(theirs, point, None)
        if a is not None and b is not None and abs(a) > 1e-20 and abs(b) > 1e-20:
            ratios.append(a / b)
    if len(ratios) < 3 or any(not evaluation.close(ratios[0], r) for r in ratios[1:]):
        return False
    return not positive or mpmath.re(ratios[0]) > 0


def _is_set_notation(answer: Answer) -> bool:
    if isinstance(answer, Relation):
        return any(sign[0] in "<>!" for sign in answer.signs)
    if isinstance(answer, Listing) and answer.brackets == "":
        return bool(answer.items) and all(
            isinstance(item, Relation) and _is_set_notation(item) for item in answer.items
        )
    return isinstance(answer, Union)


def _may_be_interval(answer: Answer) -> bool:
    if not isinstance(answer, Listing) or not answer.brackets:
        return False
    return answer.brackets == "{}" or len(answer.items) == 2
