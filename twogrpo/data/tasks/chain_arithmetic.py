"""The built-in task: order of operations in Z/10, worked out step by step.

A prompt is ``(3*8)+5*7*9=``. The correct response is its written reduction,
``4+5*7*9=4+5*9=4+5=9``, then the end token; the answer follows the last ``=``.
Every operand and every result is one digit, so a character is a token and an expression is a
plain string. The five benchmarks are shifted distributions in place of the paper's five.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twogrpo.data.problems import Problem

MODULUS = 10


@dataclass(frozen=True)
class Recipe:
    """A split's distribution of expressions, and the percentage of all expressions it owns; one
    that owns none draws from those of `owner`."""

    owned_percent: int = 0
    owner: str | None = None
    operands: tuple[int, int] = (3, 5)  # minimum and maximum, uniform in between
    digits: str = "0123456789"
    operators: str = "+-*"  # a repeated symbol is drawn more often
    parenthesised_fraction: float = 0.3


# All values are ours: the paper has no such task.
RECIPES: dict[str, Recipe] = {
    "warm_start": Recipe(owned_percent=40, operands=(2, 6), parenthesised_fraction=0.5),
    "rl_pool": Recipe(owned_percent=25),
    "validation": Recipe(owned_percent=10),
    # Out of distribution; by their length none of them is in `validation`.
    "validation_longer": Recipe(owner="validation", operands=(6, 6)),
    "in_distribution": Recipe(owned_percent=5),
    "longer": Recipe(owned_percent=5, operands=(6, 6)),
    "parenthesised": Recipe(owned_percent=5, parenthesised_fraction=1.0),
    "multiplication": Recipe(owned_percent=5, operators="+-**"),
    "big_digits": Recipe(owned_percent=5, digits="6789"),
}
VALIDATION = ("validation", "validation_longer")
BENCHMARKS = ("in_distribution", "longer", "parenthesised", "multiplication", "big_digits")

# In order of precedence; within a pattern the leftmost match is reduced.
_REDEXES = tuple(map(re.compile, (r"\(\d[-+*]\d\)", r"\d\*\d", r"\d[-+]\d")))
_MAX_REJECTED_DRAWS = 10_000  # in a row, before the split counts as exhausted


def problems(split: str, count: int, seed: int) -> list[Problem]:
    """The first ``count`` distinct problems of a split's stream for this seed.

    They are the same on every machine, and a prefix of those of a larger ``count``. Splits share
    no expression, whatever their counts and seeds (see `owner`).

    Raises:
        ValueError: the split is unknown, or has fewer distinct problems.
    """
    found: dict[str, Problem] = {}
    rejected = 0
    stream = expressions(split, seed)
    while len(found) < count:
        expression = next(stream)
        rejected = rejected + 1 if expression in found else 0
        if rejected > _MAX_REJECTED_DRAWS:
            raise ValueError(
                f"count={count} exceeds the distinct problems of split={split}: "
                f"use {len(found)} or fewer"
            )
        if expression not in found:
            answer = trace(expression)[-1]
            found[expression] = Problem(f"{split}/{expression}", f"{expression}=", answer)
    return list(found.values())


def expressions(split: str, seed: int) -> Iterator[str]:
    """An endless stream of the split's own expressions, with repetitions."""
    if split not in RECIPES:
        raise ValueError(f"split={split} is unknown: use one of {', '.join(RECIPES)}")
    rng = random.Random(f"{split}/{seed}")  # a string seed is hashed by SHA-512, not by hash()
    while True:
        expression = _draw(RECIPES[split], rng)
        if owner(expression) == (RECIPES[split].owner or split):
            yield expression


def owner(expression: str) -> str:
    """The one split that may use this expression, by a stable hash of its characters.

    The splits are disjoint by construction: no exclusion list, no order of generation.
    """
    bucket = int.from_bytes(hashlib.sha256(expression.encode()).digest()[:8]) % 100
    for split, recipe in RECIPES.items():
        bucket -= recipe.owned_percent
        if bucket < 0:
            return split
    raise AssertionError("the owned percentages do not sum to 100")


def operate(left: str, operator: str, right: str) -> str:
    """Computes ``left operator right`` in Z/10, digits in, digit out.

    >>> operate("3", "-", "5")
    '8'
    """
    a, b = int(left), int(right)
    return str({"+": a + b, "-": a - b, "*": a * b}[operator] % MODULUS)


def reduce_once(expression: str, *, operate: Callable[[str, str, str], str] = operate) -> str:
    """Carry out the operation that comes first: parentheses, then ``*``, then left to right.

    >>> reduce_once("4+5*7*9")
    '4+5*9'

    Raises:
        ValueError: no operation is left.
    """
    for redex in _REDEXES:
        if match := redex.search(expression):
            value = operate(*match.group().strip("()"))
            return expression[: match.start()] + value + expression[match.end() :]
    raise ValueError(f"expression={expression!r} has no operation left to carry out")


def trace(expression: str, *, step: Callable[[str], str] = reduce_once) -> str:
    """The written reduction down to one digit, steps joined by ``=``.

    >>> trace("(3*8)+5*7*9")
    '4+5*7*9=4+5*9=4+5=9'

    ``step`` carries out one operation; a noisy one writes a noisy trace.
    """
    steps = []
    while len(expression) > 1:
        expression = step(expression)
        steps.append(expression)
    return "=".join(steps)


def _draw(recipe: Recipe, rng: random.Random) -> str:
    """One expression: alternating digits and operators, at most one adjacent pair in ( )."""
    terms = rng.choices(recipe.digits, k=rng.randint(*recipe.operands))
    # Parentheses around a full two-operand expression would change nothing.
    if len(terms) > 2 and rng.random() < recipe.parenthesised_fraction:
        first = rng.randrange(len(terms) - 1)
        pair = f"({terms[first]}{rng.choice(recipe.operators)}{terms[first + 1]})"
        terms[first : first + 2] = [pair]
    return terms[0] + "".join(rng.choice(recipe.operators) + term for term in terms[1:])
