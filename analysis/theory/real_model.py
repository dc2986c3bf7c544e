"""Table 2 on a real model, once, offline: its rows go into a CSV that the figure reads ever after.

    python -m analysis.theory.sums model=<folder> out=runs/sums
    python -m analysis.theory.real_model rollouts=runs/sums model=<folder> name=SmolLM2-135M

Two backward passes a prompt, one over its correct and one over its wrong responses, in bfloat16
with float32 gradients, sketched to `dimensions` numbers (analysis/theory/rollouts.py).
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from analysis.exhibit import arguments
from analysis.theory import covariance, rollouts
from analysis.theory.rollouts import ScoreVectors

FILE = "covariance_of_real_models.csv"


def measure(path: str, model: str, *, name: str, dimensions: int) -> pd.DataFrame:
    """The rows of `covariance.rows`, with when and where they were measured."""
    groups = [group for group in rollouts.read(path) if group.is_mixed]
    vectors = ScoreVectors(model, dimensions=dimensions)
    means = []
    for group in groups:
        by_class = [
            [tokens for tokens, r in zip(group.tokens, group.rewards, strict=True) if r == reward]
            for reward in (1, 0)
        ]
        means.append(torch.stack([vectors.of_mean(group.prompt_tokens, c) for c in by_class]))
    rewards_P2 = np.tile([1.0, 0.0], (len(groups), 1))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(covariance.rows(name, rewards_P2, torch.stack(means), rng))
    where = f"{platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}"
    return frame.assign(measured=time.strftime("%Y-%m-%d"), machine=where)


def main() -> None:
    """The command."""
    defaults = {"rollouts": "runs/sums", "model": "", "name": "", "dimensions": "65536"}
    given = arguments(sys.argv[1:], out=f"results/theory/{FILE}", **defaults)
    frame = measure(
        given["rollouts"],
        given["model"],
        name=given["name"] or Path(given["model"]).name,
        dimensions=int(given["dimensions"]),
    )
    Path(given["out"]).parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(given["out"], index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
