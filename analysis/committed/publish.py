"""Renews `results/<scale>` from finished runs: their records, then every table and figure.

python -m analysis.committed.publish scale=cpu            from runs/cpu
python -m analysis.committed.publish scale=studies/NAME   from runs/studies/NAME
python -m analysis.committed.publish scale=theory         from runs/theory/report

This is the one way into `results/`. A scale or a study is written next to the old folder and takes
its place at the end; the theory's files replace those of the same names. Runs of other code, of an
edited checkout, unfinished or damaged, are refused.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from analysis import all as every_exhibit
from analysis.committed.records import CODE_FILE, RESULTS, load_committed, pack, pack_study
from analysis.exhibits.exhibit import arguments, guard
from analysis.records.readers import STUDY_FILE
from analysis.studies import __main__ as studies
from analysis.studies.study import load as load_study
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import read_json, read_run_file, run_folders
from twogrpo.run_record.provenance import ROOT, code_hash

# What a result folder keeps in git; the others (.pdf, .tex, the pages) are built again.
COMMITTED = ("*.csv", "*.md", "*.png", "*.json", STUDY_FILE)


def planned(scale: str) -> set[str]:
    """The names of the run folders of a scale, or of a study (`studies/NAME`).

    Raises:
        ConfigError: there is no such scale or study.
    """
    study = scale.removeprefix("studies/")
    what = f"scale={scale}" if study == scale else f"study_name={study}"
    command = [sys.executable, "scripts/reproduce.py", what, "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    plan = done.stderr.decode()
    if done.returncode:
        raise ConfigError(plan.strip())
    return {Path(name).name for name in re.findall(r" output_dir=(\S+)$", plan, re.MULTILINE)}


def publish(runs: Path, result: Path, names: set[str]) -> None:
    """Renews `result` from the runs below `runs`.

    Args:
        names: the folders of the runs that must be there, and no others.

    Raises:
        ConfigError: a run is missing, not planned or unfinished, or was made by other code or an
            edited checkout.
    """
    folders = run_folders(runs)
    if not folders:
        raise ConfigError(f"{runs} holds no run: `make reproduce` first")
    if wrong := names ^ {folder.name for folder in folders}:
        raise ConfigError(
            f"{runs} must hold the planned runs alone; missing or not planned: "
            f"{', '.join(sorted(wrong))}"
        )
    for folder in folders:
        about = read_run_file(folder)
        _require_this_code(str(folder), about)
        if about["status"] != "finished":
            raise ConfigError(f"{folder} is {about['status']}: let it finish")
    new = result.with_name(result.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    if result.parent == RESULTS / "studies":
        pack_study(runs, new / STUDY_FILE)
        studies.draw(load_study(str(new / STUDY_FILE)), new)
    else:
        pack(runs, new / "runs")
        every_exhibit.main(load_committed(new / "runs"), new)
    _replace(result, new)


def publish_theory(report: Path, result: Path) -> None:
    """Renews `results/theory` from the folder that `make theory` wrote.

    Raises:
        ConfigError: it was made by other code or an edited checkout.
    """
    _require_this_code(str(report), read_json(report / CODE_FILE))
    for pattern in COMMITTED:
        for file in sorted(report.glob(pattern)):
            shutil.copyfile(file, result / file.name)


def _require_this_code(what: str, about: dict[str, object]) -> None:
    if about.get("code") != code_hash() or about.get("commit_is_dirty"):
        raise ConfigError(
            f"{what} is not of this commit's code ({about.get('code')} there, {code_hash()} here"
            f"{', edited' if about.get('commit_is_dirty') else ''}): commit, and run it again"
        )


def _replace(result: Path, new: Path) -> None:
    for file in new.iterdir():  # built again by `make figures`
        if file.is_file() and not any(file.match(pattern) for pattern in COMMITTED):
            file.unlink()
    (new / "report.md").unlink(missing_ok=True)
    old = result.with_name(result.name + ".old")
    if result.exists():
        result.rename(old)
    new.rename(result)
    shutil.rmtree(old, ignore_errors=True)


def main(argv: list[str]) -> None:
    """Runs the command."""
    given = arguments(argv, scale="", runs="")
    scale = given["scale"]
    if not scale or Path(scale).name != scale.removeprefix("studies/"):
        raise ConfigError(f"scale={scale}: give the name of a folder of runs/, as scale=cpu")
    runs = Path(given["runs"] or ROOT / "runs" / scale)
    if scale == "theory":
        publish_theory(runs / "report", RESULTS / scale)
    else:
        publish(runs, RESULTS / scale, planned(scale))
        if scale.startswith("studies/"):
            studies.main([])  # the claims of all studies


if __name__ == "__main__":
    with guard():
        main(sys.argv[1:])
