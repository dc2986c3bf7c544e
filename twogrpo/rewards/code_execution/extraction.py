"""Finds the program in a response."""

from __future__ import annotations

import re

_MAX_CHARS = 100_000
_BLANKS = re.compile(r"[ \t]*")
_LIST_ITEM = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*")
_PYTHON = re.compile(r"\W*py(?:thon)?[\d.]*(?![\w-])", re.IGNORECASE)


def extract_program(response: str) -> str | None:
    """The last fenced block in Python, else the last without a language; None if it is missing,
    blank or absurdly long.

    As in Markdown, a fence is three backticks or tildes, or more, and only a bare one at least as
    long closes a block. Its lines lose the indentation of its fence, say that of a list.
    """
    python = unlabelled = label = fence = ""
    indent, lines = 0, list[str]()
    for line in response.split("\n"):
        start = (_BLANKS if fence else _LIST_ITEM).match(line)
        assert start is not None  # both match an empty text
        rest = line[start.end() :]
        marks = rest[: len(rest) - len(rest.lstrip(rest[:1]))] if rest[:1] in ("`", "~") else ""
        words = rest[len(marks) :].strip()
        if not fence:
            if len(marks) >= 3 and not (marks[0] == "`" and "`" in words):
                fence, label, indent, lines = marks, words, start.end(), []
        elif marks.startswith(fence) and not words:
            text, fence = "\n".join([*lines, ""]), ""
            if text.strip() and _PYTHON.match(label):
                python = text
            elif text.strip() and not label:
                unlabelled = text
        else:
            lines.append(line[min(indent, start.end()) :])
    program = python or unlabelled
    return program if program and len(program) <= _MAX_CHARS else None
