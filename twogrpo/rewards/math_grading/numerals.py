"""Numbers as they are written, read exactly."""

from __future__ import annotations

import re
from fractions import Fraction

_PLAIN_NUMBER = re.compile(
    r"\s*(?P<sign>[-+])?\s*(?P<value>\d+\.?\d*|\.\d+)(?:[eE](?P<exponent>[-+]?\d+))?"
    r"(?:\s*/\s*(?P<divisor>\d+(?:\.\d+)?))?\s*"
)


def number_of(text: str) -> Fraction | None:
    """The exact value of a plain decimal or fraction of integers ("-3/4", "1.5e3"), else None."""
    match = _PLAIN_NUMBER.fullmatch(text)
    if not match or len(text) > 400 or len(match["exponent"] or "") > 4:
        return None
    value = Fraction((match["value"] or "0").rstrip(".") if match["value"] != "." else "0")
    if match["exponent"]:
        value *= Fraction(10) ** int(match["exponent"])
    if match["divisor"]:
        divisor = Fraction(match["divisor"])
        if not divisor:
            return None
        value /= divisor
    return -value if match["sign"] == "-" else value


def repeating_decimal(text: str) -> Fraction:
    r"""The value of a repeating decimal: ``0.1\overline{6}`` is 1/6."""
    whole, _, rest = text.partition(".")
    fixed, _, period = rest.partition(r"\overline")
    period = re.sub(r"\D", "", period)
    value = Fraction(int(whole + fixed or "0"), 10 ** len(fixed))
    return value + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
