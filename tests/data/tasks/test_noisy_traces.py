"""The careless pupil: each slip worked by hand, and as many slips as asked for."""

import random

import pytest

from twogrpo.data.tasks.chain_arithmetic import trace
from twogrpo.data.tasks.noisy_traces import corrupt_trace, forget_precedence, mistake_operation


def test_forget_precedence_goes_from_left_to_right():
    assert forget_precedence("4+5*7") == "9*7"  # 4+5 = 9 though 5*7 comes first
    assert forget_precedence("2*(3+8)-1") == "6+8-1"  # 2*3 = 6 though 3+8 comes first


def test_mistake_operation_does_the_right_one_wrongly():
    assert mistake_operation("7+4") == "2"  # 7+4+1 = 12
    assert mistake_operation("7-4") == "7"  # 4-7 = -3
    assert mistake_operation("7*4") == "1"  # 7+4 = 11
    assert mistake_operation("1+(7*4)") == "1+1"


def test_with_slips_only_every_step_is_wrong_in_either_way():
    written = {corrupt_trace("2+3*4", 1.0, random.Random(seed)) for seed in range(50)}
    # Step one: 2+3 = 5 out of turn, or 3*4 taken as 3+4 = 7. Step two has no precedence to
    # forget: 5*4 taken as 5+4, or 2+7 as 2+7+1.
    assert written == {"5*4=9", "2+7=0"}


def test_without_slips_or_where_no_slip_is_wrong_it_is_the_clean_trace():
    assert corrupt_trace("(3*8)+5*7*9", 0.0, random.Random(0)) == trace("(3*8)+5*7*9")
    assert corrupt_trace("2*2", 1.0, random.Random(0)) == "4"


@pytest.mark.parametrize("error_rate", [0.2, 0.6])
def test_slips_are_as_frequent_as_asked(error_rate):
    rng = random.Random(1)
    wrong = sum(corrupt_trace("4+4", error_rate, rng) == "9" for _ in range(4000))
    # Standard deviation at most sqrt(.4 * .6 / 4000) = 0.008: four of them.
    assert wrong / 4000 == pytest.approx(error_rate, abs=0.031)
