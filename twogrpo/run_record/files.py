"""The files of a run's folder: how they are found, read and written."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twogrpo.config.identity import flatten
from twogrpo.config.output_folder import check_output_folder
from twogrpo.config.renamed import REMOVED, RENAMED
from twogrpo.errors import ConfigError
from twogrpo.run_record.inputs import are_inputs, check_plain
from twogrpo.run_record.rows import check_rows

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
FAILED_RANK_FILE = "failed_rank"
PACKED = ".gz"
FINAL_OF = "trained_by.json"  # in final/, the identity of the run
LEFT_OUT = "left_out.csv"  # the first file of a report
# By one of these a report is known: of `analysis.all` or a part of it, a study, the theory.
REPORT = (LEFT_OUT, "yours_beside_ours.csv", "cells.csv", "expected_advantage.csv", "what_if.csv")
# The types of the values in run.json that its readers rely on; those of a section that is there.
REQUIRED: tuple[str, ...] = (
    *("run_id", "identity", "code", "status", "config.seed"),
    *("config.model.name", "config.dataset.name", "config.evaluation.name"),
)
TYPES: dict[str, type] = dict.fromkeys(REQUIRED, str) | {
    "commit": str,
    "versions": dict,
    "hardware": dict,
    "hardware.num_gpus": int,
    "summary": dict,
    "config.seed": int,
    "config.run_name": str,
    "config.model.path": str,
    "config.model.lora.learning_rate_scale": float,
    "config.dataset.num_prompts": int,
    "config.evaluation.benchmarks": list,
    "config.evaluation.num_samples": int,
    "config.algorithm.name": str,
    "config.algorithm.group_size": int,
    "config.algorithm.minibatch_scale": int,
    "config.algorithm.learning_rate_scale": float,
    "config.training.prompts_per_step": int,
    "config.training.prompts_per_minibatch": int,
    "config.training.learning_rate": float,
    "config.reward": dict,
    "config.tracking": dict,
}


def run_folders(root: Path) -> list[Path]:
    """The folders of runs at and below `root`, in the order of their names."""
    return [file.parent for file in sorted(root.rglob(RUN_FILE))]


def is_run_folder(folder: Path) -> bool:
    """Whether a run was recorded there."""
    return os.path.lexists(folder / RUN_FILE)


def check_report_folder(key: str, name: str) -> Path:
    """Returns the folder; raises ConfigError if it is somebody else's (`check_output_folder`)."""
    check_output_folder(key, os.path.realpath(name), marks=REPORT)
    return Path(name)


def read_run_file(folder: Path, *, required: Sequence[str] = REQUIRED) -> dict[str, Any]:
    """Returns `run.json`, its configuration under today's keys; empty where there is none.

    The file must have a value for each of the dotted keys in `required`.

    Raises:
        ConfigError: the file is damaged, or is not a run's.
    """
    path = folder / RUN_FILE
    if not is_run_folder(folder):
        return {}
    about = read_json(path)
    try:
        if isinstance(about.get("config"), dict):
            about["config"] = with_current_keys(about["config"])
        check_run_file(about, required=required)
    except ValueError as error:
        raise _unreadable(path, error) from error
    return about


def check_run_file(about: Mapping[str, Any], *, required: Sequence[str] = REQUIRED) -> None:
    """Raises ValueError if the content of a `run.json` lacks a value or has one of another type."""
    for key, kind in {**dict.fromkeys(required, object), **TYPES}.items():
        value: Any = about
        for place, name in enumerate(key.split(".")):
            if not isinstance(value, Mapping):
                raise ValueError(f"{'.'.join(key.split('.')[:place])} is no object")
            value = value.get(name)
            if value is None:
                break
        if value is None and key in required:
            raise ValueError(f"it has no {key}")
        kinds = (int, float) if kind is float else kind
        is_bool = isinstance(value, bool)
        if value is not None and (is_bool or not isinstance(value, kinds)):
            raise ValueError(f"{key}={value!r} is no {kind.__name__}")
    if not are_inputs(about.get("inputs", {})):  # an older run has none
        raise ValueError("inputs has no hash of each file")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Returns the rows of `metrics.jsonl` in the order of their steps; none without the file.

    Raises:
        ConfigError: a row is damaged, missing or there twice.
    """
    path = folder / METRICS_FILE
    rows = read_lines(path)
    try:
        check_rows(rows)
    except ValueError as error:
        raise _unreadable(path, error) from error
    return rows


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the objects in a file of JSON lines; none without the file.

    A record in `results/` has the file compressed, with `.gz` after its name. A killed process may
    leave half a line at the end: it is skipped, its step is done again.

    Raises:
        ConfigError: a line is damaged.
    """
    packed = path.with_name(path.name + PACKED)
    path = path if os.path.lexists(path) or not os.path.lexists(packed) else packed
    if not os.path.lexists(path):
        return []
    try:
        check_plain(path)
        content = path.read_bytes()
        *lines, _ = (gzip.decompress(content) if path == packed else content).split(b"\n")
        return [_object(line, f"line {number}: ") for number, line in enumerate(lines, 1)]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _unreadable(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        ConfigError: there is no such file, or no JSON object in it.
    """
    try:
        check_plain(path)
        return _object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def refuse_interpolations(values: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError for a text that OmegaConf would resolve, perhaps to a secret of ours."""
    for key, value in flatten(dict(values)).items():
        if "${" in json.dumps(value):
            raise ConfigError(f"{where}: {key} has a ${{ in it, which is not a value: remove it")


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


def _object(content: bytes, where: str = "") -> dict[str, Any]:
    """The JSON object in the content; raises ValueError that begins with `where` or the line."""
    try:
        value = json.loads(content.decode())
    except json.JSONDecodeError as error:
        raise ValueError(f"{where or f'line {error.lineno}: '}{error.msg}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{where or f'line {line}: '}no UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 10,000 brackets
        raise ValueError(f"{where}{str(error).partition(';')[0]}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where}no JSON object")
    return value


def _unreadable(path: Path, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return ConfigError(
        f"{path} cannot be read ({reason}): restore it, give a new folder, or delete the run and "
        "train again"
    )
