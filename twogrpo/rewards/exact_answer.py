"""The embedded task's reward: the text after the last "=" of the response is the answer."""

from __future__ import annotations

from collections.abc import Sequence

from twogrpo.types import Verdict


class ExactAnswer:
    """1 if the text after the response's last "=" equals the reference, else 0.

    A response of a single step has no "=": then it is all answer. One that was cut is wrong.
    """

    grades_truncated = False

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """The verdicts, in order."""
        return [
            _verdict(response.rpartition("=")[2], reference)
            for response, reference in zip(responses, references, strict=True)
        ]

    def close(self) -> None:
        """Holds nothing."""


def _verdict(answer: str, reference: str) -> Verdict:
    if not answer:
        return Verdict(0.0, "no_answer")
    return Verdict(1.0, "correct") if answer == reference else Verdict(0.0, "wrong")
