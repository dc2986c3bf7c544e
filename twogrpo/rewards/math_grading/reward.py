"""The reward of the paper's mathematics: 1 if the final answer equals the reference, else 0."""

from __future__ import annotations

from collections.abc import Sequence

from twogrpo.rewards.math_grading.grader import DEADLINE_SECONDS, Grader, SelfCheck
from twogrpo.types import Verdict

MIN_SELF_CHECK = 0.99


class MathAnswer:
    """Verifiable reward r in {0, 1} for mathematics (rule-based, no learned model).

    Example::

        reward = MathAnswer(num_workers=2)
        reward.grade(["so it is \\boxed{0.5}"], ["1/2"])  # [Verdict(1.0, "correct")]
        reward.close()
    """

    grades_truncated = True

    def __init__(self, *, num_workers: int = 2, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._grader = Grader(num_workers=num_workers, deadline_seconds=deadline_seconds)

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """One verdict a response, in order; an item beyond the deadline scores 0."""
        judgements = self._grader.judge(responses, references)
        return [Verdict(float(judged.equal), judged.reason) for judged in judgements]

    def self_check(self, references: Sequence[str]) -> SelfCheck:
        """Gold against gold; raises if under 99 % pass, since training would then teach noise."""
        check = self._grader.self_check(references)
        if check.passed_fraction < MIN_SELF_CHECK:
            raise ValueError(
                f"the verifier recognises {check.passed_fraction:.1%} of the gold answers "
                f"(at least {MIN_SELF_CHECK:.0%} wanted), not for instance {check.failed[:5]}: "
                "drop or rewrite these rows with scripts/prepare_data.py"
            )
        return check

    def close(self) -> None:
        """Ends the worker processes."""
        self._grader.close()
