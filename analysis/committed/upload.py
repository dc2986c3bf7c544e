"""Writes run records as offline W&B runs, which `wandb sync` sends to a project of yours.

python -m analysis.committed.upload runs=results/cpu/runs project=twogrpo
wandb sync --entity me runs/wandb_upload/*/wandb/offline-run-*

Needs no network and no account; sending does. A run keeps its id, so that sending it again adds
nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from analysis.exhibits.exhibit import arguments, guard
from analysis.records.readers import Record, read, read_offline
from twogrpo.errors import ConfigError
from twogrpo.run_record.wandb_mirror import Mirror


def upload(records: list[Record], out: Path, project: str) -> None:
    """Writes each record as an offline run below `out`.

    Raises:
        ConfigError: a record is damaged or unfinished, or W&B did not write all of it.
    """
    import wandb  # slow to import

    for record in records:
        if record.status != "finished" or record.fault:
            raise ConfigError(
                f"the record {record.where} is {record.status} ({record.fault or 'no end'}): "
                "restore it or let it finish"
            )
    for record in records:
        config: dict[str, Any] = record.about["config"]
        folder = out / record.run_id
        folder.mkdir(parents=True, exist_ok=True)
        mirror = Mirror(_as_config(config, folder, project), record.about)
        for step in sorted(record.rows):
            mirror.log(record.rows[step])
        mirror.finish(record.about.get("summary") or {})
        sys.stderr.write(f"{folder}\n")
    wandb.teardown()  # its own process writes the files: only when that has ended are they whole
    written = {twin.run_id: twin for twin in read_offline(out)}
    for record in records:
        twin = written.get(record.run_id)
        if twin is None or twin.status != "finished" or set(twin.rows) != set(record.rows):
            found = f"{twin.status}, {len(twin.rows)} rows" if twin else "nothing"
            raise ConfigError(f"{out / record.run_id}: W&B wrote {found}: delete it, type it again")


def _as_config(config: dict[str, Any], folder: Path, project: str) -> Any:
    """What the mirror reads of a configuration; an evaluation of a start model has no algorithm."""
    algorithm = config.get("algorithm") or {"name": "base", "group_size": 0}
    group = (config.get("tracking") or {}).get("wandb_group", project)
    return SimpleNamespace(
        run_name=config.get("run_name", folder.name),
        output_dir=str(folder),
        seed=config.get("seed", 0),
        algorithm=SimpleNamespace(**algorithm),
        tracking=SimpleNamespace(wandb_mode="offline", wandb_project=project, wandb_group=group),
    )


def main(argv: list[str]) -> None:
    """Runs the command."""
    given = arguments(argv, runs="results/cpu/runs", out="runs/wandb_upload", project="twogrpo")
    upload(read(given["runs"]), Path(given["out"]), given["project"])


if __name__ == "__main__":
    with guard():
        main(sys.argv[1:])
