r"""Splits LaTeX and calculator notation into tokens, and reads written numbers exactly."""

from __future__ import annotations

import re
from fractions import Fraction

from twogrpo.rewards.math_grading.latex_symbols import FUNCTIONS

_PLAIN_NAMES = sorted([*FUNCTIONS, "pi", "theta", "alpha", "beta", "gamma", "infty"], key=len)[::-1]
_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<repeating>\d*\.\d*\\overline\s*\{\d+\})"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+(?![\d.]))?)"
    r"|\\(?P<command>[A-Za-z]+)"
    rf"|(?P<name>{'|'.join(_PLAIN_NAMES)})"
    r"|(?P<letter>[A-Za-z]'*)"
    r"|(?P<sign>!!|[-+*/^_(){}\[\]|!%,])"
)
_PLAIN_NUMBER = re.compile(
    r"\s*(?P<sign>[-+])?\s*(?P<value>\d+\.?\d*|\.\d+)(?:[eE](?P<exponent>[-+]?\d+))?"
    r"(?:\s*/\s*(?P<divisor>\d+(?:\.\d+)?))?\s*"
)


class ParseError(ValueError):
    """The text is no expression that this parser knows."""


class Tokens:
    """A text as tokens, and the index of the next one.

    Raises:
        ParseError: no token begins with this character.
    """

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, bool]] = []  # kind, text, follows a space
        self.index = 0
        position, spaced = 0, False
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise ParseError(f"unknown character {text[position]!r}")
            if match.lastgroup != "space":
                self.tokens.append((match.lastgroup, match[match.lastgroup], spaced))
            spaced = match.lastgroup == "space"
            position = match.end()

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        """Returns kind and text of the next token, or of the one `ahead` tokens later."""
        index = self.index + ahead
        return self.tokens[index][:2] if index < len(self.tokens) else ("end", "")

    def accept(self, sign: str) -> bool:
        """Consumes the sign if it is next; says whether it was."""
        if self.peek() == ("sign", sign):
            self.index += 1
            return True
        return False

    def expect(self, sign: str) -> None:
        """Consumes the sign; raises ParseError if another token is next."""
        if not self.accept(sign):
            raise ParseError(f"{sign!r} expected, {self.peek()[1]!r} found")

    def subscript(self) -> str:
        """Consumes one token, or all within a pair of braces, and returns their text."""
        if not self.accept("{"):
            self.index += 1
            return self.peek(-1)[1]
        parts, depth = [], 1
        while depth:
            kind, text = self.peek()
            if kind == "end":
                raise ParseError("subscript without an end")
            self.index += 1
            depth += (text == "{") - (text == "}")
            parts.append(text)
        return "".join(parts[:-1]).strip()


def number_of(text: str) -> Fraction | None:
    """Returns the exact value of a decimal or fraction ("-3/4", "1.5e3"), else None."""
    match = _PLAIN_NUMBER.fullmatch(text)
    if not match or len(text) > 1_000 or len(match["exponent"] or "") > 4:
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
    r"""Returns the value of a repeating decimal; ``0.1\overline{6}`` is 1/6."""
    whole, _, rest = text.partition(".")
    fixed, _, period = rest.partition(r"\overline")
    period = re.sub(r"\D", "", period)
    value = Fraction(int(whole + fixed or "0"), 10 ** len(fixed))
    return value + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
