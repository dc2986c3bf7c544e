"""Decides whether two parsed answers are equal: values, lists, sets, matrices, relations, words.

It is as strict as a careful mathematician: order counts in a tuple but not in a set, an open
interval is not a closed one, an equation may be multiplied by a factor.
"""

from __future__ import annotations

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
    Union,
    Words,
)
from twogrpo.rewards.math_grading.expression_parser import Tree
from twogrpo.rewards.math_grading.real_sets import real_set, same_real_set
from twogrpo.rewards.math_grading.scalar_equivalence import same_scalar, value_at

T = TypeVar("T")

_NAME = re.compile(
    r"\s*(?:[A-Za-z]'*(?:_(?:\{[^{}]*\}|\w))?'*|\\[A-Za-z]+(?:_(?:\{[^{}]*\}|\w))?"
    r"|\|?\\?[A-Z]{2,3}\|?|\\(?:overline|angle|triangle|bar)\s*\{?\s*[A-Z]+\s*\}?|m?\\angle\s*[A-Z]+"
    r"|[A-Za-z]\s*(?:\^\s*\{?-1\}?|'+)?\s*\([^()=]*\)|[A-Za-z]{3,}(?: [A-Za-z]+)*|\|[A-Za-z]+\|"
    r"|(?:[A-Za-z ]|\\text\s*\{[^{}]*\})+(?:\([^()=]*\))?"
    r"|\\(?:frac|sqrt)\s*\{[^{}]*[A-Za-z][^{}]*\}.*"
    r"|\(\s*[a-zA-Z](?:\s*,\s*[a-zA-Z])+\s*\))\s*:?\s*"
)


def same(reference: Answer, answer: Answer) -> bool:
    """Whether an answer equals the reference in value and in type."""
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
        return len(reference.rows) == len(answer.rows) and all(
            map(_same_items, reference.rows, answer.rows)
        )
    if isinstance(reference, Union) and isinstance(answer, Union):
        return _matched(reference.parts, answer.parts, same)
    return _same_listing(reference, answer)


def _same_listing(reference: Answer, answer: Answer) -> bool:
    if not any(isinstance(side, Listing | Matrix) for side in (reference, answer)):
        return False
    mine, theirs = _listing(reference), _listing(answer)
    if len(mine.items) != len(theirs.items):
        return False
    kinds = {mine.brackets, theirs.brackets}
    if kinds <= {"", "{}"}:
        return _same_named(mine, theirs) or _matched(mine.items, theirs.items, same)
    if "{}" in kinds:
        return False
    pair = len(mine.items) == 2 and "" not in kinds and "matrix" not in kinds
    if len(kinds) > 1 and (pair or kinds & {"[)", "(]"}):
        return False  # (1, 2] is not [1, 2)
    return _same_items(mine.items, theirs.items)


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
    if isinstance(item, Relation) and set(item.signs) == {"="} and _NAME.fullmatch(item.texts[0]):
        return item.texts[0].replace(" ", "")
    return None


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
    both = isinstance(reference, Relation) and isinstance(answer, Relation)
    if isinstance(answer, Relation) and not both:
        answer = _claimed(answer) or answer
    elif isinstance(reference, Relation) and not both:
        reference = _named_value(reference) or reference
    return reference, answer


def _named_value(relation: Relation) -> Answer | None:
    """Returns v of "name = … = v" or of "v = name", else None."""
    if not set(relation.signs) <= {"=", r"\approx"}:
        return None
    if _NAME.fullmatch(relation.texts[0]):
        return _before_approximation(relation)
    if len(relation.sides) == 2 and _NAME.fullmatch(relation.texts[1]):
        return relation.sides[0]
    return None


def _claimed(relation: Relation) -> Answer | None:
    """Returns the value that a chain of equalities ends in, else None."""
    if (named := _named_value(relation)) is not None:
        return named
    if not set(relation.signs) <= {"=", r"\approx"}:
        return None
    last = _before_approximation(relation)
    if isinstance(last, Scalar) and last.tree == ("number", Fraction(0)):
        first = relation.sides[0]  # "x^2 - 9 = 0" does not claim the value 0
        constant = isinstance(first, Scalar) and not expression_values.symbols(first.tree)
        return last if constant else None
    return last


def _before_approximation(relation: Relation) -> Answer:
    r"""Returns the last exact side: 1/3 in ``x = 1/3 \approx 0.33``, 5 in ``x \approx 5``."""
    for index, sign in enumerate(relation.signs):
        if sign == r"\approx" and not _NAME.fullmatch(relation.texts[index]):
            return relation.sides[index]
    return relation.sides[-1]


def _same_relation(reference: Relation, answer: Answer) -> bool:
    if not isinstance(answer, Relation):
        return False
    values = _named_value(reference), _named_value(answer)
    if values[0] is not None and values[1] is not None and same(values[0], values[1]):
        names = [relation.texts[0].replace(" ", "") for relation in (reference, answer)]
        is_function = isinstance(values[0], Scalar) and expression_values.symbols(values[0].tree)
        return names[0] == names[1] or bool(is_function)
    return _matched(_links(reference), _links(answer), _same_link)


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
        a, b = value_at(mine, point), value_at(theirs, point)
        if a is not None and b is not None and abs(a) > 1e-20 and abs(b) > 1e-20:
            ratios.append(a / b)
    if len(ratios) < 3 or any(not expression_values.close(ratios[0], r) for r in ratios[1:]):
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
