"""Every table and figure from the records: `python -m analysis.all runs=runs out=results/cpu`."""

from __future__ import annotations

from pathlib import Path

from analysis import (
    claims,
    figure_1,
    figure_2,
    figure_4,
    figure_5,
    summary,
    table_1,
    table_3,
    table_4,
)
from analysis.exhibit import Build, command, write, write_csv
from analysis.runs import Runs

EXHIBITS: tuple[Build, ...] = (
    claims.build,
    table_1.build,
    figure_1.build,
    figure_2.build,
    table_3.build,
    table_4.build,
    figure_4.build,
    figure_5.build,
)


def main(runs: Runs, out: Path) -> None:
    """Writes all exhibits; a run folder is read once."""
    for build in EXHIBITS:
        write(build(runs), out)
    summary.write(runs, out)
    write_csv(runs.left_out, out / "left_out.csv")


if __name__ == "__main__":
    command(main)
