"""Sigmoid fits of validation against rollouts (ScaleRL, Khatri et al. 2025, 2510.13786, Eq. 1):

R(C) = R_0 + (A − R_0) / (1 + (C_mid / C)^B)

C are rollouts, R_0 is the initial accuracy (given), A the asymptote, C_mid the rollouts to half of
the gain, B the steepness. A is linear in the fit; B and C_mid are the best of a grid, then of a
finer one between its neighbours, and so on, so that the fit has one answer. T points of a curve, K
pairs of a grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats.intervals import Statistic
from analysis.studies.study import Study

Array = NDArray[np.float64]
STEEPNESS = np.geomspace(0.4, 6.0, 57)
NUM_MIDPOINTS = 97
NUM_ZOOMS, NUM_FINE = 4, 9  # each makes the steps 4 times finer
FULL = 81920


@dataclass(frozen=True)
class Sigmoid:
    """The fitted curve."""

    start: float
    asymptote: float
    midpoint: float
    steepness: float

    def at(self, rollouts: Array) -> Array:
        """R(C).

        >>> Sigmoid(0.2, 0.8, 100.0, 2.0).at(np.array([100.0])).round(6).tolist()
        [0.5]
        """
        share = 1 / (1 + (self.midpoint / rollouts) ** self.steepness)
        return self.start + (self.asymptote - self.start) * share

    def inverse(self, level: float) -> float:
        """The rollouts at which the curve reaches a level; NaN if it never does.

        >>> round(Sigmoid(0.2, 0.8, 100.0, 2.0).inverse(0.5), 6)
        100.0
        >>> Sigmoid(0.2, 0.8, 100.0, 2.0).inverse(0.9)
        nan
        """
        share = (level - self.start) / (self.asymptote - self.start)
        if not 0 < share < 1:
            return math.nan
        return float(self.midpoint * (share / (1 - share)) ** (1 / self.steepness))


def fit(rollouts_T: Array, values_T: Array, start: float) -> Sigmoid:
    """The least-squares sigmoid through (0, start)."""
    steepness = STEEPNESS
    midpoints = np.geomspace(rollouts_T.min() / 4, rollouts_T.max() * 2, NUM_MIDPOINTS)
    found = _best_of(steepness, midpoints, rollouts_T, values_T, start)
    for _ in range(NUM_ZOOMS):
        steepness = _around(found.steepness, steepness)
        midpoints = _around(found.midpoint, midpoints)
        found = _best_of(steepness, midpoints, rollouts_T, values_T, start)
    return found


def _best_of(
    steepness: Array, midpoints: Array, rollouts_T: Array, values_T: Array, start: float
) -> Sigmoid:
    steep_K, middle_K = (grid.ravel() for grid in np.meshgrid(steepness, midpoints))
    shares_KT = 1 / (1 + (middle_K[:, None] / rollouts_T) ** steep_K[:, None])
    gains_T = values_T - start
    heights_K = (shares_KT @ gains_T) / (shares_KT**2).sum(axis=1)
    heights_K = heights_K.clip(max=1.0 - start)  # an accuracy
    errors_K = ((heights_K[:, None] * shares_KT - gains_T) ** 2).sum(axis=1)
    best = int(errors_K.argmin())
    return Sigmoid(
        start, start + float(heights_K[best]), float(middle_K[best]), float(steep_K[best])
    )


def _around(best: float, grid: Array) -> Array:
    """A finer grid between the neighbours of the best, which it keeps; at an edge a step beyond."""
    step = grid[1] / grid[0]
    return np.geomspace(best / step, best * step, NUM_FINE)


def curves(study: Study, cell: str) -> dict[int, pd.DataFrame]:
    """The validation curve of each seed of a cell: columns `rollouts`, `value`."""
    steps = study.comparison.steps
    steps = steps[(steps["arm"] == cell) & steps["validation/mean"].notna()].sort_values("step")
    return {
        int(seed): pd.DataFrame(
            {"rollouts": rows["rollouts/generated"], "value": rows["validation/mean"]}
        ).reset_index(drop=True)
        for seed, rows in steps.groupby("seed")
    }


@lru_cache(maxsize=8)
def start(study: Study) -> float:
    """The initial accuracy on validation: after the first step of 2-GRPO, which are two warm-up
    updates."""
    cells = study.where(group_size=2)["cell"]
    return float(
        np.mean([c["value"].iloc[0] for cell in cells for c in curves(study, cell).values()])
    )


@lru_cache(maxsize=64)
def fits(study: Study, cell: str) -> dict[int, Sigmoid]:
    """The fit of each seed of a cell."""
    at_start = start(study)
    return {
        seed: fit(curve["rollouts"].to_numpy(float), curve["value"].to_numpy(float), at_start)
        for seed, curve in curves(study, cell).items()
    }


def level(study: Study, share: float) -> float:
    """The accuracy at a share of 16-GRPO's gain, by the fits of its chosen cell."""
    cell = study.chosen(group_size=16, budget=FULL)
    assert cell is not None  # asked where it was run
    ends = [fitted.at(np.array([float(FULL)]))[0] for fitted in fits(study, cell).values()]
    return start(study) + share * (float(np.mean(ends)) - start(study))


def rollouts_to(study: Study, cell: str, share: float) -> dict[int, float]:
    """The rollouts of each seed to a share of 16-GRPO's gain; NaN where it is not reached in the
    run. The level is taken as known."""
    wanted = level(study, share)
    needed = {seed: fitted.inverse(wanted) for seed, fitted in fits(study, cell).items()}
    return {seed: value if value <= FULL else math.nan for seed, value in needed.items()}


def over_seeds(study: Study, cell: str, values: dict[int, float]) -> Statistic:
    """The mean over seeds; NaN where one has no value: the mean of the others is not its."""
    if not all(map(math.isfinite, values.values())):
        return Statistic(math.nan)
    return study.comparison.over_seeds(cell, values.values())
