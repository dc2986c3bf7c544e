"""The ledger's columns add up; the time split and resampling cost agree with it."""

from pathlib import Path

import pytest

from analysis.diagnostics import budget_ledger, resampling_cost, time_by_phase
from analysis.records.frames import Runs, load
from analysis.stats.comparison import comparisons
from tests.analysis import recorded

ADDENDS = {
    "rollouts_generated": ["rollouts_kept", "rollouts_discarded", "rollouts_surplus"],
    "rollouts_kept": ["rollouts_trained_on", "rollouts_without_gradient"],
    "total_hours": ["training_hours", "validation_hours", "evaluation_hours"],
}


def test_every_row_adds_up_and_the_total_is_the_sum_of_the_arms(runs: Runs) -> None:
    frame = budget_ledger.build(runs).frame.set_index("arm")
    for whole, parts in ADDENDS.items():
        assert frame[parts].sum(axis=1).to_numpy() == pytest.approx(frame[whole].to_numpy())
    assert (frame[["rollouts_discarded", "rollouts_surplus"]] >= 0).all(axis=None)
    columns = [*budget_ledger.SUMS, *budget_ledger.HOURS, "num_runs"]
    arms = frame.drop(index="total")
    assert frame.loc["total", columns].tolist() == pytest.approx(arms[columns].sum().tolist())


def test_rows_by_hand(runs: Runs) -> None:
    row = budget_ledger.build(runs).frame.set_index("arm").loc["two_grpo_rs"]
    # Two runs of 8 steps × 16 rollouts × 3 draws; a third kept, 2 a run wait at the end.
    assert row["rollouts_generated"] == 2 * 8 * 16 * 3
    assert row["rollouts_kept"] == 2 * 8 * 16
    assert row["rollouts_surplus"] == 2 * 2
    assert row["rollouts_trained_on"] == row["rollouts_without_gradient"] == 8 * 16


def test_phases_add_up_to_the_ledgers_hours(runs: Runs) -> None:
    frame = time_by_phase.build(runs).frame
    hours = budget_ledger.build(runs).frame.set_index("arm")["total_hours"]
    for arm, phases in frame.groupby("arm"):
        assert 2 * phases["seconds"].sum() / 3600 == pytest.approx(hours[arm])
    assert set(frame["phase"]) == {"generate", "update", "validate", "evaluate"}


def test_phases_after_the_last_step_are_in_the_split_and_in_the_ledger(tmp_path: Path) -> None:
    """1.5 s of a checkpoint and 0.5 s of the export: 2 s more of training, none of evaluation."""
    about, rows = recorded.about("two_grpo", 0), recorded.rows("two_grpo", 0)
    recorded.write(tmp_path / "before/run", about, rows)
    rows[-1] |= {"seconds/save": 1.5, "seconds/export": 0.5}
    recorded.write(tmp_path / "after/run", about, rows)
    before, after = (load(str(tmp_path / name)) for name in ("before", "after"))
    seconds = time_by_phase.build(after).frame.set_index("phase")["seconds"]
    assert (seconds["save"], seconds["export"], seconds["evaluate"]) == (1.5, 0.5, 1.0)
    one, other = (budget_ledger.build(runs).frame.iloc[0] for runs in (before, after))
    assert other["training_hours"] - one["training_hours"] == pytest.approx(2 / 3600)
    assert other["total_hours"] - one["total_hours"] == pytest.approx(2 / 3600)


def test_resampling_draws_three_for_one(runs: Runs) -> None:
    cost = resampling_cost.cost(comparisons(runs)[0])
    of = {name: rows["value"].tolist() for name, rows in cost.groupby("measure")}
    assert of["drawn_per_kept"] == pytest.approx([3] * 8)
    assert of["budget_share"] == pytest.approx([3 * 2 / 16] * 8)
