"""Sums and products in words: right answers, facts held out, the same on every machine."""

import re
from collections import Counter

import pytest

from twogrpo.data.digit_arithmetic import (
    BENCHMARKS,
    NUMBER_WORDS,
    SPLITS,
    Fact,
    part,
    problems,
)
from twogrpo.data.problems import Problem

# Of every split, by hand. Sums have 10 * 11 / 2 = 55 pairs of digits, products 8 * 9 / 2 = 36. Test
# owns the last 30 %: 16 and 10 pairs (places 39 to 54 and 26 to 35).
TEST_SUMS, TEST_PRODUCTS = 16, 10


def everything(split: str) -> list[Problem]:
    found: list[Problem] = []
    with pytest.raises(ValueError, match=r"use (\d+) or fewer") as refusal:
        problems(split, 10**6, 0)
    most = int(re.findall(r"use (\d+) or fewer", str(refusal.value))[0])
    found = problems(split, most, 0)
    assert len({problem.problem_id for problem in found}) == most
    return found


def fact_of(problem: Problem) -> tuple[str, tuple[int, ...]]:
    """Operator and sorted digits, read back from the words of a question."""
    text = problem.text
    for digit, word in enumerate(NUMBER_WORDS):
        text = re.sub(rf"\b{word}\b", str(digit), text)
    digits = tuple(sorted(map(int, re.findall(r"\d", text))))
    is_product = re.search(r"\*|times|each|Each|costs", text)
    return "*" if is_product else "+", digits


def test_facts_worked_by_hand():
    assert (Fact("+", (7, 5)).answer, Fact("*", (7, 5)).answer) == (12, 35)
    assert Fact("+", (7, 5, 1)).expression == "7 + 5 + 1"
    assert Fact("+", (7, 5, 1)).answer == 13


@pytest.mark.parametrize("split", SPLITS)
def test_the_reference_is_what_the_words_ask(split):
    for problem in everything(split):
        operator, digits = fact_of(problem)
        assert len(digits) == (3 if split == "three_operands" else 2)
        wanted = sum(digits) if operator == "+" else digits[0] * digits[1]
        assert problem.answer == str(wanted)
        assert problem.problem_id == f"{split}/{problem.text}"


def test_no_fact_of_training_is_validated_or_tested_in_any_words():
    facts = {split: {fact_of(problem) for problem in everything(split)} for split in SPLITS}
    held_out = set.union(*(facts[benchmark] for benchmark in BENCHMARKS))
    assert facts["rl_pool"].isdisjoint(facts["validation"] | held_out)
    assert facts["validation"].isdisjoint(held_out)
    # Every fact is somebody's, and all benchmarks of two digits ask the same ones.
    two = {fact for fact in held_out if len(fact[1]) == 2}
    assert len(facts["rl_pool"] | facts["validation"] | two) == 55 + 36
    assert facts["sums"] | facts["products"] == facts["number_words"] == facts["word_problems"]


def test_benchmarks_share_no_question():
    texts = Counter(problem.text for split in SPLITS for problem in everything(split))
    assert set(texts.values()) == {1}


def test_shares_of_the_facts():
    sums = {fact_of(problem) for problem in everything("sums")}
    products = {fact_of(problem) for problem in everything("products")}
    assert (len(sums), len(products)) == (TEST_SUMS, TEST_PRODUCTS)
    trained = Counter(operator for operator, _ in map(fact_of, everything("rl_pool")))
    assert 0.5 < trained["+"] / trained.total() < 0.7  # 33 pairs of sums to 22 of products


@pytest.mark.parametrize("operator", ["+", "*"])
def test_a_fact_and_its_mirror_belong_together(operator):
    for a in range(2, 10):
        for b in range(2, 10):
            assert part(Fact(operator, (a, b))) == part(Fact(operator, (b, a)))


def test_problems_are_the_same_on_every_machine():
    # Pinned: a change here changes every benchmark.
    assert [problem.text for problem in problems("sums", 2, 0)] == [
        "Calculate 9 + 8 and answer with the number only.",
        "Compute 7 + 3. Answer with the number only.",
    ]
    assert problems("validation", 5, 1) == problems("validation", 9, 1)[:5]
    assert problems("validation", 5, 1) != problems("validation", 5, 2)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split=train is unknown: use one of rl_pool"):
        problems("train", 1, 0)
