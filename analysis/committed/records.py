"""The records in the repository: which there are, how a run becomes one, and with what code.

results/<scale>/runs/<run>/run.json           configuration, provenance, summary
results/<scale>/runs/<run>/metrics.jsonl.gz   one row a step, and the final evaluation
results/<scale>/runs/<run>/pairs.jsonl.gz     some right and wrong responses to read
results/<scale>/runs/<run>/evaluation/        every sample's verdict
results/<scale>/                              what `make figures` builds from them
results/studies/<study>/records.jsonl.xz      the runs of a study, thinned, in one file
results/theory/code.json, …                   the code of results that are not from run records
"""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.records.frames import Runs, load
from analysis.records.readers import STUDY_FILE, read_folders, read_study
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import (
    METRICS_FILE,
    PACKED,
    RUN_FILE,
    read_json,
    read_run_file,
    run_folders,
)
from twogrpo.run_record.provenance import ROOT
from twogrpo.run_record.rollouts import PAIRS_FILE

RESULTS = ROOT / "results"
CODE_FILE = "code.json"
# Of a run's folder, what a record keeps as it is: no weights, no checkpoint, no mirror.
KEPT = (RUN_FILE, "evaluation/samples.parquet")
# The columns of a row, by how they begin, that the exhibits of a study are made of.
STUDY_COLUMNS = (
    *("step", "reward/mean", "groups/contrastive_share", "policy/entropy", "policy/kl_from_start"),
    *("validation/", "evaluation/", "rollouts/", "tokens/", "seconds/", "cpu_seconds/"),
)


def sources() -> list[str]:
    """The folders of committed records, relative to the working directory where they are below it.

    Raises:
        ConfigError: there is none.
    """
    folders = sorted(RESULTS.glob("*/runs"))
    if not folders:
        raise ConfigError(f"{RESULTS} has no records (<scale>/runs): restore it, or give runs=…")
    here = Path.cwd()
    return [str(f.relative_to(here) if f.is_relative_to(here) else f) for f in folders]


def load_committed(folder: Path) -> Runs:
    """The runs of a folder of committed records.

    Raises:
        ConfigError: a record is damaged.
        ConfigError: see `load`.
    """
    runs = load(str(folder))
    refuse_damaged(runs, folder)
    return runs


def refuse_damaged(runs: Runs, folder: Path) -> None:
    """Raises ConfigError if a committed run was left out: all of them count."""
    for where, reason in zip(runs.excluded["where"], runs.excluded["reason"], strict=True):
        raise ConfigError(
            f"{folder}: the record {where} cannot be used ({reason}): restore it with git checkout"
        )


def pack(runs: Path, out: Path) -> None:
    """Writes the record of every run below `runs` to `out`, byte for byte the same each time."""
    for folder in run_folders(runs):
        target = out / folder.relative_to(runs)
        for name in KEPT:
            if (folder / name).exists():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, target / name)
        about = (target / RUN_FILE).read_text(encoding="utf-8")
        (target / RUN_FILE).write_text(_portable(about), encoding="utf-8")
        for file in (folder / METRICS_FILE, folder / PAIRS_FILE):
            if file.exists():
                packed = gzip.compress(file.read_bytes(), mtime=0)
                (target / (file.name + PACKED)).write_bytes(packed)


def _portable(text: str) -> str:
    """The text with the paths of this checkout as those of any."""
    return text.replace(f'"{ROOT}/', '"')


def pack_study(runs: Path, file: Path) -> None:
    """Writes the runs below `runs` into one file, a line each: run.json, and the `STUDY_COLUMNS` of
    each row, to five digits where they are no evaluation's.

    A study has a hundred runs and more, of which the exhibits need no sample and no pair.
    """
    lines = []
    for record in read_folders(runs):
        rows = [
            {name: _short(name, row[name]) for name in row if name.startswith(STUDY_COLUMNS)}
            for _, row in sorted(record.rows.items())
        ]
        line = {"where": record.where, "about": record.about, "rows": rows}
        lines.append(_portable(json.dumps(line)))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(lzma.compress("".join(line + "\n" for line in lines).encode()))


def _short(name: str, value: Any) -> Any:
    is_short = isinstance(value, float) and not name.startswith("evaluation/")
    return float(f"{value:.5g}") if is_short else value


def made_with(result: Path) -> list[dict[str, Any]]:
    """What a result folder says of its code: commit, whether it was edited, hash, date; each once.

    It is said by the run records, a `code.json`, an evaluation's card, or a column `commit`.
    """
    made = [read_run_file(folder) for folder in run_folders(result / "runs")]
    made += [r.about for file in sorted(result.rglob(STUDY_FILE)) for r in read_study(file)]
    made += [read_json(file) for file in sorted(result.glob(CODE_FILE))]
    made += [read_json(file)["about"] for file in sorted(result.glob("card.json"))]
    if not made:
        tables = [pd.read_csv(file) for file in sorted(result.glob("*.csv"))]
        found = [rows["commit"].dropna() for rows in tables if "commit" in rows]
        made = [{"commit": commit} for commits in found[:1] for commit in commits.unique()]
    keys = ("commit", "commit_is_dirty", "code")
    unique = {tuple(str(about.get(key)) for key in keys): about for about in made}
    return [unique[key] for key in sorted(unique)]
