"""Beyond the paper: the budget ledger, with all rollouts, tokens and hours and their use.

Columns add up, in every row and down to the total:
    generated = kept + discarded + surplus          rollouts
    kept = trained on + without gradient            rollouts
    total hours = training + validation + evaluation
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from analysis.exhibits.exhibit import Exhibit, main, records
from analysis.records.frames import Runs, rows_of
from twogrpo.run_record.arms import arm_label, in_order

SUMS = {
    "rollouts_generated": "generated",
    "rollouts_kept": "kept",
    "rollouts_discarded": "discarded",
    "rollouts_surplus": "surplus",
    "rollouts_trained_on": "trained on",
    "rollouts_without_gradient": "without gradient",
    "tokens_generated": "tokens generated",
    "tokens_trained_on": "tokens trained on",
}
HOURS = {
    "training_hours": "training",
    "validation_hours": "validation",
    "evaluation_hours": "evaluation",
    "total_hours": "total",
    "cpu_training_hours": "CPU training",
    "device_hours": "device",
}


def build(runs: Runs) -> Exhibit:
    """A row for each arm with all its runs together, and a total."""
    rows: list[dict[str, Any]] = []
    for setting in runs.settings:
        frame = entries(rows_of(runs.runs, setting))
        of_setting = [
            _row(setting, key, frame[frame["arm"] == key]) for key in in_order(frame["arm"])
        ]
        rows += [*of_setting, _row(setting, "total", frame)]
    frame = pd.DataFrame(rows)
    return Exhibit(
        name="ledger",
        title="Budget ledger, all seeds together",
        frame=frame,
        table=_table(frame),
        note=(
            "Rollouts: generated = kept + discarded + surplus; kept = trained on + without "
            "gradient. Time: total = training + validation + evaluation; device is total times the "
            "number of GPUs (1 without); CPU training is the processes' own time."
        ),
    )


def entries(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs frame with the columns of the ledger."""
    hours = {
        "training_hours": runs["seconds_training"] / 3600,
        "validation_hours": runs["seconds_validation"] / 3600,
        "evaluation_hours": runs["seconds_evaluation"] / 3600,
    }
    frame = runs.assign(
        **hours,
        rollouts_without_gradient=runs["rollouts_kept"] - runs["rollouts_trained_on"],
        cpu_training_hours=runs["cpu_seconds_training"] / 3600,
        total_hours=sum(hours.values()),
    )
    return frame.assign(device_hours=frame["total_hours"] * frame["hardware"].map(_num_devices))


def _num_devices(hardware: str) -> int:
    return int((json.loads(hardware) or {}).get("num_gpus") or 1)


def _row(setting: tuple[str, str], key: str, frame: pd.DataFrame) -> dict[str, Any]:
    who = {"dataset": setting[0], "model": setting[1], "arm": key, "num_runs": len(frame)}
    return who | {name: float(frame[name].sum()) for name in (*SUMS, *HOURS)}


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    factor, unit = (60, "min") if frame["total_hours"].max() < 3 else (1, "h")
    rows = []
    for row in records(frame):
        label = "total" if row["arm"] == "total" else arm_label(row["arm"])
        cells = {"model, data": f"{row['model']}, {row['dataset']}", "arm": label}
        cells["runs"] = str(row["num_runs"])
        cells |= {head: f"{row[name]:,.0f}" for name, head in SUMS.items()}
        cells |= {f"{head} {unit}": f"{factor * row[name]:,.1f}" for name, head in HOURS.items()}
        rows.append(cells)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main(build)
