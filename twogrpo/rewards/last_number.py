"""The reward of short arithmetic in words: the last number of a finished response is the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from twogrpo.rewards.protocol import CORRECT, NO_ANSWER, WRONG, Example, Verifier
from twogrpo.types import Verdict

# A sign counts only where a number begins ("3-7" ends in 7); commas may group thousands.
_NUMBER = re.compile(r"(?<![\w.])-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|[0-9]+")


class LastNumber(Verifier):
    """1 if the last number of a finished response equals the reference, else 0.

    lm-evaluation-harness calls this "flexible extract" for GSM8K, so "7 + 5 = 12." is as correct as
    "12". A response has only one last number: a list of guesses wins nothing, and neither does a
    repeated question, whose last number is no answer. A truncated response is wrong. Expressions
    are not evaluated: "7 + 5" gives 5, whereas `math_answer` accepts it for 12.
    """

    example = Example(correct="it is 12.", wrong="it is 13.", reference="12")

    @staticmethod
    def check_reference(reference: str) -> None:
        """Raises ValueError unless the reference is a plain number."""
        parse_number(reference)

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """One verdict per response, in order; raises ValueError unless references are numbers."""
        return [
            _verdict(_NUMBER.findall(response), reference)
            for response, reference in zip(responses, references, strict=True)
        ]


def parse_number(reference: str) -> Decimal:
    """The value of a reference; raises ValueError unless it is a plain number.

    >>> parse_number("12.50")
    Decimal('12.50')
    """
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", reference):
        raise ValueError(f"{reference[:60]!r} is no plain number")
    return Decimal(reference)


def _verdict(numbers: list[str], reference: str) -> Verdict:
    if not numbers:
        return NO_ANSWER
    is_correct = Decimal(numbers[-1].replace(",", "")) == parse_number(reference)
    return CORRECT if is_correct else WRONG
