"""Programs are rewarded for passing their tests."""

import json

import pytest

from twogrpo.rewards.code_execution.reward import CodeTests, extract_program, parse_tests
from twogrpo.rewards.code_execution.sandbox import Limits
from twogrpo.types import Verdict

ADD = json.dumps({"functional": "assert add(1, 2) == 3\nassert add(-1, 1) == 0"})
SQUARE = json.dumps({"inputs": ["3\n", "-4\n"], "outputs": ["9\n", "16"]})


@pytest.fixture(scope="module")
def reward():
    try:
        made = CodeTests(limits=Limits(wall_seconds=3))
    except ValueError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def fenced(program: str) -> str:
    return f"Here it is:\n```python\n{program}\n```\nDone."


@pytest.mark.parametrize(
    ("program", "reference", "reason"),
    [
        ("def add(a, b):\n    return a + b", ADD, "correct"),
        ("def add(a, b):\n    return a - b", ADD, "program_failed"),
        ("def add(a, b) return", ADD, "program_failed"),
        ("import sys; sys.exit(0)", ADD, "wrong"),
        ("import os; os._exit(0)", ADD, "wrong"),
        ("print('correct')\nraise SystemExit", ADD, "wrong"),
        ("import os\nprint()\nprint(open(0).readline(), flush=True)\nos._exit(0)", ADD, "wrong"),
        ("while True: pass", ADD, "program_timeout"),
        ("print(int(input()) ** 2)", SQUARE, "correct"),
        ("print(int(input()) ** 2, end='  \\n\\n')", SQUARE, "correct"),
        ("print(9)", SQUARE, "wrong"),
        ("print(int(input()) * 3)", SQUARE, "wrong"),
        ("while True: print('9' * 10**6)", SQUARE, "program_output"),
    ],
)
def test_verdicts_worked_by_hand(
    reward: CodeTests, program: str, reference: str, reason: str
) -> None:
    verdict = reward.grade([fenced(program)], [reference])[0]
    assert verdict == Verdict(float(reason == "correct"), reason == "correct", reason)


def test_the_last_block_is_the_program() -> None:
    assert extract_program("```python\na\n```\nno:\n```py\nb\n```") == "b\n"
    assert extract_program("```\n   \n```") is None
    assert extract_program("a = 1") is None


@pytest.mark.parametrize("reference", ["", "{}", "[1]", '{"inputs": ["1"], "outputs": []}'])
def test_a_reference_without_tests_raises(reference: str) -> None:
    with pytest.raises(ValueError, match="reference"):
        parse_tests(reference)
