"""Compares intervals, unions and inequalities in one variable as sets of real numbers.

Sets whose ends are known are equal if they agree at all ends and at one point between each two.
"""

from __future__ import annotations

import itertools
import re

import mpmath

from twogrpo.rewards.math_grading import expression_values
from twogrpo.rewards.math_grading.answer_types import Answer, Listing, Relation, Scalar
from twogrpo.rewards.math_grading.expression_values import Value

_END_DIGITS = 400
"""Ends that differ are compared one by one, so that all need as many digits."""
_END_TOLERANCE = mpmath.mpf(10) ** -380


def same_real_set(mine: Answer, theirs: Answer) -> bool | None:
    """Whether two answers are one set; None where one of them is no set of this kind."""
    try:
        names = _variables(mine) | _variables(theirs)
        ends = sorted({end for answer in (mine, theirs) for end in _ends(answer)})
    except _NoSet:
        return None
    finite = [end for end in ends if mpmath.isfinite(end)] or [mpmath.mpf(0)]
    with mpmath.workdps(_END_DIGITS):
        between = [(a + b) / 2 for a, b in itertools.pairwise(finite)]
        points = [finite[0] - 1, *finite, *between, finite[-1] + 1]
        mine_has, theirs_has = ([_member(one, points, x) for x in points] for one in (mine, theirs))
    return mine_has == theirs_has and len(names) < 2


class _NoSet(Exception):
    """The answer is no set of real numbers whose ends are known."""


def _variables(answer: Answer) -> set[str]:
    if isinstance(answer, Relation):
        return {answer.texts[_middle(answer)].replace(" ", "")}
    return set().union(*map(_variables, getattr(answer, "items", ())))


def _ends(answer: Answer) -> list[Value]:
    if isinstance(answer, Relation):
        middle = _middle(answer)
        return [_end(side) for index, side in enumerate(answer.sides) if index != middle]
    if not isinstance(answer, Listing) or answer.brackets == ":":
        raise _NoSet
    if answer.brackets in ("", r"\cup"):
        return [end for item in answer.items for end in _ends(item)]
    ends = [_end(item) for item in answer.items]
    if answer.brackets != "{}" and (len(ends) != 2 or ends[0] > ends[1]):
        raise _NoSet
    return ends


def _member(answer: Answer, points: list[Value], x: Value) -> bool:
    """Whether a set contains x; a list whose sets cover all points is their intersection."""
    if isinstance(answer, Relation):
        middle = _middle(answer)
        values = [x if i == middle else _end(side) for i, side in enumerate(answer.sides)]
        pairs = zip(answer.signs, itertools.pairwise(values), strict=True)
        return all(_holds(sign, a, b) for sign, (a, b) in pairs)
    assert isinstance(answer, Listing)
    if answer.brackets in ("", r"\cup"):  # "x > 1, x < 3" against "x < 1 or x > 3"
        covers = all(any(_member(i, points, y) for i in answer.items) for y in points)
        takes = all if covers and not answer.brackets else any
        return takes(_member(item, points, x) for item in answer.items)
    ends = [_end(item) for item in answer.items]
    if answer.brackets == "{}":
        return any(_holds("=", x, end) for end in ends)
    below, above = ("<=" if bracket in "[]" else "<" for bracket in answer.brackets)
    return _holds(below, ends[0], x) and _holds(above, x, ends[1])


def _holds(sign: str, a: Value, b: Value) -> bool:
    equal = a == b or (
        bool(mpmath.isfinite(a + b)) and expression_values.close(a, b, tolerance=_END_TOLERANCE)
    )
    if equal or sign in ("=", "!="):
        return equal == (sign in ("<=", ">=", "="))
    return bool((a < b) == (sign[0] == "<"))


def _middle(relation: Relation) -> int:
    """Returns the index of the one variable (x or f(x)) of "1 < x <= 2", "x != 3" or "0 > x"."""
    variables = [
        index
        for index, side in enumerate(relation.sides)
        if (isinstance(side, Scalar) and side.tree[0] == "symbol")
        or re.fullmatch(r"[a-z]\s*\(\s*[a-z]\s*\)", relation.texts[index])
    ]  # fmt: skip
    if (len(relation.sides), variables) not in ((2, [0]), (2, [1]), (3, [1])):
        raise _NoSet
    if (len(relation.signs) > 1 and "!=" in relation.signs) or not {
        s[0] for s in relation.signs
    } <= {*"<>!"}:
        raise _NoSet
    return variables[0]


def _end(item: Answer) -> Value:
    """Returns the real number or infinity that an interval ends at."""
    if not isinstance(item, Scalar) or expression_values.symbols(item.tree):
        raise _NoSet
    if item.tree in (("infty",), ("negative", ("infty",))):
        return mpmath.inf if item.tree == ("infty",) else -mpmath.inf
    [value], _ = expression_values.values([item.tree], digits=_END_DIGITS)
    if value is None or mpmath.im(value):
        raise _NoSet
    return mpmath.re(value)
