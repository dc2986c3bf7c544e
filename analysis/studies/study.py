"""A study: the cells of a sweep as arms of one comparison, and those chosen on validation."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.committed.records import RESULTS
from analysis.exhibits.claim_table import Measure, Measured
from analysis.exhibits.exhibit import Exhibit, records
from analysis.records.frames import Runs, frames
from analysis.records.readers import read
from analysis.records.selection import refuse_mixed_seeds
from analysis.stats.comparison import Comparison, comparisons
from analysis.stats.intervals import Estimate
from twogrpo.errors import ConfigError

# An evaluation of the initial policy on the same problems, which no study repeats.
BASE = RESULTS / "cpu" / "runs" / "base-tiny"
# What a cell's configuration says, by the name of its column.
AXES = {
    "name": ("algorithm", "name"),
    "group_size": ("algorithm", "group_size"),
    "batch": ("algorithm", "minibatch_scale"),
    "rate": ("algorithm", "learning_rate_scale"),
    "beta": ("algorithm", "preference_beta"),
    "budget": ("training", "rollouts"),
    "sync": ("training", "sync_every"),
    "noise": ("reward", "noise"),
}
TIE = 1e-5  # a validation is kept with six digits: less is its rounding
SPENT = ("rollouts_generated", "tokens_generated", "seconds_training")


def load(source: str, *, allow_mixed: bool = False) -> Runs:
    """The finished cells of a study, and the initial policy.

    Raises:
        ConfigError: no run is finished; one is of no study; they are of several studies, or of
            other data or evaluations; the seeds of a cell differ in more than their seed.
    """
    found = read(source)
    for what, values in {
        "study": {name_of(record.about["config"]) for record in found if not record.fault},
        "code": {str(record.about.get("code")) for record in found if not record.fault},
    }.items():
        if not values:
            raise ConfigError(f"runs={source} holds no readable run: make study NAME=… first")
        if len(values) > 1 and not (allow_mixed and what == "code"):
            raise ConfigError(
                f"runs={source} are of more than one {what} ({', '.join(sorted(values))}): give "
                "those of one, or start over: make study NAME=… ARGS=runs_dir=runs/NEW"
            )
    every = [*found, *read(str(BASE))]
    if not allow_mixed:
        refuse_mixed_seeds([r for r in every if not r.fault and r.status == "finished"])
    # The arms differ in their training by intention, and the initial policy in its code.
    runs = frames(every, source, allow_mixed=True)
    if set(runs.runs["arm"]) == {"base"}:
        raise ConfigError(f"runs={source} holds no finished run: let make study NAME=… finish")
    return runs


def name_of(config: dict[str, Any]) -> str:
    """The study of a run; raises ConfigError where it is a cell of none."""
    if not config.get("cell"):
        raise ConfigError(
            f"{config.get('output_dir')} is no run of a study: give runs=runs/studies/…"
        )
    return str(config["run_name"]).partition("-")[0]


class Study:
    """The cells of a study, whose arms are named after them."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        rows = []
        for cell, runs in comparison.runs[comparison.runs["arm"] != "base"].groupby("arm"):
            config = json.loads(runs["config"].iloc[0])
            row = {
                axis: (config.get(section) or {}).get(key) for axis, (section, key) in AXES.items()
            }
            row |= {column: float(runs[column].mean()) for column in SPENT}
            rows.append({"cell": str(cell), **row, "seeds": len(runs)} | self._last(str(cell)))
        self.cells = pd.DataFrame(rows).sort_values("cell", ignore_index=True)

    def _last(self, cell: str) -> dict[str, float]:
        """The means over seeds of the last validation, of all problems and of each kind."""
        steps = self.comparison.steps
        steps = steps[(steps["arm"] == cell) & steps["validation/mean"].notna()]
        last = steps.sort_values("step").groupby("seed").last()
        kinds = ("mean", "validation", "validation_longer")
        return {f"validation_{kind}": float(last[f"validation/{kind}"].mean()) for kind in kinds}

    def where(self, **axes: Any) -> pd.DataFrame:
        """The cells with these values of the axes."""
        found = self.cells
        for axis, value in axes.items():
            found = found[found[axis].isna() if value is None else found[axis] == value]
        return found

    def chosen(self, **axes: Any) -> str | None:
        """The cell of these that is best on validation, of those that tie the one with the smallest
        rate, then batch; None where none was run."""
        found = self.where(**axes)
        best = found[found["validation_mean"] >= found["validation_mean"].max() - TIE]
        return None if best.empty else str(best.sort_values(["rate", "batch"])["cell"].iloc[0])

    def of(self, cell: str, column: str) -> Any:
        """A value of a cell."""
        return self.cells.set_index("cell").loc[cell, column]

    def average(self, cell: str) -> Estimate:
        """The cell's average of the benchmarks, in percent."""
        return self.comparison.average(cell).interval()

    def difference(self, cell: str, other: str, level: float = 0.95) -> Estimate:
        """The difference of two cells' averages, in points."""
        return self.comparison.difference(cell, other, level=level)

    def counts(self) -> str:
        """The numbers of seeds and problems of all cells, for a heading."""
        return self.comparison.counts(list(self.cells["cell"]))

    def table(self) -> pd.DataFrame:
        """All cells with their averages and benchmarks."""
        rows = []
        for cell in self.cells["cell"]:
            estimate = self.average(cell)
            of_benchmarks = {
                name: mean.value for name, mean in self.comparison.by_benchmark(cell).items()
            }
            row = {"average": estimate.value, "low": estimate.low, "high": estimate.high}
            rows.append({"cell": cell, **row, **of_benchmarks})
        return self.cells.merge(pd.DataFrame(rows), on="cell")


@lru_cache(maxsize=8)
def study_of(runs: Runs) -> Study:
    """The study of loaded runs."""
    [comparison] = comparisons(runs)
    return _study(comparison)


@lru_cache(maxsize=8)
def _study(comparison: Comparison) -> Study:
    return Study(comparison)


def measure(function: Callable[[Study], Measured | None]) -> Measure:
    """The measure of a claim on a study, None where a cell was not run."""

    def of_comparison(settings: Sequence[Comparison]) -> Measured | None:
        return function(_study(settings[0])) if settings else None

    return of_comparison


Cell = Callable[[Study], str | None]


def chosen(**axes: Any) -> Cell:
    """The cell that is chosen on validation among those with these values."""
    return lambda study: study.chosen(**axes)


def points(*signed: Cell, level: float = 0.95) -> Measure:
    """The difference of the first cell to the second; of four, that minus the other two's."""

    def difference(study: Study) -> Measured | None:
        cells = [cell(study) for cell in signed]
        names = [cell for cell in cells if cell is not None and cell in study.comparison.evaluated]
        if len(names) < len(cells):
            return None
        first, second, *others = (study.comparison.average(name) for name in names)
        found = first - second
        if others:
            found = found - (others[0] - others[1])
        return measured(study, found.interval(level), *names)

    return measure(difference)


def measured(study: Study, estimate: Estimate, *cells: str) -> Measured:
    """An estimate with the counts behind it."""
    seeds = [len(study.comparison.seeds(cell)) for cell in cells if cell != "base"]
    pairs = [" against ".join(cells[i : i + 2]) for i in range(0, len(cells), 2)]
    of = ", minus ".join(pairs)
    return Measured(
        estimate, min(seeds), study.comparison.num_problems(cells[0]), study.comparison.scale, of
    )


def line(
    axis: Axes,
    study: Study,
    cells: Sequence[str],
    x: Sequence[float],
    chosen: Container[str] | None = None,
    **style: Any,
) -> None:
    """Draws the averages of cells with their intervals; hollow, where given, those not `chosen`."""
    draw(axis, [study.average(cell) for cell in cells], x, **style)
    for cell, at in zip(cells, x, strict=True):
        if chosen is not None and cell not in chosen:
            hollow = style | {"mfc": "white", "label": None, "zorder": 3}
            axis.plot(at, study.average(cell).value, **hollow)


def draw(axis: Axes, estimates: Sequence[Estimate], x: Sequence[float], **style: Any) -> None:
    """Draws estimates with their intervals."""
    middle = np.array([estimate.value for estimate in estimates])
    ends = [middle - [e.low for e in estimates], [e.high for e in estimates] - middle]
    axis.errorbar(x, middle, yerr=np.maximum(ends, 0), capsize=2, **style)


def cells_exhibit(study: Study) -> Exhibit:
    """Every cell: its axes, what it spent, its last validation and its benchmarks."""
    frame = study.table()
    rows = [
        {
            "cell": row["cell"],
            "seeds": str(row["seeds"]),
            "validation %": f"{100 * row['validation_mean']:.1f}",
            "average %": f"{row['average']:.1f} [{row['low']:.1f}, {row['high']:.1f}]",
            "longer %": f"{row['longer']:.1f}",
            "rollouts": f"{row['rollouts_generated']:,.0f}",
            "time s": f"{row['seconds_training']:.1f}",
        }
        for row in records(frame)
    ]
    return Exhibit("cells", "All cells", frame, pd.DataFrame(rows))
