"""Finds the program in a response."""

from __future__ import annotations

import re

_MAX_CHARS = 100_000
_MAX_QUOTES = 9
_BLANKS = re.compile(r"[ \t]*")
_LIST_ITEM = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*")
_PYTHON = re.compile(r"\W*py(?:thon)?[\d.]*(?![\w-])", re.IGNORECASE)
_CLOSING_TAGS = re.compile(r"(?:</\w{1,20}>\s*)*")


def extract_program(response: str) -> str | None:
    """The last fenced block in Python, else the last without a language; None if it is missing,
    blank or absurdly long.

    As in Markdown, a fence is three backticks or tildes, or more, and only a bare one at least as
    long closes a block. Its lines lose the marks of its quotation and the indentation of its fence,
    say that of a list. Unlike there, words or a tag may precede the fence of a block in Python
    ("<answer>```python"), a tag or colon that of one without a language, and tags may follow its
    end ("```</answer>").
    """
    python = unlabelled = label = fence = ""
    indent, num_quotes, lines = 0, 0, list[str]()
    for quoted in response.split("\n"):
        quotes = re.match(rf"(?:[ \t]*> ?){{0,{num_quotes if fence else _MAX_QUOTES}}}", quoted)
        assert quotes is not None  # as the next, it matches an empty text
        line = quoted[quotes.end() :]
        start = (_BLANKS if fence else _LIST_ITEM).match(line)
        assert start is not None
        before, marks, words = _split_at_marks(line, start.end())
        if fence:
            if marks.startswith(fence) and not before and _CLOSING_TAGS.fullmatch(words):
                text, fence = "\n".join([*lines, ""]), ""
                if text.strip() and _PYTHON.match(label):
                    python = text
                elif text.strip() and not label:
                    unlabelled = text
            else:
                lines.append(line[min(indent, start.end()) :])
        elif marks and not (marks[0] == "`" and "`" in words):
            is_tagged = before.rstrip("*_").endswith((">", ":")) and not words
            if not before or is_tagged or _PYTHON.fullmatch(words):
                fence, label, indent, lines = marks, words, start.end(), []
                num_quotes = quotes.group().count(">")
    program = python or unlabelled
    return program if program and len(program) <= _MAX_CHARS else None


def _split_at_marks(line: str, start: int) -> tuple[str, str, str]:
    """What stands before the first three backticks or tildes, these and more, and the rest.

    Without any, the marks are empty. Tildes before backticks count at `start` only.
    """
    at = -1 if line.startswith("~~~", start) else line.find("```", start)
    at = line.find("~~~", start) if at < 0 else at
    if at < 0:
        return line, "", ""
    rest = line[at:]
    words = rest.lstrip(rest[0])
    return line[start:at].rstrip(), rest[: len(rest) - len(words)], words.strip()
