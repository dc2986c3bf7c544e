r"""Table 2 and Lemma C.3 on a real model, measured once, offline: two CSV files for the figures.

    python scripts/train.py experiment=smollm2/grpo tracking=local tracking.save_rollouts=true \
        dataset.num_prompts=64 training.prompts_per_step=64 training.epochs=1 \
        evaluation.at_end=false output_dir=runs/sums
    python -m analysis.theory.smollm2_measurements rollouts=runs/sums name=SmolLM2-135M

The groups of step 0 are the initial policy's. Every rollout of a group with signal takes one
backward pass in float32, sketched to `dimensions` numbers (analysis/theory/rollout_gradients.py).
Groups of any size up to the cached one are made of those vectors.
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from analysis.exhibits.exhibit import arguments, guard, records, whole, write_csv
from analysis.theory import gradient_covariance, gradient_variance
from analysis.theory.rollout_gradients import Scored, initial_model, scored
from twogrpo.run_record import rollouts

NUM_PARTITIONS = 16

Rows = list[dict[str, Any]]


def tables(source: Scored) -> dict[str, Rows]:
    """The rows of a source in each of the two figures, by the figure's name."""
    found = source.name, source.rewards_PG, source.vectors_PGD
    return {
        "covariance": gradient_covariance.rows(*found, np.random.default_rng(0)),
        "gradient_variance": gradient_variance.measured_rows(
            *found, np.random.default_rng(0), num_partitions=NUM_PARTITIONS
        ),
    }


def save(tables: dict[str, Rows], folder: Path) -> None:
    """Writes `<figure>_of_real_models.csv`, with the date and the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    where = f"{platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}"
    for name, rows in tables.items():
        frame = pd.DataFrame(rows).assign(measured=time.strftime("%Y-%m-%d"), machine=where)
        write_csv(frame, _file(folder, name))


def measured_earlier(folder: Path | str, name: str) -> Rows:
    """Returns the rows saved for a figure; none where there is no file."""
    file = _file(Path(folder), name)
    if not file.is_file():
        return []
    return records(pd.read_csv(file).drop(columns=["measured", "machine"]))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}_of_real_models.csv"


def main() -> None:
    """Runs the command."""
    defaults = {"rollouts": "runs/sums", "model": "", "name": "", "dimensions": "65537"}
    given = arguments(sys.argv[1:], out="results/theory", **defaults)
    model = given["model"] or initial_model(given["rollouts"])
    name = given["name"] or Path(model).name
    groups = rollouts.read(given["rollouts"], step=0)
    source = scored(
        name, groups, model, dimensions=whole("dimensions", given["dimensions"], at_least=0)
    )
    save(tables(source), Path(given["out"]))


if __name__ == "__main__":
    with guard():
        main()
