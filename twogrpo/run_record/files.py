"""Reads and writes the files of a run's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's record."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_run_file(folder: Path) -> dict[str, Any]:
    """`run.json` of a run's folder; empty where there is none."""
    path = folder / "run.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write_atomically(path: Path, content: str) -> None:
    """All or nothing: written beside, flushed to disk, renamed."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
