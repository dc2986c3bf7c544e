"""The types of answer: value, list, set or tuple, union, matrix, relation, words."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from twogrpo.rewards.math_grading.expression_parser import Tree


@dataclass(frozen=True)
class Scalar:
    """One value; `decimals` is set if the answer wrote it as a decimal number."""

    tree: Tree
    text: str
    percent: bool = False
    degrees: bool = False
    units: frozenset[tuple[str, str]] = frozenset()
    decimals: Decimal | None = None


@dataclass(frozen=True)
class Decimal:
    """A decimal number as written: its value, its last place and its significant digits."""

    value: Fraction
    last_place: Fraction
    digits: int


@dataclass(frozen=True)
class Listing:
    r"""Several answers; brackets are "" (bare list), "{}" (set), or those of a tuple or interval.

    They are ":" in a ratio and ``\cup`` in a union of sets.
    """

    items: tuple[Answer, ...]
    brackets: str = ""


@dataclass(frozen=True)
class Matrix:
    """Rows of answers."""

    rows: tuple[tuple[Answer, ...], ...]


@dataclass(frozen=True)
class Relation:
    """A chain such as 1 < x <= 2 or x = 5 = 10/2, with one side more than signs."""

    sides: tuple[Answer, ...]
    signs: tuple[str, ...]
    texts: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Words:
    """An answer in words, in its canonical spelling."""

    text: str


Answer = Scalar | Listing | Matrix | Relation | Words
