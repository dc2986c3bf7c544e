"""The measures of the claims about the theory, from the CSV files of `python -m analysis.theory`.

The covariance is that of the model that the runs compare, and of no other; the variance has a claim
for each model that it was measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.exhibits.claim_table import Measure, Measured
from analysis.stats.comparison import Comparison
from analysis.stats.intervals import Estimate

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


def measured_models(folder: Path) -> dict[str, str]:
    """The sources of gradient_variance.csv that have intervals, and their models' names."""
    rows = _rows(folder / "gradient_variance.csv", "relative_variance_low")
    return {name: MODELS.get(name, name) for name in rows["source"].unique()}


def relative_variance_ratio(folder: Path, source: str) -> Measure:
    """The relative variance of the gradient at G = 2 over that at the largest G, at equal rollouts.

    The variance over the squared mean gradient: free of the scale of the advantages, which depends
    on G. gradient_variance.csv holds the ratio's interval next to the value at G = 2.
    """

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        if source not in measured_models(folder):
            return None
        rows = _rows(folder / "gradient_variance.csv", "relative_variance_low")
        rows = rows[rows["source"] == source].set_index("group_size")
        ratio = rows.loc[2, "relative_variance"] / rows["relative_variance"].iloc[-1]
        low, high = rows.loc[2, ["relative_variance_low", "relative_variance_high"]].tolist()
        of = f"{source}, G = 2 over G = {rows.index[-1]}"
        return Measured(Estimate(float(ratio), float(low), float(high)), 0, 0, "toy", of)

    return measure


def _of_their_model(settings: Sequence[Comparison], file: Path, needed: str) -> pd.DataFrame | None:
    """The rows with intervals of the first source whose model is compared; None without one."""
    rows = _rows(file, needed)
    models = {comparison.setting[1] for comparison in settings}
    sources = [name for name in rows["source"].unique() if MODELS.get(name, name) in models]
    return rows[rows["source"] == sources[0]] if sources else None


def _rows(file: Path, needed: str) -> pd.DataFrame:
    """The rows with intervals; none without the file."""
    rows = pd.read_csv(file) if file.exists() else pd.DataFrame({"source": [], needed: []})
    return rows[rows[needed].notna()]
