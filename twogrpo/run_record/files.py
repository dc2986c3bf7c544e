"""Reads and writes the files of a run's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twogrpo.config.renamed import REMOVED, RENAMED


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


def with_current_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an old record under today's keys (twogrpo/config/renamed.py).

    >>> with_current_keys({"training": {"prompts_per_generation": 128}, "seed": 0})
    {'training': {'prompts_per_step': 128}, 'seed': 0}
    """
    current = {name: dict(v) if isinstance(v, dict) else v for name, v in config.items()}
    for old in (*RENAMED, *REMOVED):
        section, _, key = old.partition(".")
        if not isinstance(current.get(section), dict) or key not in current[section]:
            continue
        value = current[section].pop(key)
        if old in RENAMED:
            new_section, _, new_key = RENAMED[old].partition(".")
            current.setdefault(new_section, {})[new_key] = value
    return current
