"""Sums and products in words: right answers, facts held out, the same on every machine."""

import itertools
import re
from collections import Counter

import pytest

from twogrpo.data.problems import Problem
from twogrpo.data.tasks.digit_arithmetic import (
    BENCHMARKS,
    NUMBER_WORDS,
    SPLITS,
    Fact,
    part,
    problems,
)

# Sums have 15 * 16 / 2 = 120 facts, products 11 * 12 / 2 = 66. Test owns those from 70 % on: the
# last 36 (places 84 to 119) and 19 (47 to 65, since 46 / 66 is still under 70 %).
SUMS, PRODUCTS = 120, 66
TEST_SUMS, TEST_PRODUCTS = 36, 19


def everything(split: str) -> list[Problem]:
    with pytest.raises(ValueError, match=r"use (\d+) or fewer") as refusal:
        problems(split, 10**6, 0)
    most = int(re.findall(r"use (\d+) or fewer", str(refusal.value))[0])
    found = problems(split, most, 0)
    assert len({problem.problem_id for problem in found}) == most
    return found


def fact_of(problem: Problem) -> tuple[str, tuple[int, ...]]:
    """Operator and sorted numbers, read back from the words of a question."""
    text = problem.text
    for number, word in enumerate(NUMBER_WORDS):
        text = re.sub(rf"\b{word}\b", str(number), text)
    numbers = tuple(sorted(map(int, re.findall(r"\d+", text))))
    is_product = re.search(r"\*|times|each|Each|costs", text)
    return "*" if is_product else "+", numbers


@pytest.mark.parametrize("split", SPLITS)
def test_the_reference_is_what_the_words_ask(split):
    for problem in everything(split):
        operator, numbers = fact_of(problem)
        assert len(numbers) == (3 if split == "three_operands" else 2)
        wanted = sum(numbers) if operator == "+" else numbers[0] * numbers[1]
        assert problem.answer == str(wanted)
        assert problem.problem_id == f"{split}/{problem.text}"


def test_no_fact_of_training_is_validated_or_tested_in_any_words():
    facts = {split: {fact_of(problem) for problem in everything(split)} for split in SPLITS}
    held_out = set.union(*(facts[benchmark] for benchmark in BENCHMARKS))
    assert facts["rl_pool"].isdisjoint(facts["validation"] | held_out)
    assert facts["validation"].isdisjoint(held_out)
    # Every fact is somebody's, and all benchmarks of two numbers ask the same ones.
    two = {fact for fact in held_out if len(fact[1]) == 2}
    assert len(facts["rl_pool"] | facts["validation"] | two) == SUMS + PRODUCTS
    assert facts["sums"] | facts["products"] == facts["number_words"] == facts["word_problems"]


def test_benchmarks_share_no_question():
    texts = Counter(problem.text for split in SPLITS for problem in everything(split))
    assert set(texts.values()) == {1}


def test_shares_of_the_facts():
    sums = {fact_of(problem) for problem in everything("sums")}
    products = {fact_of(problem) for problem in everything("products")}
    assert (len(sums), len(products)) == (TEST_SUMS, TEST_PRODUCTS)
    trained = Counter(operator for operator, _ in map(fact_of, everything("rl_pool")))
    assert 0.6 < trained["+"] / trained.total() < 0.7  # 72 facts of sums to 40 of products


@pytest.mark.parametrize("operator", ["+", "*"])
def test_a_fact_and_its_mirror_belong_together(operator):
    for pair in itertools.combinations(range(2, 13), 2):
        assert part(Fact(operator, pair)) == part(Fact(operator, pair[::-1]))


def test_problems_are_the_same_on_every_machine():
    # Pinned: a change here changes every benchmark.
    assert [problem.text for problem in problems("sums", 2, 0)] == [
        "Calculate 6 + 1 and answer with the number only.",
        "Compute 14 + 10. Answer with the number only.",
    ]
    assert problems("validation", 5, 1) == problems("validation", 9, 1)[:5]
    assert problems("validation", 5, 1) != problems("validation", 5, 2)
    with pytest.raises(ValueError, match="split=train is unknown: use one of rl_pool"):
        problems("train", 1, 0)
