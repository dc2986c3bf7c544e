"""Text that a model or a data set might hold to harm its reader, a sampler that writes it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

CLEARS_THE_SCREEN = "\x1b[2J\x1b[H"
LINK = "\x1b]8;;https://example.org\x1b\\click\x1b]8;;\x1b\\"
CLIPBOARD = "\x1b]52;c;cm0gLXJm\x07"
EIGHT_BIT = "\x9b2J\x9d52;c;cm0\x9c"  # the same as single characters of C1
FORGED_LINE = "\r\nWARNING: all is well\r"
BIDI = "\u202egnp.\u2066\u200f"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>&lt;|`"
MARKDOWN = "[x](javascript:alert(1)) ![y](https://example.org/pixel.png) [z][1]\n[1]: https://a.b"
FORMULAS = ["=cmd|'/C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1"]

ALL = [
    CLEARS_THE_SCREEN, LINK, CLIPBOARD, EIGHT_BIT, FORGED_LINE, BIDI, "\0", "\x07", "\b\x7f",
    "\u2028", MARKUP, MARKDOWN, *FORMULAS,
]  # fmt: skip


class Writes:
    """The tokens of a sampler with these texts in turn."""

    def __init__(self, inner: Any, texts: Iterator[str]) -> None:
        self.inner, self.texts = inner, texts

    def sample(self, prompts, seeds_PG, sampling):
        groups = self.inner.sample(prompts, seeds_PG, sampling)
        return [tuple(replace(r, text=next(self.texts)) for r in group) for group in groups]

    def __getattr__(self, name):
        return getattr(self.inner, name)


def is_harmless(shown: str) -> bool:
    """Whether no line holds anything that a terminal obeys."""
    return all(line.isprintable() for line in shown.split("\n"))
