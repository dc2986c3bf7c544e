"""Builds every table and figure from run records: `python -m analysis.all runs=runs/cpu`.

runs=         where the runs are; by default each of the committed records, results/<scale>/runs
out=          the folder to write to; by default <runs>/report, of committed records results/<scale>
allow_mixed=  true: compare runs even of different code, data or settings
theory=       the folder of `python -m analysis.theory`, for Table 2 and two claims
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from analysis.committed import compare, records
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
from twogrpo.run_record.files import LEFT_OUT

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


def main(runs: Runs, out: Path, *, theory: str = claims.THEORY, pages: bool = True) -> None:
    """Writes all exhibits, summary.md and the report; compares your runs with the committed ones.

    Without `pages` only .csv, .md and .tex are written, which takes a quarter of the time.

    Raises:
        ConfigError: `out` is a folder of committed results, and one of its records is damaged.
    """
    is_committed = Path(os.path.realpath(out)).parent == records.RESULTS
    if is_committed:
        records.refuse_damaged(runs, out)
    out.mkdir(parents=True, exist_ok=True)
    write_csv(runs.excluded, out / LEFT_OUT)  # first: by this file a report is known
    exhibits = [build(runs) for build in EXHIBITS]
    exhibits.insert(2, claims.build(runs, theory=theory))  # after the headline's figure and table
    exhibits.append(budget_ledger.build(runs))
    covariance = table_2.read(Path(theory))
    if covariance is not None:
        exhibits.append(table_2.build(covariance))
    is_yours = pages and not is_committed and len(runs.settings) == 1
    committed = compare.same_experiment(runs) if is_yours else None
    if committed:
        exhibits.insert(0, compare.build(runs, committed))
    for exhibit in [*exhibits, report.runs_exhibit(runs)]:
        write(exhibit if pages else replace(exhibit, figure=None), out)
    summary.write(runs, out, theory=theory)
    if pages:
        report.write(runs, exhibits, out, theory=theory)
    if committed:
        sys.stderr.write(f"{compare.headline(exhibits[0].frame)}: {out / compare.NAME}.md\n")


if __name__ == "__main__":
    command(main, records.sources, theory=claims.THEORY)
