"""The reward of the embedded task: the text after the last "=" of the response is the answer."""

from __future__ import annotations

from collections.abc import Sequence

from twogrpo.rewards.protocol import CORRECT, NO_ANSWER, WRONG, Example, Verifier
from twogrpo.types import Verdict


class ExactAnswer(Verifier):
    """1 if the text after the response's last "=" equals the reference, else 0.

    A response without "=" is a single step and is all answer. A truncated response is wrong.
    """

    example = Example(correct="3*2=6", wrong="3*2=5", reference="6")

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """One verdict per response, in order."""
        return [
            _verdict(response.rpartition("=")[2], reference)
            for response, reference in zip(responses, references, strict=True)
        ]


def _verdict(answer: str, reference: str) -> Verdict:
    if not answer:
        return NO_ANSWER
    return CORRECT if answer == reference else WRONG
