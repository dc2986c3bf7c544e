"""Builds every table and figure from run records: `python -m analysis.all runs=runs/cpu`.

out=          the folder to write to; by default results/<last part of runs>
allow_mixed=  true: compare runs even of different code, data or settings
theory=       the folder of `python -m analysis.theory`, for Table 2 and two claims
"""

from __future__ import annotations

from pathlib import Path

from analysis.diagnostics import (
    budget_ledger,
    equal_budget_curves,
    resampling_cost,
    time_by_phase,
    training_dynamics,
)
from analysis.exhibits.exhibit import Build, command, write, write_csv
from analysis.paper import (
    claims,
    figure_1,
    figure_2,
    figure_3,
    figure_4,
    figure_5,
    table_1,
    table_2,
    table_3,
    table_4,
)
from analysis.records.frames import Runs
from analysis.report import report, summary

EXHIBITS: tuple[Build, ...] = (
    figure_1.build,
    table_1.build,
    figure_2.build,
    figure_3.build,
    figure_4.build,
    table_4.build,
    figure_5.build,
    table_3.build,
    equal_budget_curves.build,
    time_by_phase.build,
    resampling_cost.build,
    training_dynamics.build,
)


def main(runs: Runs, out: Path, *, theory: str = claims.THEORY) -> None:
    """Writes all exhibits, summary.md and the report."""
    exhibits = [build(runs) for build in EXHIBITS]
    exhibits.insert(2, claims.build(runs, theory=theory))  # after the headline's figure and table
    exhibits.append(budget_ledger.build(runs))
    covariance = table_2.read(Path(theory))
    if covariance is not None:
        exhibits.append(table_2.build(covariance))
    for exhibit in exhibits:
        write(exhibit, out)
    summary.write(runs, out, theory=theory)
    report.write(runs, exhibits, out, theory=theory)
    write_csv(runs.excluded, out / "left_out.csv")


if __name__ == "__main__":
    command(main, theory=claims.THEORY)
