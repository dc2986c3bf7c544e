"""The reward of the paper's mathematics: 1 if the final answer equals the reference, else 0."""

from __future__ import annotations

from collections.abc import Sequence

from twogrpo.rewards.math_grading.judge import quick_verdict
from twogrpo.rewards.protocol import Example
from twogrpo.rewards.worker_pool import PooledVerifier, Task
from twogrpo.types import Verdict


class MathAnswer(PooledVerifier):
    r"""A verifiable reward r in {0, 1} for mathematics.

    Simple pairs are judged here and the rest in workers; equal pairs of one call are judged once.

    Example::

        reward = MathAnswer(num_workers=2)
        reward.grade(["so it is \\boxed{0.5}"], ["1/2"])  # [Verdict(1.0, True, "correct")]
        reward.close()
    """

    module = "twogrpo.rewards.math_grading.judge"
    example = Example(r"so \boxed{\frac{1}{2}}", r"so \boxed{\frac{1}{3}}", "0.5")
    prompt_templates = ("qwen25_math", "chat_boxed", "r1_distill", "think_boxed")

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """One verdict per response, in order; a pair beyond the deadline gets reward 0."""
        pairs = list(zip(references, responses, strict=True))
        verdicts = {pair: quick_verdict(*pair) for pair in dict.fromkeys(pairs)}
        hard = [pair for pair, verdict in verdicts.items() if verdict is None]
        tasks: list[Task] = [{"reference": a, "response": b} for a, b in hard]
        verdicts.update(zip(hard, self._pool.run(tasks), strict=True))
        return [verdict for pair in pairs if (verdict := verdicts[pair]) is not None]

    def _self_check_task(self, reference: str) -> Task:
        # Identical text does not count: a gold passes if it can be parsed and compared, so that
        # another spelling of it can be recognised.
        return {**super()._self_check_task(reference), "literal": False}
