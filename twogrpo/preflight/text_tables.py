"""Aligned plain text: sections, tables, marks."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

MARKS = {"ok": "✓", "warning": "!", "failure": "✗"}


def section(title: str, *parts: str) -> str:
    """A title with its parts below and an empty line."""
    return "\n".join([title, *(part for part in parts if part), ""])


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns as wide as their widest cell; the first `left` ones are left-aligned, others right.

    >>> print(table(["arm", "h"], [["16-GRPO", "8.5"]]))
      arm        h
      16-GRPO  8.5
    """
    lines = [header, *rows] if any(header) else list(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def note(text: str) -> str:
    """A paragraph of at most 96 characters a line, indented."""
    return fill(text, 96, initial_indent="  ", subsequent_indent="  ", break_long_words=False,
                break_on_hyphens=False)  # fmt: skip


def gib(num_bytes: float) -> str:
    """Bytes in GiB, small numbers in MiB.

    >>> gib(3 * 2**30), gib(2**20)
    ('3.0 GiB', '1 MiB')
    """
    if abs(num_bytes) < 0.1 * 2**30:
        return f"{num_bytes / 2**20:.0f} MiB"
    return f"{num_bytes / 2**30:,.1f} GiB"
