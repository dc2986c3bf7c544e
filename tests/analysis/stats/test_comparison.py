"""What captions say of seeds and of arms that were not run."""

from analysis.records.frames import Runs
from analysis.stats.comparison import comparisons


def test_captions_count_trained_seeds_and_name_what_was_not_run(runs: Runs) -> None:
    comparison = comparisons(runs)[0]
    assert len(comparison.seeds("base")) == 1
    assert comparison.count_seeds(["base", "grpo_g16"]) == "n = 2 seeds"
    assert comparison.count_seeds(["base"]) == "n = 1 seed"
    assert comparison.not_run(["base", "grpo_g16", "dpo", "rloo"]) == ["not run: DPO; rloo"]
    assert comparison.not_run(["base", "grpo_g16"]) == []
