r"""Reads `\boxed{…}` in a text: the answer of a reference solution, or of a response.

It works on strings alone, in linear time.
"""

from __future__ import annotations

import re

BOX = re.compile(r"(?:\\|\b)(?:boxed|fbox)\s*|□\s*(?=\{)")
MAX_BOXES = 20
MAX_BARE = 1_000  # characters of a content without braces
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN = re.compile(r"\\(?:left|right)\s*\.?|\s+\{?|\\[A-Za-z]+|\\?.", re.DOTALL)
# The end of a formula or sentence; a point within a number is none.
_END = re.compile(r"\$|\\[)\]]|\.(?!\d)")
# What is not whole without that which follows it.
_OPERATOR = re.compile(
    r"[-+*/^_=<>]|\\(?:\$|sqrt|text[a-z]*|math[a-z]+|operatorname|(?:display|text)style|pm|mp|cdot"
    r"|times|div|le|ge|leq|geq|ne|neq|in|cup|cap)"
)


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""Returns (start, end, content) of the last 20 boxes; an unclosed one has empty content.

    Braces may be missing, as in TeX. The content then goes up to a blank, but not within brackets
    or before an argument; where the formula ends there, it is empty.

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
        elif text[match.start()] == "\\" and not _END.match(text, opening) and text[opening:]:
            content = _bare(text[opening : opening + MAX_BARE + 1])
            found.append((match.start(), opening + len(content), content))
    return found


def _bare(text: str) -> str:
    """The content without braces at the beginning of a text; empty if it has no end."""
    depth = missing = end = 0
    for match in _TOKEN.finditer(text):
        token, end = match.group(), match.start()
        if _END.match(text, end) and (depth == 0 or token != "."):
            break
        if token.isspace() and depth == missing == 0:
            break
        name = token.strip().removeprefix("\\")
        if name in ("{", "(", "[", "begin"):
            depth += 1
        elif name in ("}", ")", "]", "end"):
            if depth == 0:
                break
            depth -= 1
            missing -= depth == 0 and missing > 0 and name != "]"
        elif depth == 0 and name in ("frac", "dfrac", "tfrac"):
            missing = 2
        elif depth == 0 and _OPERATOR.fullmatch(token):
            missing = 1
        elif depth == 0 and missing and name and not name.startswith(("left", "right")):
            missing -= 1
    else:
        end = len(text)
    is_whole = depth == missing == 0 and end <= MAX_BARE
    return text[:end].rstrip(",;: ") if is_whole else ""


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
