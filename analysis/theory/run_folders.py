"""Run folders as the theory reads them: the arm, its rows, its cached rollouts if it kept any."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.records.arms import arm_key
from analysis.theory import cached_rollouts
from analysis.theory.cached_rollouts import CachedGroup


@dataclass(frozen=True)
class Logged:
    """One run."""

    arm: str
    group_size: int
    folder: Path
    rows: list[dict[str, Any]]

    def groups(self) -> list[CachedGroup]:
        """Its cached rollouts in order; none if it kept none."""
        return (
            cached_rollouts.read(self.folder)
            if (self.folder / cached_rollouts.FILE).is_file()
            else []
        )


def read_runs(path: str) -> list[Logged]:
    """The training runs below a folder; "" gives none.

    Raises:
        ValueError: there is no run there.
    """
    if not path:
        return []
    found = [_read(file.parent) for file in sorted(Path(path).rglob("run.json"))]
    runs = [run for run in found if run is not None]
    if not runs:
        raise ValueError(f"runs={path}: no training run there; make some with scripts/train.py")
    return runs


def _read(folder: Path) -> Logged | None:
    about = json.loads((folder / "run.json").read_text())
    config, metrics = about["config"], folder / "metrics.jsonl"
    if "training" not in config or not metrics.is_file():  # an evaluation
        return None
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps = [row for row in rows if "reward/mean" in row]
    return Logged(arm_key(config), int(config["algorithm"]["group_size"]), folder, steps)
