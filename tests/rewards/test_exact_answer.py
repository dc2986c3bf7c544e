"""The embedded task's reward: the text after the last "=" is the answer."""

import pytest

from twogrpo.data.tasks.chain_arithmetic import problems, trace
from twogrpo.rewards.exact_answer import ExactAnswer
from twogrpo.rewards.protocol import CORRECT, NO_ANSWER, WRONG


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("4+5=9", CORRECT),
        ("9", CORRECT),  # a response without "=" is all answer
        ("1+1=2=9", CORRECT),  # only the last counts
        ("4+5=8", WRONG),
        ("9=8", WRONG),
        ("4+5=99", WRONG),
        ("4+5=9+", WRONG),
        ("4+5=", NO_ANSWER),
        ("", NO_ANSWER),
    ],
)
def test_verdicts_worked_by_hand(response, verdict):
    assert ExactAnswer().grade([response], ["9"]) == [verdict]


def test_every_reference_trace_is_correct():
    for problem in problems("rl_pool", 100, 0):
        response = trace(problem.text.removesuffix("="))
        assert ExactAnswer().grade([response], [problem.answer]) == [CORRECT]
