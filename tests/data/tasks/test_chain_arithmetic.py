"""The embedded task: right reductions, disjoint splits, the same on every machine."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.data.tasks import chain_arithmetic
from twogrpo.data.tasks.chain_arithmetic import (
    BENCHMARKS,
    RECIPES,
    VALIDATION,
    Recipe,
    expressions,
    owner,
    problems,
    reduce_once,
    trace,
)

COUNT = 300


def sample(split: str, seed: int = 0, count: int = COUNT) -> list[str]:
    return [problem.text.removesuffix("=") for problem in problems(split, count, seed)]


def test_trace_worked_by_hand():
    # Parentheses 3*8 = 24 -> 4; then * from the left, 5*7 = 35 -> 5 and 5*9 = 45 -> 5; 4+5 = 9.
    assert trace("(3*8)+5*7*9") == "4+5*7*9=4+5*9=4+5=9"
    # - and + bind alike, so from the left: 2-5 = -3 -> 7, then 7+4 = 11 -> 1.
    assert trace("2-5+4") == "7+4=1"
    # Parentheses on the right still come first: 5+4 = 9, then 2-9 = -7 -> 3.
    assert trace("2-(5+4)") == "2-9=3"


def test_what_cannot_be_reduced_or_drawn_is_refused():
    with pytest.raises(ValueError, match="expression='7'"):
        reduce_once("7")
    with pytest.raises(ValueError, match="split=train is unknown: use one of warm_start"):
        next(expressions("train", 0))


@pytest.mark.parametrize("split", RECIPES)
def test_every_step_of_a_trace_has_python_s_value_modulo_ten(split):
    for expression in sample(split, count=100):
        for step in trace(expression).split("="):
            assert eval(step) % 10 == eval(expression) % 10


def test_splits_share_no_expression_whatever_the_seed():
    drawn = {split: set(sample(split, seed=0)) | set(sample(split, seed=1)) for split in RECIPES}
    for one, other in itertools.combinations(RECIPES, 2):
        assert drawn[one].isdisjoint(drawn[other])


@given(st.text(alphabet="0123456789+-*()", min_size=1))
def test_every_expression_has_an_owner_and_benchmarks_are_held_out_splits(expression):
    assert owner(expression) in RECIPES
    assert sum(recipe.owned_percent for recipe in RECIPES.values()) == 100
    assert set(BENCHMARKS) == set(RECIPES) - {"warm_start", "rl_pool", *VALIDATION}


def test_problems_are_the_same_on_every_machine():
    # Pinned: a change here changes every benchmark, and the start checkpoint with it.
    assert [problem.text for problem in problems("in_distribution", 3, 0)] == [
        "2-7*1*0=",
        "(0+5)+2*7+1=",
        "4*7-(6*4)+3=",
    ]
    assert problems("validation", 5, 1) == problems("validation", 9, 1)[:5]
    assert problems("validation", 5, 1) != problems("validation", 5, 2)


def test_a_problem_says_its_split_and_its_answer():
    for problem in problems("longer", 20, 3):
        assert problem.problem_id == "longer/" + problem.text.removesuffix("=")
        assert int(problem.answer) == eval(problem.text.removesuffix("=")) % 10
    assert len({problem.problem_id for problem in problems("longer", 200, 3)}) == 200


def test_each_split_is_shifted_as_its_name_says():
    operands = {split: [sum(map(str.isdigit, e)) for e in sample(split)] for split in RECIPES}
    assert set(operands["longer"]) == {6}
    assert set(operands["rl_pool"]) == set(operands["validation"]) == {3, 4, 5}
    assert set(operands["warm_start"]) == {2, 3, 4, 5, 6}
    assert all("(" in expression for expression in sample("parenthesised"))
    assert set("".join(sample("big_digits"))) <= set("6789+-*()")
    # 30 % of 300 is 90, standard deviation sqrt(300 * .3 * .7) = 7.9: four of them either way.
    assert 58 <= sum("(" in expression for expression in sample("rl_pool")) <= 122


def test_multiplication_is_twice_as_likely_as_each_other_operator():
    text = "".join(sample("multiplication", count=1000))
    # About 3,000 operators, expected shares 1/4, 1/4, 1/2 with standard deviations under 0.01.
    total = sum(text.count(operator) for operator in "+-*")
    assert text.count("*") / total == pytest.approx(0.5, abs=0.04)
    assert text.count("+") / total == pytest.approx(0.25, abs=0.04)


def test_problems_refuses_more_than_there_are(monkeypatch):
    monkeypatch.setattr(chain_arithmetic, "_MAX_REJECTED_DRAWS", 100)
    sums = Recipe(owned_percent=5, operands=(2, 2), operators="+")  # 100 sums in all
    monkeypatch.setitem(RECIPES, "in_distribution", sums)
    with pytest.raises(ValueError, match="count=101 exceeds the distinct problems"):
        problems("in_distribution", 101, 0)
