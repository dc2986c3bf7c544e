"""Converts intervals, unions and inequalities in one variable to one form of real set."""

from __future__ import annotations

import mpmath

from twogrpo.rewards.math_grading import expression_values
from twogrpo.rewards.math_grading.answer_types import Answer, Listing, Relation, Scalar, Union
from twogrpo.rewards.math_grading.expression_values import Undefined

Piece = tuple[mpmath.mpf, bool, mpmath.mpf, bool]
"""Lower end, whether it belongs to the set, upper end, whether it belongs."""


def real_set(answer: Answer) -> list[Piece] | None:
    """Returns the pieces of a set in order, adjacent ones merged; None for other answers."""
    pieces = _pieces(answer)
    return None if pieces is None else _merged(pieces)


def same_real_set(mine: list[Piece], theirs: list[Piece]) -> bool:
    """Whether two sets have the same pieces, with the same open and closed ends."""
    return len(mine) == len(theirs) and all(
        a[1] == b[1] and a[3] == b[3] and _same_end(a[0], b[0]) and _same_end(a[2], b[2])
        for a, b in zip(mine, theirs, strict=True)
    )


def _same_end(a: mpmath.mpf, b: mpmath.mpf) -> bool:
    return a == b if mpmath.isinf(a) or mpmath.isinf(b) else expression_values.close(a, b)


def _pieces(answer: Answer) -> list[Piece] | None:
    if isinstance(answer, Union):
        return _joined([_pieces(part) for part in answer.parts])
    if isinstance(answer, Relation):
        return _solved(answer)
    if not isinstance(answer, Listing):
        return None
    if answer.brackets == "{}":
        return _joined([_point(item) for item in answer.items])
    if answer.brackets == "":
        return _listed([_pieces(item) for item in answer.items])
    if len(answer.items) != 2:
        return None
    low, high = _end(answer.items[0]), _end(answer.items[1])
    if low is None or high is None or low > high:
        return None
    return [(low, answer.brackets[0] == "[", high, answer.brackets[1] == "]")]


def _joined(parts: list[list[Piece] | None]) -> list[Piece] | None:
    if any(part is None for part in parts):
        return None
    return [piece for part in parts if part is not None for piece in part]


def _listed(parts: list[list[Piece] | None]) -> list[Piece] | None:
    """Reads "x > 1, x < 3" as an intersection and "x < 1 or x > 3" as a union."""
    pieces = _joined(parts)
    if pieces is None or len(pieces) != 2:
        return pieces
    upper, lower = sorted(pieces, key=lambda piece: piece[0])
    if mpmath.isinf(upper[0]) and mpmath.isinf(lower[2]) and lower[0] < upper[2]:
        return [(lower[0], lower[1], upper[2], upper[3])]
    return pieces


def _point(item: Answer) -> list[Piece] | None:
    value = _end(item)
    return None if value is None else [(value, True, value, True)]


def _end(item: Answer) -> mpmath.mpf | None:
    """Returns the real number or infinity that an interval ends at; None for other answers."""
    if not isinstance(item, Scalar) or expression_values.symbols(item.tree):
        return None
    if item.tree == ("infty",):
        return mpmath.inf
    if item.tree == ("negative", ("infty",)):
        return -mpmath.inf
    try:
        value = expression_values.value(item.tree)
    except Undefined:
        return None
    return None if mpmath.im(value) else mpmath.re(value)


def _solved(relation: Relation) -> list[Piece] | None:
    """Solves a chain around one bare variable, such as 1 < x <= 2, x != 3 or 0 > x."""
    variables = [
        i
        for i, side in enumerate(relation.sides)
        if isinstance(side, Scalar) and side.tree[0] == "symbol"
    ]
    if (len(relation.sides), variables) not in ((2, [0]), (2, [1]), (3, [1])):
        return None
    [middle] = variables
    pieces: list[Piece] = [(-mpmath.inf, False, mpmath.inf, False)]
    for index, sign in enumerate(relation.signs):
        number = _end(relation.sides[index + 1 if index >= middle else index])
        if number is None:
            return None
        bound = _bounded(sign, number, variable_left=index >= middle)
        if bound is None or (len(bound) > 1 and len(relation.signs) > 1):
            return None
        pieces = bound if len(bound) > 1 else [_intersection(pieces[0], bound[0])]
    return pieces


def _bounded(sign: str, number: mpmath.mpf, *, variable_left: bool) -> list[Piece] | None:
    infinity = mpmath.inf
    if sign == "!=":
        return [(-infinity, False, number, False), (number, False, infinity, False)]
    if sign[0] not in "<>":
        return None
    closed = sign.endswith("=") and not mpmath.isinf(number)
    is_above = (sign[0] == "<") == variable_left
    return [(-infinity, False, number, closed) if is_above else (number, closed, infinity, False)]


def _intersection(a: Piece, b: Piece) -> Piece:
    low = max(a[:2], b[:2], key=lambda end: (end[0], not end[1]))
    high = min(a[2:], b[2:], key=lambda end: (end[0], end[1]))
    return (*low, *high)


def _merged(pieces: list[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: (p[0], not p[1])):
        last = merged[-1] if merged else None
        if last and (piece[0] < last[2] or (piece[0] == last[2] and (piece[1] or last[3]))):
            high = max(last[2:], piece[2:], key=lambda end: (end[0], end[1]))
            merged[-1] = (last[0], last[1], *high)
        else:
            merged.append(piece)
    return merged
