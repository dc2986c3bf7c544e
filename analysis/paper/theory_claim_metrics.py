"""The measures of the claims about the theory, from the CSV files of `python -m analysis.theory`.

A claim is measured on gradients of the model that the runs compare, and of no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.paper.claim_metrics import Measure, Measured
from analysis.stats.bootstrap import Estimate
from analysis.stats.comparison import Comparison

# The theory's name of a source → the name in conf/model/; other sources have their model's name.
MODELS = {"tiny model": "tiny", "SmolLM2-135M": "smollm2_135m"}


def covariance(folder: Path) -> Measure:
    """The trace of Cov(g+, g−) across prompts, in covariance.csv."""

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        rows = _of_their_model(settings, folder / "covariance.csv", "low")
        if rows is None:
            return None
        row = rows.set_index("statistic").loc["covariance"]
        estimate = Estimate(float(row["value"]), float(row["low"]), float(row["high"]))
        return Measured(estimate, 0, int(row["num_prompts"]), "toy", str(row["source"]))

    return measure


def variance_ratio(folder: Path) -> Measure:
    """The gradient variance at G = 2 over that at the largest G, at equal rollouts in a mini-batch.

    gradient_variance.csv holds its interval next to the variance at G = 2, for measured sources.
    """

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        rows = _of_their_model(settings, folder / "gradient_variance.csv", "variance_low")
        if rows is None:
            return None
        rows = rows.set_index("group_size")
        ratio = rows.loc[2, "variance"] / rows["variance"].iloc[-1]
        low, high = rows.loc[2, ["variance_low", "variance_high"]].tolist()
        of = f"{rows['source'].iloc[0]}, G = 2 over G = {rows.index[-1]}"
        return Measured(Estimate(float(ratio), float(low), float(high)), 0, 0, "toy", of)

    return measure


def _of_their_model(settings: Sequence[Comparison], file: Path, needed: str) -> pd.DataFrame | None:
    """The rows with intervals of the first source whose model is compared; None without one."""
    if not file.exists():
        return None
    rows = pd.read_csv(file)
    rows = rows[rows[needed].notna()]
    models = {comparison.setting[1] for comparison in settings}
    sources = [name for name in rows["source"].unique() if MODELS.get(name, name) in models]
    return rows[rows["source"] == sources[0]] if sources else None
