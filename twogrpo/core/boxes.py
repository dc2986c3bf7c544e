r"""Reads `\boxed{…}` in a text: the answer of a reference solution, or of a response.

It works on strings alone, in linear time.
"""

from __future__ import annotations

import re

BOX = re.compile(r"(?:\\|\b)(?:boxed|fbox)\s*|□\s*(?=\{)")
MAX_BOXES = 20
# Up to a blank or the end of the formula or sentence; a point within a number is neither.
_BARE = re.compile(r"(?:(?!\\[)\]])[^\s$.]|\.(?=\d))+")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""Returns (start, end, content) of the last 20 boxes; an unclosed one has empty content.

    Braces may be missing, as in TeX.

    >>> [content for _, _, content in boxes(r"$\boxed{\{1\}}$, $\fbox 2$ or $\boxed\frac12$.")]
    ['\\{1\\}', '2', '\\frac12']
    """
    found: list[tuple[int, int, str]] = []
    for match in list(BOX.finditer(text))[-MAX_BOXES:]:
        opening = match.end()
        if opening < len(text) and text[opening] == "{":
            end = _closing(text, opening)
            content = "" if end is None else text[opening + 1 : end]
            found.append((match.start(), len(text) if end is None else end + 1, content))
        elif text[match.start()] == "\\" and (bare := _BARE.match(text, opening)):
            content = bare.group().rstrip(",;:")
            found.append((match.start(), opening + len(content), content))
    return found


def _closing(text: str, opening: int) -> int | None:
    """Returns the index of the brace that closes the one at `opening`, ignoring escaped ones."""
    depth = 0
    for match in _BRACE.finditer(text, opening):
        if match.group() == "{":
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return None
