"""What captions say of seeds and of arms that were not run."""

from pathlib import Path

import pytest

from analysis.records.frames import Runs, load
from analysis.stats.comparison import comparisons
from tests.analysis import recorded
from twogrpo.errors import ConfigError


def test_captions_count_trained_seeds_and_name_what_was_not_run(runs: Runs) -> None:
    comparison = comparisons(runs)[0]
    assert len(comparison.seeds("base")) == 1
    assert comparison.count_seeds(["base", "grpo_g16"]) == "n = 2 seeds"
    assert comparison.count_seeds(["base"]) == "n = 1 seed"
    assert comparison.not_run(["base", "grpo_g16", "dpo", "rloo"]) == ["not run: DPO; rloo"]
    assert comparison.not_run(["base", "grpo_g16"]) == []


def test_a_caption_gives_the_range_of_unequal_counts(tmp_path: Path) -> None:
    for arm, seeds in (("grpo_g16", 3), ("two_grpo", 2), ("two_grpo_rs", 1)):
        recorded.write_arms(tmp_path, seeds=tuple(range(seeds)), arms=(arm,))
    [comparison] = comparisons(load(str(tmp_path)))
    assert comparison.counts(comparison.arms) == "n = 1–3 seeds, 12 problems"


def test_the_ablation_s_arms_are_not_beside_16_grpo_unless_there_are_no_others(
    runs: Runs, tmp_path: Path
) -> None:
    [comparison] = comparisons(runs)
    assert comparison.compared_arms == ["base", "grpo_g16", "two_grpo", "two_grpo_rs"]
    recorded.write_arms(tmp_path, arms=("grpo_g4", "grpo_g2"))
    [alone] = comparisons(load(str(tmp_path)))
    assert alone.compared_arms == ["grpo_g4", "grpo_g2"]
    recorded.add(tmp_path / "own", "grpo_g4", config__cell="4-GRPO, 2 epochs", identity="own")
    [with_a_cell] = comparisons(load(str(tmp_path)))
    assert with_a_cell.compared_arms == ["4-GRPO, 2 epochs"]


def test_a_tost_s_interval_is_narrower_than_that_of_95_percent(runs: Runs) -> None:
    [comparison] = comparisons(runs)
    wide, narrow = (comparison.difference("grpo_g4", level=level) for level in (0.95, 0.90))
    gap = comparison.average("grpo_g4").value - comparison.average("grpo_g16").value
    assert narrow.value == wide.value == pytest.approx(gap)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_arms_on_different_benchmarks_have_no_common_average(tmp_path: Path) -> None:
    recorded.add(tmp_path / "one", "grpo_g16")
    rows = recorded.rows("two_grpo", 0)
    rows[-1] = {name: value for name, value in rows[-1].items() if "/hard/" not in name}
    recorded.write(tmp_path / "other", recorded.about("two_grpo", 0), rows)
    with pytest.raises(ConfigError, match="arm two_grpo on easy: evaluate both on the same"):
        comparisons(load(str(tmp_path)))
