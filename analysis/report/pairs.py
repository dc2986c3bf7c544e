"""What the policy writes: pairs of a right and a wrong response, of one seed of every arm."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.exhibits.exhibit import records
from analysis.records.frames import Runs, rows_of
from twogrpo.run_record.arms import arm_label

TITLE = "What the policy writes"
NOTE = (
    "Of each arm's first seed, at its first, middle and last step, the first groups that hold both "
    "a right and a wrong response: one of each, with its reward and its advantage in training. At "
    "the first step the initial model answers. Control characters are spelled out, the middle of a "
    "long text is left out. Data: pairs.jsonl in the runs' folders."
)


def arms(runs: Runs) -> list[dict[str, Any]]:
    """A title for each arm that kept pairs, and its steps: a title and the pairs of each."""
    return [
        {"title": _title(runs, setting, arm, rows), "steps": _steps(runs, rows)}
        for setting in runs.settings
        for arm in runs.arms(setting)
        if len(rows := _first_seed(rows_of(runs.pairs, setting, arm)))
    ]


def _first_seed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["seed"] == rows["seed"].min()]


def _title(runs: Runs, setting: tuple[str, str], arm: str, rows: pd.DataFrame) -> str:
    where = f", {setting[1]} on {setting[0]}" if len(runs.settings) > 1 else ""
    return f"{arm_label(arm)}, seed {rows['seed'].iloc[0]}{where}"


def _steps(runs: Runs, rows: pd.DataFrame) -> list[dict[str, Any]]:
    steps = runs.steps[runs.steps["run_id"] == rows["run_id"].iloc[0]].set_index("step")
    return [
        {
            "title": f"Step {int(step) + 1} of {len(steps)}: "
            f"{steps.loc[step, 'groups/contrastive_share']:.0%} of the groups drawn hold both",
            "pairs": [_shown(pair) for pair in records(pairs)],
        }
        for step, pairs in rows.groupby("step")
    ]


def _shown(pair: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": pair["prompt"],
        "count": f"{pair['num_right']} of {pair['num_rollouts']}",
        "responses": [
            {
                "text": pair[kind]["response"],
                "reward": f"{pair[kind]['reward']:g}",
                "advantage": f"{pair[kind]['advantage']:+.2f}",
            }
            for kind in ("right", "wrong")
        ],
    }
