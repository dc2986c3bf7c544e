"""Aligned text: sections, tables, marks."""

from __future__ import annotations

from collections.abc import Sequence

MARKS = {"ok": "✓", "warning": "!", "failure": "✗"}


def section(title: str, *parts: str) -> str:
    """A title, underlined, with its parts below."""
    return "\n".join([title, "─" * len(title), *(part for part in parts if part), ""])


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns as wide as their widest cell; the first `left` ones begin, the others end together.

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
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > 94:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "\n".join(f"  {part}" for part in [*lines, line])


def gib(num_bytes: float) -> str:
    """In GiB, small ones in MiB.

    >>> gib(3 * 2**30), gib(2**20)
    ('3.0 GiB', '1 MiB')
    """
    if abs(num_bytes) < 0.1 * 2**30:
        return f"{num_bytes / 2**20:.0f} MiB"
    return f"{num_bytes / 2**30:,.1f} GiB"


def duration(hours: float) -> str:
    """Hours, or seconds where they are few.

    >>> duration(8.531), duration(0.01)
    ('8.53 h', '36 s')
    """
    return f"{hours:,.2f} h" if hours >= 0.1 else f"{hours * 3600:.3g} s"
