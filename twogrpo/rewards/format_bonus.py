"""A reward for the form of a response, added with a weight to the reward for its answer."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace

from twogrpo.rewards.protocol import Reward
from twogrpo.rewards.worker_pool import TIMEOUT, WorkerPool
from twogrpo.types import Verdict

# A user's expression on a model's text can take for ever; a good one takes microseconds.
DEADLINE_SECONDS = 2.0


class FormatBonus:
    """answer reward + `weight` where `pattern` is found in the response; the reason stays.

    An option: the paper has none. The advantage sees the sum; accuracy goes by the reason alone.
    The search runs in processes that can be killed; beyond its deadline nothing is found, which is
    told. Raises re.error where `pattern` is no regular expression.
    """

    def __init__(
        self,
        answer: Reward,
        *,
        weight: float,
        pattern: str,
        num_workers: int = 1,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        re.compile(pattern)
        self.grades_truncated = answer.grades_truncated
        self.answer = answer
        self._weight = weight
        self._pool = WorkerPool(
            num_workers=num_workers, deadline_seconds=deadline_seconds, pattern=pattern
        )

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """The verdicts on the answers, their rewards raised where the form is right."""
        verdicts = self.answer.grade(responses, references)
        found = self._pool.run([("", response, True) for response in responses])
        if num_late := found.count(TIMEOUT):
            sys.stderr.write(
                f"reward.format_pattern took over {self._pool.deadline_seconds:g} s on {num_late} "
                f"of {len(found)} responses, which get no bonus: give one without a repetition "
                "inside of another\n"
            )
        return [
            replace(verdict, reward=verdict.reward + self._weight * has_form.equal)
            for verdict, has_form in zip(verdicts, found, strict=True)
        ]

    def close(self) -> None:
        """Ends all workers."""
        self._pool.close()
        self.answer.close()
