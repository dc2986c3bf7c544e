"""A reward for the form of a response, added with a weight to the reward for its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from twogrpo.records import Verdict
from twogrpo.rewards.protocol import Reward


class FormatBonus:
    """answer reward + `weight` where `pattern` is found in the response; the reason stays.

    An option: the paper has none. The advantage sees the sum; accuracy goes by the reason alone.
    """

    def __init__(self, answer: Reward, *, weight: float, pattern: str) -> None:
        self.grades_truncated = answer.grades_truncated
        self.answer = answer
        self._weight = weight
        self._pattern = re.compile(pattern, re.DOTALL)

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """The verdicts on the answers, their rewards raised where the form is right."""
        return [
            replace(verdict, reward=verdict.reward + self._weight * self._has_form(response))
            for verdict, response in zip(
                self.answer.grade(responses, references), responses, strict=True
            )
        ]

    def _has_form(self, response: str) -> bool:
        return self._pattern.search(response) is not None

    def close(self) -> None:
        """Ends the answer reward's workers."""
        self.answer.close()
