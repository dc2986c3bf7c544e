"""The built-in task for a real language model: questions on sums and products of small numbers.

A prompt is ``What is 7 + 5? Answer with the number only.``, the reference ``12``. Every fact, a
pair of numbers with ``+`` or ``*``, belongs to one part: training, validation or test, and 7 + 5
to the same as 5 + 7. The five benchmarks pose the test facts as in training, in words and in
stories, and sums of three digits. All values are ours: the paper has no such task.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterator
from typing import Literal, NamedTuple

from twogrpo.data.problems import Problem

BENCHMARKS = ("sums", "products", "three_operands", "number_words", "word_problems")
VALIDATION = ("validation",)
SPLITS = ("rl_pool", *VALIDATION, *BENCHMARKS)

Operator = Literal["+", "*"]
# With single digits alone (55 and 36 facts) the policy soon memorised the training facts, and
# accuracy on held-out ones fell. Multiplying by 1 is no arithmetic, so products begin at 2 × 2.
NUMBERS: dict[Operator, range] = {"+": range(1, 16), "*": range(2, 13)}
# Percent of each operator's facts: the first 60 for training, 10 for validation, the rest for test.
LAST_PERCENT = {"rl_pool": 60, "validation": 70, "test": 100}

PHRASINGS = (
    "What is {}? Answer with the number only.",
    "Compute {}. Answer with the number only.",
    "Calculate {} and answer with the number only.",
    "How much is {}? Answer with the number only.",
)
NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen"),
)
OPERATOR_WORDS: dict[Operator, str] = {"+": "plus", "*": "times"}
STORIES: dict[Operator, tuple[str, ...]] = {
    "+": (
        "Anna has {} apples and buys {} more. How many apples does she have?",
        "A bus carries {} people and {} more get on. How many people are on the bus?",
        "Ben reads {} pages today and {} pages tomorrow. How many pages does he read?",
    ),
    "*": (
        "There are {} boxes with {} pens each. How many pens are there?",
        "Each of {} children eats {} grapes. How many grapes do they eat?",
        "A ticket costs {} dollars. How many dollars do {} tickets cost?",
    ),
}


class Fact(NamedTuple):
    """One operation with its numbers, in the order of the question."""

    operator: Operator
    numbers: tuple[int, ...]

    @property
    def answer(self) -> int:
        """
        >>> Fact("*", (7, 5)).answer
        35
        """
        return sum(self.numbers) if self.operator == "+" else math.prod(self.numbers)

    @property
    def expression(self) -> str:
        """
        >>> Fact("+", (7, 5, 1)).expression
        '7 + 5 + 1'
        """
        return f" {self.operator} ".join(map(str, self.numbers))


def problems(split: str, count: int, seed: int) -> list[Problem]:
    """The first ``count`` problems of a split in this seed's order.

    They are the same on every machine, and a prefix of those of a larger ``count``. Splits share
    no problem, and a fact of `rl_pool` is in no other split, whatever the phrasing.

    Raises:
        ValueError: the split is unknown, or has fewer problems.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split} is unknown: use one of {', '.join(SPLITS)}")
    found = [Problem(f"{split}/{text}", text, str(fact.answer)) for text, fact in _questions(split)]
    if count > len(found):
        raise ValueError(
            f"count={count} exceeds the distinct problems of split={split}: "
            f"use {len(found)} or fewer"
        )
    random.Random(f"{split}/{seed}").shuffle(found)  # a string seed is hashed by SHA-512
    return found[:count]


def part(fact: Fact) -> str:
    """The part that owns a fact of two numbers in either order: `rl_pool`, `validation` or `test`.

    The facts of an operator are ranked by a hash and cut at `LAST_PERCENT`, so every part has its
    share of each operator, and none depends on which problems are drawn.
    """
    pairs = itertools.combinations_with_replacement(NUMBERS[fact.operator], 2)
    ranked = sorted(
        (Fact(fact.operator, pair) for pair in pairs),
        key=lambda f: hashlib.sha256(f.expression.encode()).digest(),
    )
    place = ranked.index(Fact(fact.operator, tuple(sorted(fact.numbers))))
    percent = 100 * place / len(ranked)
    return next(name for name, last in LAST_PERCENT.items() if percent < last)


def _questions(split: str) -> Iterator[tuple[str, Fact]]:
    """Every question of a split, with its fact."""
    for fact in _facts(split):
        if split == "word_problems":
            yield from ((story.format(*fact.numbers), fact) for story in STORIES[fact.operator])
        else:
            asked = fact.expression
            if split == "number_words":
                words = (NUMBER_WORDS[number] for number in fact.numbers)
                asked = f" {OPERATOR_WORDS[fact.operator]} ".join(words)
            yield from ((phrasing.format(asked), fact) for phrasing in PHRASINGS)


def _facts(split: str) -> Iterator[Fact]:
    """The facts of a split, in every order of their numbers."""
    if split == "three_operands":
        return (Fact("+", numbers) for numbers in itertools.product(range(1, 10), repeat=3))
    operators: dict[str, tuple[Operator, ...]] = {"sums": ("+",), "products": ("*",)}
    owner = "test" if split in BENCHMARKS else split
    facts = (
        Fact(operator, numbers)
        for operator in operators.get(split, ("+", "*"))
        for numbers in itertools.product(NUMBERS[operator], repeat=2)
    )
    return (fact for fact in facts if part(fact) == owner)
