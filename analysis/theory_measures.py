"""What the claims about the theory measure, from the CSV files of `python -m analysis.theory`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.comparison import Comparison
from analysis.measures import Measure, Measured
from analysis.statistics import Estimate


def covariance(folder: Path) -> Measure:
    """Trace of Cov(g+, g−) across prompts, of the first source in covariance.csv."""

    def measure(_: Sequence[Comparison]) -> Measured | None:
        rows = _of_first_source(folder / "covariance.csv", "low")
        if rows is None:
            return None
        row = rows.set_index("statistic").loc["covariance"]
        estimate = Estimate(float(row["value"]), float(row["low"]), float(row["high"]))
        return Measured(estimate, 0, int(row["num_prompts"]), "toy")

    return measure


def variance_ratio(folder: Path) -> Measure:
    """Gradient variance at G = 2 over that at the largest G, equal rollouts in the mini-batch.

    gradient_variance.csv holds its interval beside the variance at G = 2, for measured sources.
    """

    def measure(_: Sequence[Comparison]) -> Measured | None:
        rows = _of_first_source(folder / "gradient_variance.csv", "variance_low")
        if rows is None:
            return None
        rows = rows.set_index("group_size")
        ratio = rows.loc[2, "variance"] / rows["variance"].iloc[-1]
        low, high = rows.loc[2, ["variance_low", "variance_high"]].tolist()
        return Measured(Estimate(float(ratio), float(low), float(high)), 0, 0, "toy")

    return measure


def _of_first_source(file: Path, needed: str) -> pd.DataFrame | None:
    """The rows of the first source that has intervals; None without the file or such a source."""
    if not file.exists():
        return None
    rows = pd.read_csv(file)
    sources = rows.loc[rows[needed].notna(), "source"].unique()
    return rows[rows["source"] == sources[0]] if len(sources) else None
