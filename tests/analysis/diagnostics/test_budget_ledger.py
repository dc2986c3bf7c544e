"""The ledger's columns add up; the time split and resampling cost agree with it."""

import pytest

from analysis.diagnostics import budget_ledger, resampling_cost, time_by_phase
from analysis.exhibits.exhibit import number
from analysis.records.frames import Runs
from analysis.stats.comparison import comparisons

ADDENDS = {
    "rollouts_generated": ["rollouts_kept", "rollouts_discarded", "rollouts_surplus"],
    "rollouts_kept": ["rollouts_trained_on", "rollouts_without_gradient"],
    "total_hours": ["training_hours", "validation_hours", "evaluation_hours"],
}


def test_every_row_adds_up(runs: Runs) -> None:
    frame = budget_ledger.build(runs).frame
    for whole, parts in ADDENDS.items():
        assert frame[parts].sum(axis=1).to_numpy() == pytest.approx(frame[whole].to_numpy())
    assert (frame[["rollouts_discarded", "rollouts_surplus"]] >= 0).all(axis=None)


def test_the_total_is_the_sum_of_the_arms(runs: Runs) -> None:
    frame = budget_ledger.build(runs, price_per_hour=2.5).frame.set_index("arm")
    columns = [*budget_ledger.SUMS, *budget_ledger.HOURS, "cost", "num_runs"]
    arms = frame.drop(index="total")
    assert frame.loc["total", columns].tolist() == pytest.approx(arms[columns].sum().tolist())
    assert frame.loc["total", "cost"] == pytest.approx(2.5 * frame.loc["total", "device_hours"])


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


def test_resampling_draws_three_for_one(runs: Runs) -> None:
    cost = resampling_cost.cost(comparisons(runs)[0])
    of = {name: rows["value"].tolist() for name, rows in cost.groupby("measure")}
    assert of["drawn_per_kept"] == pytest.approx([3] * 8)
    assert of["budget_share"] == pytest.approx([3 * 2 / 16] * 8)


def test_price_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="price_per_hour=cheap is no number"):
        number("price_per_hour", "cheap")
