"""The reward of short arithmetic in words: the last number of a finished response is the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from twogrpo.types import Verdict

# A sign counts only where a number begins ("3-7" ends in 7); commas may group thousands.
_NUMBER = re.compile(r"(?<![\w.])-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|[0-9]+")


class LastNumber:
    """1 if the last number of a finished response equals the reference, else 0.

    What lm-evaluation-harness calls "flexible extract" for GSM8K, so "7 + 5 = 12." is as right as
    "12". A response holds one such number however many it lists, so listing wins nothing, nor does
    repeating the question, whose last number is no answer; a response that was cut is wrong. An
    expression is not worked out: "7 + 5" says 5. That is why this is not `math_answer`, for which
    "7 + 5" equals 12.
    """

    grades_truncated = False

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """The verdicts, in order; raises ValueError for a reference that is no plain number."""
        return [
            _verdict(_NUMBER.findall(response), reference)
            for response, reference in zip(responses, references, strict=True)
        ]

    def close(self) -> None:
        """Holds nothing."""


def parse_number(reference: str) -> Decimal:
    """An answer to compare with; raises ValueError where it is no plain number.

    >>> parse_number("12.50")
    Decimal('12.50')
    """
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", reference):
        raise ValueError(f"{reference[:60]!r} is no plain number")
    return Decimal(reference)


def _verdict(numbers: list[str], reference: str) -> Verdict:
    if not numbers:
        return Verdict(0.0, "no_answer")
    is_right = Decimal(numbers[-1].replace(",", "")) == parse_number(reference)
    return Verdict(1.0, "correct") if is_right else Verdict(0.0, "wrong")
