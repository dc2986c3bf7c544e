"""The embedded task's reward: the text after the last "=" is the answer."""

import pytest

from twogrpo.data.tasks.chain_arithmetic import problems, trace
from twogrpo.rewards.exact_answer import ExactAnswer
from twogrpo.types import Verdict


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("4+5=9", Verdict(1.0, "correct")),
        ("9", Verdict(1.0, "correct")),  # a single step is all answer
        ("1+1=2=9", Verdict(1.0, "correct")),  # only the last counts
        ("4+5=8", Verdict(0.0, "wrong")),
        ("9=8", Verdict(0.0, "wrong")),
        ("4+5=99", Verdict(0.0, "wrong")),
        ("4+5=9+", Verdict(0.0, "wrong")),
        ("4+5=", Verdict(0.0, "no_answer")),
        ("", Verdict(0.0, "no_answer")),
    ],
)
def test_verdicts_worked_by_hand(response, verdict):
    assert ExactAnswer().grade([response], ["9"]) == [verdict]


def test_verdicts_keep_their_order():
    verdicts = ExactAnswer().grade(["1", "2", "3"], ["1", "3", "3"])
    assert [verdict.reward for verdict in verdicts] == [1, 0, 1]


def test_every_reference_trace_is_correct():
    for problem in problems("rl_pool", 100, 0):
        response = trace(problem.text.removesuffix("="))
        [verdict] = ExactAnswer().grade([response], [problem.answer])
        assert verdict.reward == 1


def test_a_response_without_a_reference_is_our_mistake():
    with pytest.raises(ValueError):
        ExactAnswer().grade(["1", "2"], ["1"])
