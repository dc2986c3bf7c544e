"""Lemma C.3: does the variance of the mini-batch gradient depend on Q·G alone?

Exactly on random softmax bandits, and measured from cached rollouts. At a constant number B = Q·G
of rollouts the lemma says that B × variance does not depend on G. Since the expected gradient does
depend on it (Prop. C.1), the figure shows the variance in units of the squared norm of the mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import panels
from analysis.theory.softmax_bandit import group_gradient, minibatch_variance
from analysis.theory.subgroups import disjoint_gradients
from twogrpo.core.bootstrap import resample_counts

GROUP_SIZES = (2, 4, 8, 16)
NUM_ROLLOUTS = 512  # B, a mini-batch of the paper
NUM_PROMPTS, NUM_ARMS = 2000, 4  # of the bandits
NUM_REPLICATES = 1000
STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", "-."))


def bandit_rows(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Exact rows for prompts that are bandits with logits N(0, 2²) and one correct arm of four."""
    logits = rng.normal(0, 2, size=(NUM_PROMPTS, NUM_ARMS))
    is_correct = np.arange(NUM_ARMS) == 0
    rows = []
    for group_size in GROUP_SIZES:
        moments = [group_gradient(one, is_correct, group_size=group_size) for one in logits]
        num_prompts = NUM_ROLLOUTS // group_size
        within, between, signal = minibatch_variance(moments, num_prompts=num_prompts)
        rows.append(_row("bandits, exact", group_size, within + between, signal))
    return rows


def measured_rows(
    name: str,
    rewards_PG: np.ndarray,
    vectors_PGD: Tensor,
    rng: np.random.Generator,
    *,
    num_partitions: int = 1,
) -> list[dict[str, Any]]:
    """Measured on cached rollouts: Var(mini-batch) = Var(one sub-group of a random prompt) / Q.

    The moments are means over random partitions of each prompt's rollouts into sub-groups: with few
    prompts, a single partition adds noise. The intervals are those of the ratio to the largest G,
    from a bootstrap over prompts that draws the same prompts for every G.
    """
    sizes = [size for size in GROUP_SIZES if size <= rewards_PG.shape[1]]
    count = len(rewards_PG)
    counts_RP = np.vstack([np.ones(count), resample_counts(count, rng, NUM_REPLICATES)])
    moments = {}
    for size in sizes:
        means_PD = torch.zeros(count, vectors_PGD.shape[2], dtype=torch.double)
        squares_P = np.zeros(count)
        for _ in range(num_partitions):
            subs_PSD = disjoint_gradients(rewards_PG, vectors_PGD, sub_size=size, rng=rng).double()
            means_PD += subs_PSD.mean(dim=1) / num_partitions
            squares_P += subs_PSD.square().sum(dim=2).mean(dim=1).numpy() / num_partitions
        gram_PP = (means_PD @ means_PD.T).numpy()
        moments[size] = np.array([_moments(gram_PP, squares_P, counts) for counts in counts_RP])
    return [_measured_row(name, size, moments) for size in sizes]


def build(measured: list[dict[str, Any]], rng: np.random.Generator) -> Exhibit:
    """One line for each source, relative to its largest G; the dotted line is the lemma."""
    frame = pd.DataFrame(bandit_rows(rng) + measured)
    figure, axes = panels(1, 2)
    for axis, column in zip(axes[0], ("variance", "relative_variance"), strict=True):
        for (source, rows), (colour, marker, dashes) in zip(
            frame.groupby("source", sort=False), STYLES, strict=False
        ):
            value = rows[column] / rows[column].iloc[-1]
            style = {"color": colour, "marker": marker, "linestyle": dashes, "label": source}
            axis.plot(rows["group_size"], value, **style)
            low, high = rows[f"{column}_low"], rows[f"{column}_high"]
            axis.fill_between(rows["group_size"], low, high, color=colour, alpha=0.15, lw=0)
        axis.axhline(1, color="#000000", linestyle=":", label="no dependence on G")
        axis.set_xscale("log", base=2)
        axis.set_xticks(GROUP_SIZES, [str(size) for size in GROUP_SIZES])
        axis.set_xlabel(f"group size G at Q·G = {NUM_ROLLOUTS} rollouts")
    axes[0, 0].set(ylim=(0, 1.8), ylabel="variance, largest G = 1", title="Gradient variance")
    axes[0, 1].set(
        ylim=(0, 4), ylabel="variance / |mean|², largest G = 1", title="… beside the signal"
    )
    axes[0, 0].legend(loc="upper left")
    return Exhibit("gradient_variance", "Lemma C.3: variance at constant Q·G", frame, figure=figure)


def _measured_row(name: str, size: int, moments: dict[int, np.ndarray]) -> dict[str, Any]:
    """A row of the frame; row 0 of the moments is the sample, the rest bootstrap replicates."""
    here, largest = moments[size], moments[max(moments)]
    row = _row(name, size, here[0, 0] * size / NUM_ROLLOUTS, here[0, 1])
    variance_R = here[1:, 0] * size / (largest[1:, 0] * max(moments))
    relative_R = variance_R * largest[1:, 1] / here[1:, 1]
    for column, draws_R in (("variance", variance_R), ("relative_variance", relative_R)):
        row[f"{column}_low"], row[f"{column}_high"] = np.percentile(draws_R, [2.5, 97.5]).tolist()
    return row


def _moments(
    gram_PP: np.ndarray, squares_P: np.ndarray, counts_P: np.ndarray
) -> tuple[float, float]:
    """The variance of a group's gradient and the squared norm of its mean, weighted by `counts_P`.

    The squared norm uses inner products of different prompts, so that noise does not add to it.
    """
    total = counts_P.sum()
    second = float(counts_P @ squares_P) / total
    pairs = float(counts_P @ gram_PP @ counts_P) - float(counts_P**2 @ np.diag(gram_PP))
    signal = pairs / float(total**2 - (counts_P**2).sum())
    return second - signal, signal


def _row(source: str, group_size: int, variance: float, signal: float) -> dict[str, Any]:
    return {
        "source": source,
        "group_size": group_size,
        "num_prompts": NUM_ROLLOUTS // group_size,
        "variance": variance,
        "signal": signal,
        "relative_variance": variance / signal,
        "variance_low": np.nan,
        "variance_high": np.nan,
        "relative_variance_low": np.nan,
        "relative_variance_high": np.nan,
    }
