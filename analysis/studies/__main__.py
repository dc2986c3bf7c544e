"""Draws the studies: `python -m analysis.studies` from the committed records, results/studies/.

runs=         the folder or file with the runs of one study, instead
out=          the folder to write to; by default <runs>/report
allow_mixed=  true: take runs of different code or settings

The claims of the committed studies are written to results/studies/claims.csv.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from analysis.committed.records import RESULTS
from analysis.exhibits.exhibit import Exhibit, arguments, guard, truth, write
from analysis.records.frames import Runs
from analysis.records.readers import STUDY_FILE
from analysis.studies import (
    claims,
    controls,
    grpo_dpo,
    iso_compute,
    learning_rate,
    pair_of_16,
    zero_variance,
)
from analysis.studies.study import Study, cells_exhibit, load, name_of, study_of
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import check_report_folder

FIGURES: dict[str, Callable[[Study], list[Exhibit]]] = {
    "learning_rate": learning_rate.build,
    "iso_compute": iso_compute.build,
    "controls": controls.build,
    "zero_variance": zero_variance.build,
    "pair_of_16": pair_of_16.build,
    "grpo_dpo": grpo_dpo.build,
}


def draw(runs: Runs, out: Path, *, pages: bool = True) -> None:
    """Writes the exhibits of a study; without `pages` no figures.

    Raises:
        ConfigError: it is none of conf/study/.
    """
    name = study_name(runs)
    if name not in FIGURES:
        raise ConfigError(f"study {name} has no figure: use one of {', '.join(FIGURES)}")
    study = study_of(runs)
    for exhibit in [
        cells_exhibit(study),
        *FIGURES[name](study),
        claims.build({name: runs}, [name]),
    ]:
        write(exhibit if pages else replace(exhibit, figure=None), out)


def study_name(runs: Runs) -> str:
    """The name of the study of loaded runs."""
    [name] = {name_of(json.loads(c)) for c in runs.runs[runs.runs["arm"] != "base"]["config"]}
    return name


def committed() -> dict[str, Runs]:
    """The committed studies by name."""
    files = sorted(RESULTS.glob(f"studies/*/{STUDY_FILE}"))
    return {file.parent.name: load(str(file)) for file in files}


def draw_committed(out: Path, *, pages: bool = True) -> list[str]:
    """Writes the exhibits of all committed studies and their claims; returns the studies' names."""
    studies = committed()
    for name, runs in studies.items():
        draw(runs, out / name, pages=pages)
    if studies:
        every_claim = claims.build(studies)
        write(every_claim if pages else replace(every_claim, figure=None), out)
    return list(studies)


def main(argv: list[str]) -> None:
    """Runs the command.

    Raises:
        ConfigError: `out` without `runs`; see also `load`.
    """
    given = arguments(argv, runs="", out="", allow_mixed="false")
    if given["runs"]:
        is_mixed = truth("allow_mixed", given["allow_mixed"])
        source = Path(given["runs"])
        out = Path(given["out"] or (source.parent if source.is_file() else source) / "report")
        check_report_folder("out", str(out))
        draw(load(given["runs"], allow_mixed=is_mixed), out)
        sys.stderr.write(f"{out}\n")
        return
    if given["out"]:
        raise ConfigError(f"out={given['out']} without runs=: give both")
    found = draw_committed(RESULTS / "studies")
    sys.stderr.write(f"results/studies: {', '.join(found) or 'none is committed yet'}\n")


if __name__ == "__main__":
    with guard():
        main(sys.argv[1:])
