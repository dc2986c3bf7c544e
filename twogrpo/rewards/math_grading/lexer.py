r"""The tokens of LaTeX and calculator notation: numbers, commands, names, letters, signs."""

from __future__ import annotations

import re

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


class Unreadable(ValueError):
    """The text is no expression that this parser knows."""


class Tokens:
    """A text cut into tokens, and the place in them that is read next.

    Raises:
        Unreadable: a character begins no token.
    """

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, bool]] = []  # kind, text, follows a space
        self.index = 0
        position, spaced = 0, False
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise Unreadable(f"unknown character {text[position]!r}")
            if match.lastgroup != "space":
                self.tokens.append((match.lastgroup, match[match.lastgroup], spaced))
            spaced = match.lastgroup == "space"
            position = match.end()

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        """Kind and text of the next token, or of one further on."""
        index = self.index + ahead
        return self.tokens[index][:2] if index < len(self.tokens) else ("end", "")

    def accept(self, sign: str) -> bool:
        """Takes the sign if it is next."""
        if self.peek() == ("sign", sign):
            self.index += 1
            return True
        return False

    def expect(self, sign: str) -> None:
        """Takes the sign; raises Unreadable if another token is next."""
        if not self.accept(sign):
            raise Unreadable(f"{sign!r} expected, {self.peek()[1]!r} found")

    def subscript(self) -> str:
        """The text of one token, or of all in a pair of braces."""
        if not self.accept("{"):
            self.index += 1
            return self.peek(-1)[1]
        parts, depth = [], 1
        while depth:
            kind, text = self.peek()
            if kind == "end":
                raise Unreadable("subscript without an end")
            self.index += 1
            depth += (text == "{") - (text == "}")
            parts.append(text)
        return "".join(parts[:-1]).strip()
