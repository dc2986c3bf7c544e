"""The reward that asks math-verify: its verdicts, and the deadline where math-verify hangs."""

import subprocess
import sys

import pytest

from twogrpo.rewards.math_verify import MathVerify
from twogrpo.types import Verdict

HANGS = r"\boxed{\int_0^{\infty} \sin(x^{x}) dx}"


@pytest.fixture(scope="module")
def reward():
    made = MathVerify(num_workers=2, deadline_seconds=3)
    yield made
    made.close()


def test_verdicts_are_in_order_and_a_hang_costs_its_deadline(reward: MathVerify) -> None:
    verdicts = reward.grade(
        [r"so \boxed{0.5}", r"\boxed{2}", "no idea", HANGS, r"\boxed{\frac{x^2-1}{x-1}}", "2+1"],
        ["1/2", "3", "3", "3", "x+1", "3"],
    )
    reasons = ["correct", "wrong", "no_answer", "verifier_timeout", "correct", "correct"]
    assert verdicts == [Verdict(float(r == "correct"), r == "correct", r) for r in reasons]


def test_the_self_check_reads_good_golds_and_names_bad_ones(reward: MathVerify) -> None:
    reward.self_check(["12", r"\frac{3}{4}", r"(-\infty, 2]", "x^2+1"])
    with pytest.raises(ValueError, match=r"recognises 50.0%"):
        reward.self_check(["12", ""])


def test_the_library_is_imported_in_workers_only() -> None:
    code = "import sys, twogrpo.rewards.build as b; sys.exit('math_verify' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
