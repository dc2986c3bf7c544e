"""Prop. 4.1 and Table 2: do positive and negative gradients of one prompt vary together?

g+ and g− are the mean vectors (1/|o|) Σ ∇log π(o_t) of a prompt's correct and wrong responses;
variances and covariances are traces over the parameters, taken across prompts. Only inner products
are needed: three [P, P] matrices hold everything, the bootstrap included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import panels
from analysis.theory.subgroups import class_means
from twogrpo.errors import ConfigError

NUM_RESPONSES = 10  # a prompt, as in Table 2
NUM_REPLICATES = 2000


@dataclass(frozen=True)
class Grams:
    """Inner products of centred gradients: g+ with g+, g− with g−, g+ with g−; [P, P] each."""

    positive_PP: np.ndarray
    negative_PP: np.ndarray
    cross_PP: np.ndarray


def grams(rewards_PG: np.ndarray, vectors_PGD: Tensor) -> Grams:
    """The inner products over the prompts that have both a correct and a wrong response.

    Raises:
        ConfigError: there are fewer than three such prompts.
    """
    is_mixed_P = rewards_PG.max(axis=1) > rewards_PG.min(axis=1)
    if is_mixed_P.sum() < 3:
        raise ConfigError(
            f"only {is_mixed_P.sum()} prompts have correct and wrong responses: give rollouts of "
            "more prompts or of a stronger model"
        )
    positive_PD, negative_PD = class_means(rewards_PG[is_mixed_P], vectors_PGD[is_mixed_P.tolist()])
    positive, negative = positive_PD.double().numpy(), negative_PD.double().numpy()
    return Grams(positive @ positive.T, negative @ negative.T, positive @ negative.T)


def statistics(g: Grams, places: np.ndarray) -> dict[str, float]:
    """Cov(g+, g−), Var(g+), Var(g−), c* = Cov/Var(g−), ρ² = Cov²/(Var Var), over given prompts.

    Sample traces with denominator n − 1. ρ² is the share of Var(g+) that c* g− takes away.
    """
    covariance, var_positive, var_negative = (
        _trace(matrix[np.ix_(places, places)])
        for matrix in (g.cross_PP, g.positive_PP, g.negative_PP)
    )
    return {
        "covariance": covariance,
        "variance_positive": var_positive,
        "variance_negative": var_negative,
        "optimal_c": covariance / var_negative,
        "variance_saved": covariance**2 / (var_positive * var_negative),
    }


def permuted_covariances(g: Grams, rng: np.random.Generator) -> np.ndarray:
    """Cov(g+ of a prompt, g− of another) under random permutations of the prompts."""
    count = len(g.cross_PP)
    return np.array([_trace(g.cross_PP[:, rng.permutation(count)]) for _ in range(NUM_REPLICATES)])


def rows(
    source: str, rewards_PG: np.ndarray, vectors_PGD: Tensor, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Every statistic with its 95 % bootstrap interval over prompts; permuted with its range."""
    g = grams(rewards_PG[:, :NUM_RESPONSES], vectors_PGD[:, :NUM_RESPONSES])
    count = len(g.cross_PP)
    value = statistics(g, np.arange(count))
    draws = [statistics(g, rng.integers(count, size=count)) for _ in range(NUM_REPLICATES)]
    found = [
        _row(source, count, name, value[name], [draw[name] for draw in draws]) for name in value
    ]
    permuted = permuted_covariances(g, rng)
    row = _row(source, count, "covariance_permuted", float(permuted.mean()), permuted)
    row["p_value"] = (1 + (permuted >= value["covariance"]).sum()) / (1 + len(permuted))
    return [*found, row]


def build(measured: list[dict[str, Any]]) -> Exhibit:
    """The covariance in units of sqrt(Var(g+) Var(g−)), which compare across model sizes."""
    frame = pd.DataFrame(measured)
    table = frame.pivot(index="source", columns="statistic", values=["value", "low", "high"])
    table = table.loc[frame["source"].unique()]  # in the order given
    figure, axes = panels(1, 1)
    axis = axes[0, 0]
    _points(axis, table, "covariance", offset=-0.12, label="same prompt", colour="#0072B2")
    _points(
        axis, table, "covariance_permuted", offset=0.12, label="prompts permuted", colour="#D55E00"
    )
    axis.axhline(0, color="#000000", linewidth=0.8)
    axis.set_xticks(range(len(table)), [str(source) for source in table.index])
    axis.set_xlim(-0.5, len(table) - 0.5)
    axis.set_ylabel("Cov(g+, g−) / sqrt(Var g+ · Var g−)")
    axis.set_title("Table 2: positive and negative gradients")
    axis.legend()
    return Exhibit("covariance", "Table 2 and Prop. 4.1", frame, figure=figure)


def _points(
    axis: Any, table: pd.DataFrame, statistic: str, *, offset: float, label: str, colour: str
) -> None:
    scale = np.sqrt(table["value"]["variance_positive"] * table["value"]["variance_negative"])
    value, low, high = (table[part][statistic] / scale for part in ("value", "low", "high"))
    axis.errorbar(
        np.arange(len(table)) + offset,
        value,
        yerr=np.stack([value - low, high - value]).clip(min=0),
        label=label,
        color=colour,
        marker="o" if offset < 0 else "s",
        linestyle="none",
        capsize=3,
    )


def _trace(matrix_PP: np.ndarray) -> float:
    """Σ_i (a_i − ā)·(b_i − b̄) / (n − 1) from the inner products a_i·b_j."""
    count = len(matrix_PP)
    return float((np.trace(matrix_PP) - matrix_PP.sum() / count) / (count - 1))


def _row(source: str, count: int, statistic: str, value: float, draws: Any) -> dict[str, Any]:
    low, high = np.percentile(draws, [2.5, 97.5]).tolist()
    return {
        "source": source,
        "num_prompts": count,
        "statistic": statistic,
        "value": value,
        "low": low,
        "high": high,
        "p_value": np.nan,
    }
