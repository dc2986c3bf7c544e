"""The files of a run's folder: how they are found, read and written."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from pathlib import Path
from typing import Any

from twogrpo.config.renamed import REMOVED, RENAMED
from twogrpo.errors import ConfigError

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
PACKED = ".gz"


def run_folders(root: Path) -> list[Path]:
    """The folders of runs at and below `root`, in the order of their names."""
    return [file.parent for file in sorted(root.rglob(RUN_FILE))]


def is_run_folder(folder: Path) -> bool:
    """Whether a run was recorded there."""
    return (folder / RUN_FILE).is_file()


def read_run_file(folder: Path) -> dict[str, Any]:
    """Returns `run.json`, its configuration under today's keys; empty where there is none.

    Raises:
        ConfigError: the file is damaged.
    """
    if not (folder / RUN_FILE).exists():
        return {}
    about = read_json(folder / RUN_FILE)
    if isinstance(about.get("config"), dict):
        about["config"] = with_current_keys(about["config"])
    return about


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Returns the rows of `metrics.jsonl` in the order of their writing; none without the file.

    Raises:
        ConfigError: a line is damaged.
    """
    return read_lines(folder / METRICS_FILE)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the objects in a file of JSON lines; none without the file.

    A record in `results/` has the file compressed, with `.gz` after its name. A killed process may
    leave half a line at the end: it is skipped, its step is done again.

    Raises:
        ConfigError: a line is damaged.
    """
    packed = path.with_name(path.name + PACKED)
    path = path if path.exists() or not packed.exists() else packed
    if not path.exists():
        return []
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path == packed else content).decode()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _unreadable(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        ConfigError: there is no such file, or no JSON object in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return content


def write_atomically(path: Path, content: str) -> None:
    """Writes all of the content or nothing: into a file next to it, flushed, then renamed."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def with_current_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the configuration of an old record under today's keys (twogrpo/config/renamed.py).

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


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{path} cannot be read ({error}): restore it or train again")
