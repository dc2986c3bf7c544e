r"""Splits an answer at separators and signs that are outside all brackets."""

from __future__ import annotations

import re

SIGNS = re.compile(r"<=|>=|!=|=|<|>|\\(?:approx|equiv)(?![A-Za-z])")
SEPARATORS = re.compile(
    r"\\text\s*\{\s*,?\s*(?:and|or|&)\s*,?\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|[,;]|\\newline"
)


def split(text: str, pattern: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """Returns the pieces and separators of a text, split outside brackets and environments."""
    pieces, separators, depth, start, index = [], [], 0, 0, 0
    while index < len(text):
        match = pattern.match(text, index) if depth == 0 else None
        if match and match.end() > index:
            pieces.append(text[start:index])
            separators.append(match.group())
            start = index = match.end()
            continue
        if text.startswith((r"\begin", r"\langle", r"\lfloor", r"\lceil"), index):
            depth += 1
        elif text.startswith((r"\end", r"\rangle", r"\rfloor", r"\rceil"), index):
            depth -= 1
        elif text[index] in "([{":
            depth += 1
        elif text[index] in ")]}":
            depth -= 1
        index += 1
    return [*pieces, text[start:]], separators


def is_balanced(inner: str) -> bool:
    """Whether every closing bracket was opened before and every opened one is closed."""
    depth = 0
    for character in inner:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return False
    return depth == 0


def unbraced(text: str) -> str:
    """Removes TeX's grouping braces around the whole text, unless they look like a set."""
    while text.startswith("{") and text.endswith("}") and is_balanced(text[1:-1]):
        if len(split(text[1:-1], SEPARATORS)[0]) > 1 or not text[1:-1].strip():
            break
        text = text[1:-1].strip()
    return text
