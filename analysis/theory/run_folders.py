"""The training runs that the theory reads: arm, rows, and cached rollouts if there are any."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from analysis.records.readers import Record, read
from analysis.records.usable import defect
from twogrpo.errors import ConfigError
from twogrpo.run_record import rollouts
from twogrpo.run_record.arms import arm_key
from twogrpo.run_record.rollouts import CachedGroup
from twogrpo.run_record.rows import Row, training_rows


@dataclass(frozen=True)
class TrainingRun:
    """One training run; `rows` are its steps."""

    arm: str
    group_size: int
    folder: Path
    rows: list[Row]

    def groups(self) -> list[CachedGroup]:
        """Its cached rollouts in order; none if it kept none."""
        return rollouts.read(self.folder) if rollouts.has_rollouts(self.folder) else []


def read_runs(path: str) -> list[TrainingRun]:
    """The training runs below a folder; "" gives none.

    Raises:
        ConfigError: there is no training run, two are of one arm, or a record is damaged.
    """
    if not path:
        return []
    records = read(f"records:{path}")
    for record in records:
        fault = record.fault or defect(record.about, record.rows, record.pairs)
        if fault:
            raise ConfigError(f"runs={path}: {record.where} cannot be read ({fault})")
    runs = [_run(Path(path), record) for record in records if _is_training(record)]
    if not runs:
        raise ConfigError(f"runs={path}: no training run there; make some with scripts/train.py")
    for one, other in combinations(runs, 2):
        if one.arm == other.arm:
            raise ConfigError(
                f"runs={path}: {one.folder.name} and {other.folder.name} are both of arm "
                f"{one.arm}: give a folder with one run of each"
            )
    return runs


def _is_training(record: Record) -> bool:
    return "training" in record.about["config"] and bool(record.rows)


def _run(root: Path, record: Record) -> TrainingRun:
    config: dict[str, Any] = record.about["config"]
    return TrainingRun(
        arm=arm_key(config),
        group_size=int(config["algorithm"]["group_size"]),
        folder=root / record.where,
        rows=training_rows(record.rows.values()),
    )
