"""Decides whether two parsed answers are equal: values, lists, sets, matrices, relations, words.

It is as strict as a careful mathematician: order counts in a tuple but not in a set, an open
interval is not a closed one, an equation may be multiplied by a factor.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

import mpmath

from twogrpo.rewards.math_grading import expression_values
from twogrpo.rewards.math_grading.answer_types import (
    Answer,
    Listing,
    Matrix,
    Relation,
    Scalar,
    Words,
)
from twogrpo.rewards.math_grading.expression_parser import Tree
from twogrpo.rewards.math_grading.real_sets import same_real_set
from twogrpo.rewards.math_grading.scalar_equivalence import may_equate, same_scalar
from twogrpo.rewards.math_grading.units import differ_in_noun

T = TypeVar("T")

_NAME = re.compile(
    r"\s*(?:[A-Za-z]'*(?:_(?:\{[^{}]*\}|\w))?'*|\\[A-Za-z]+(?:_(?:\{[^{}]*\}|\w))?"
    r"|\|?\\?[A-Z]{2,3}\|?|\\(?:overline|angle|triangle|bar)\s*\{?\s*[A-Z]+\s*\}?|m?\\angle\s*[A-Z]+"
    r"|[A-Za-z]\s*(?:\^\s*\{?-1\}?|'+)?\s*\([^()=]*\)|[A-Za-z]{3,}(?: [A-Za-z]+)*|\|[A-Za-z]+\|"
    r"|(?:[A-Za-z ]|\\text\s*\{[^{}]*\})+(?:\([^()=]*\))?"
    r"|\\(?:frac|sqrt)\s*\{[^{}]*[A-Za-z][^{}]*\}.*"
    r"|\\(?:sin|cos|tan|cot|sec|csc|max|min)\s*\\?[A-Za-z]+"
    r"|\(\s*[a-zA-Z](?:\s*,\s*[a-zA-Z])+\s*\))\s*"
)
_FUNCTION = re.compile(r"[A-Za-z]'*(?:_|\()(.*)\)?")


def same(reference: Answer, answer: Answer) -> bool:
    """Whether an answer equals the reference in value and in type."""
    reference, answer = _unrelated(reference, answer)
    if _is_set_notation(reference) or _is_set_notation(answer):
        same_set = same_real_set(reference, answer)
        if same_set is not None:
            return same_set
    if isinstance(reference, Words) or isinstance(answer, Words):
        return isinstance(reference, Words) and reference == answer
    if isinstance(reference, Relation) or isinstance(answer, Relation):
        return isinstance(reference, Relation) and _same_relation(reference, answer)
    if isinstance(reference, Scalar) and isinstance(answer, Scalar):
        return same_scalar(reference, answer)
    if isinstance(reference, Matrix) and isinstance(answer, Matrix):
        return len(reference.rows) == len(answer.rows) and all(
            map(_same_items, reference.rows, answer.rows)
        )
    return _same_listing(reference, answer)


def _same_listing(reference: Answer, answer: Answer) -> bool:
    mine, theirs = _listing(reference), _listing(answer)
    kinds = {mine.brackets, theirs.brackets}
    if kinds <= {"", "{}"} or kinds == {r"\cup"}:
        return _same_named(mine, theirs) or _matched(mine.items, theirs.items, _same_item)
    if "{}" in kinds:
        return False
    pair = len(mine.items) == 2 and "" not in kinds and "matrix" not in kinds
    if len(kinds) > 1 and (pair or kinds & {"[)", "(]", ":", r"\cup"}):
        return False  # (1, 2] is not [1, 2)
    return _same_items(mine.items, theirs.items)


def _same_item(mine: Answer, theirs: Answer) -> bool:
    if isinstance(mine, Scalar) and isinstance(theirs, Scalar):
        return same(mine, theirs) and not differ_in_noun(mine.units, theirs.units)
    return same(mine, theirs)


def _same_items(mine: Sequence[Answer], theirs: Sequence[Answer]) -> bool:
    return len(mine) == len(theirs) and all(map(same, mine, theirs))


def _listing(answer: Answer) -> Listing:
    """Returns any answer as a list; the column or row of a matrix as a tuple."""
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
    """Whether "1, 2" gives the values of "x = 1, y = 2" in the order of the names."""
    names = [_assigned_name(item) for item in mine.items], [_assigned_name(i) for i in theirs.items]
    full = [None not in side and len(set(side)) == len(side) > 1 for side in names]
    return full[0] != full[1] and _same_items(mine.items, theirs.items)


def _assigned_name(item: Answer) -> str | None:
    if isinstance(item, Relation) and set(item.signs) == {"="} and _is_name(item.texts[0]):
        return _plain(item.texts[0])
    return None


def _is_name(text: str) -> bool:
    """Whether a text names a quantity, or several in a ratio (V_1:V_2)."""
    return all(_NAME.fullmatch(part) for part in text.strip(" :").split(":"))


def _plain(name: str) -> str:
    return re.sub(r"[\s{}]", "", name)


def _matched(mine: Sequence[T], theirs: Sequence[T], alike: Callable[[T, T], bool]) -> bool:
    """Whether the items can be paired, in any order."""
    left = list(theirs)
    if len(mine) != len(theirs):
        return False
    for item in mine:
        partner = next((other for other in left if alike(item, other)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def _unrelated(reference: Answer, answer: Answer) -> tuple[Answer, Answer]:
    """Removes "x =" from one answer where the other is a bare value."""
    if isinstance(answer, Relation) and not isinstance(reference, Relation):
        answer = _value(answer, of_any_chain=True) or answer
    elif isinstance(reference, Relation) and not isinstance(answer, Relation):
        reference = _value(reference) or reference
    return reference, answer


def _value(relation: Relation, *, of_any_chain: bool = False) -> Answer | None:
    """Returns v of "name = … = v", of "v = name" or of any chain; None for "6 = x = 5"."""
    if not _is_chain(relation):
        return None
    first, last = relation.sides[0], _before_approximation(relation)
    if _is_name(relation.texts[0]):
        return None if _plain(relation.texts[0]) in _symbols(last) else last  # x = 3x
    if len(relation.texts) == 2 and _is_name(relation.texts[1]):
        return first
    # "x^2 - 9 = 0" does not claim the value 0
    is_zero = isinstance(last, Scalar) and last.tree == ("number", Fraction(0))
    return last if of_any_chain and (not is_zero or _is_constant(first)) else None


def _is_chain(relation: Relation) -> bool:
    """Whether all signs are = or ≈ and no two neighbouring constants contradict them."""
    if not set(relation.signs) <= {"=", r"\approx"}:
        return False
    constants = [index for index, side in enumerate(relation.sides) if _is_constant(side)]
    for i, j in itertools.pairwise(constants):
        one, other = relation.sides[i], relation.sides[j]
        if isinstance(one, Scalar) and isinstance(other, Scalar):
            agree = may_equate(one, other, roughly=r"\approx" in relation.signs[i:j])
        else:
            agree = same(one, other)
        if not agree:
            return False
    return True


def _is_constant(answer: Answer) -> bool:
    if isinstance(answer, Listing):
        return all(map(_is_constant, answer.items))
    return isinstance(answer, Scalar) and not _symbols(answer)


def _symbols(answer: Answer) -> frozenset[str]:
    return expression_values.symbols(answer.tree) if isinstance(answer, Scalar) else frozenset()


def _before_approximation(relation: Relation) -> Answer:
    r"""Returns the last exact side: 1/3 in ``x = 1/3 \approx 0.33``, 5 in ``x \approx 5``."""
    for index, sign in enumerate(relation.signs):
        if sign == r"\approx" and not _is_name(relation.texts[index]):
            return relation.sides[index]
    return relation.sides[-1]


def _same_relation(reference: Relation, answer: Answer) -> bool:
    if not isinstance(answer, Relation):
        return False
    values = _value(reference), _value(answer)
    if values[0] is not None and values[1] is not None and same(values[0], values[1]):
        one, other = (next(filter(_is_name, side.texts)) for side in (reference, answer))
        return _same_names(one, other, bool(_symbols(values[0])))
    return _matched(_links(reference), _links(answer), _same_link)


def _same_names(one: str, other: str, is_function: bool) -> bool:
    """Whether names agree; y, f(x) and g(x) may name one function, f(t) not that of x."""
    one, other = _plain(one), _plain(other)
    arguments = {match[1] for name in (one, other) if (match := _FUNCTION.fullmatch(name))}
    return one == other or (is_function and len(arguments) < 2)


Link = tuple[str, Answer, Answer]


def _links(relation: Relation) -> list[Link]:
    """Splits a < b <= c into (a < b), (b <= c) and turns every > and >= around."""
    links = []
    for sign, a, b in zip(relation.signs, relation.sides, relation.sides[1:], strict=False):
        links.append((sign.replace(">", "<"), b, a) if sign[0] == ">" else (sign, a, b))
    return links


def _same_link(mine: Link, theirs: Link) -> bool:
    """Whether signs agree and the differences of the sides are proportional (positively for <)."""
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
    names = expression_values.symbols(mine)
    if names != expression_values.symbols(theirs) or not names:
        return False
    ratios = []
    for point in expression_values.points(names):
        (a, b), tolerance = expression_values.values((mine, theirs), point, hidden_twice=True)
        if a and b:
            with mpmath.workdps(expression_values.MAX_DIGITS):
                ratios.append(a / b)
            if not expression_values.close(ratios[0], ratios[-1], tolerance=tolerance):
                return False
        elif a != b:
            return False
    return len(ratios) >= 3 and (not positive or mpmath.re(ratios[0]) > 0)


def _is_set_notation(answer: Answer) -> bool:
    if isinstance(answer, Relation):
        return any(sign[0] in "<>!" for sign in answer.signs)
    if isinstance(answer, Listing) and answer.brackets == "":
        return bool(answer.items) and all(
            isinstance(item, Relation) and _is_set_notation(item) for item in answer.items
        )
    return isinstance(answer, Listing) and answer.brackets == r"\cup"
