"""The reward of short arithmetic in words: the last number of a response is its answer."""

import re

import pytest

from twogrpo.data.tasks.digit_arithmetic import SPLITS, problems
from twogrpo.rewards.last_number import LastNumber
from twogrpo.rewards.protocol import CORRECT, NO_ANSWER, WRONG


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("12", CORRECT),
        (" 12.", CORRECT),
        ("12.0", CORRECT),
        ("7 + 5 = 12.\n", CORRECT),
        ("The answer is **12** apples!", CORRECT),
        ("$12", CORRECT),
        ("7+5=12", CORRECT),
        ("7 + 5", WRONG),  # repeats the question
        ("12 or 13", WRONG),
        ("10, 11, 12, 13", WRONG),  # only the last of a list counts
        ("12 = 7 + 5", WRONG),
        ("-12", WRONG),
        ("1.12", WRONG),
        ("112", WRONG),
        ("1,012", WRONG),
        ("12/2", WRONG),
        ("twelve", NO_ANSWER),
        ("", NO_ANSWER),
    ],
)
def test_verdicts_worked_by_hand(response, verdict):
    assert LastNumber().grade([response], ["12"]) == [verdict]


def test_signs_thousands_and_long_numbers():
    verdicts = LastNumber().grade(["3-7", "so -7", "1,012", "9" * 400], ["7", "-7", "1012", "9"])
    assert verdicts == [CORRECT, CORRECT, CORRECT, WRONG]


@pytest.mark.parametrize("split", SPLITS)
def test_references_are_correct_and_repeated_questions_are_not(split):
    found = problems(split, 60, 0)
    references = [problem.answer for problem in found]
    assert set(LastNumber().grade(references, references)) == {CORRECT}
    echo = LastNumber().grade([problem.text for problem in found], references)
    # "0 + 3" ends in its answer; an echo is correct only for such sums with 0.
    for problem, verdict in zip(found, echo, strict=True):
        assert not verdict.reward or re.search(r"\b0\b|zero", problem.text)
