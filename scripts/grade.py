"""Grades JSON lines {"gold": …, "answer": …} from standard input; adds "correct" and "reason".

    printf '{"gold": "1/2", "answer": "so \\\\boxed{0.5}"}\n' | python scripts/grade.py

An answer may be bare or a full response. Lines keep their order and their other keys; blank lines
are skipped. Bad lines are reported on standard error and the exit code is then 2, but all good ones
are graded. This is the grader of `reward=math_answer`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from twogrpo.errors import in_one_line
from twogrpo.rewards.math_grading.reward import MathAnswer

_BATCH_LINES = 2_000


def main() -> int:
    """Returns the exit code: 0, or 2 if any line was bad."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.workers < 1 or not 0 < arguments.deadline < math.inf:
        parser.error("--workers must be 1 or more and --deadline positive and finite")
    reward = MathAnswer(num_workers=arguments.workers, deadline_seconds=arguments.deadline)
    num_bad = 0
    try:
        for rows, bad in _batches(sys.stdin.buffer):
            verdicts = reward.grade([r["answer"] for r in rows], [r["gold"] for r in rows])
            for row, verdict in zip(rows, verdicts, strict=True):
                _write({**row, "correct": verdict.is_correct, "reason": verdict.reason})
            sys.stdout.buffer.flush()
            num_bad += len(bad)
            for message in bad:
                print(message, file=sys.stderr)
    finally:
        reward.close()
    return 2 if num_bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds per item")
    return parser


def _batches(stream: BinaryIO) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
    """Yields the rows and error messages of up to _BATCH_LINES lines at a time."""
    rows: list[dict[str, Any]] = []
    bad: list[str] = []
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(line))
        except (ValueError, RecursionError) as error:
            bad.append(f"line {number}: bad line: {error}")
        if len(rows) + len(bad) >= _BATCH_LINES:
            yield rows, bad
            rows, bad = [], []
    yield rows, bad


def _row(line: bytes) -> dict[str, Any]:
    row = json.loads(line.decode("utf-8"))
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, got {type(row).__name__}")
    for key in ("gold", "answer"):
        if not isinstance(row.get(key), str):
            raise ValueError(f'"{key}" must be a string')
    return row


def _write(row: dict[str, Any]) -> None:
    # ASCII only: an answer may contain half a surrogate pair or a terminal control sequence.
    sys.stdout.buffer.write(json.dumps(row).encode("ascii") + b"\n")


if __name__ == "__main__":
    with in_one_line():
        sys.exit(main())
