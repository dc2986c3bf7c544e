"""Draws that settings share."""

from pathlib import Path

import numpy as np

from analysis.records.frames import Runs, load
from analysis.stats.comparison import comparisons
from tests.analysis import recorded


def test_settings_draw_the_same_problems_whatever_seeds_they_have(tmp_path: Path) -> None:
    """Seeds score alike, so that only the draw of problems can differ."""
    rows = recorded.rows("two_grpo", 0)
    for model, seeds in (("tiny", (0, 1, 2)), ("other", (0, 1))):
        for seed in seeds:
            name = f"{model}-{seed}"
            changes = {"config__model__name": model, "run_id": name, "identity": name}
            about = recorded.changed(recorded.about("two_grpo", seed), **changes)
            recorded.write(tmp_path / name, about, rows)
    one, other = comparisons(load(str(tmp_path)))
    assert len(one.seeds("two_grpo")) != len(other.seeds("two_grpo"))
    for benchmark in recorded.BENCHMARKS:
        replicates_R = one.by_benchmark("two_grpo")[benchmark][1]
        assert replicates_R.std() > 0
        np.testing.assert_allclose(replicates_R, other.by_benchmark("two_grpo")[benchmark][1])


def test_captions_count_trained_seeds_and_name_what_was_not_run(runs: Runs) -> None:
    comparison = comparisons(runs)[0]
    assert len(comparison.seeds("base")) == 1
    assert comparison.count_seeds(["base", "grpo_g16"]) == "n = 2 seeds"
    assert comparison.count_seeds(["base"]) == "n = 1 seed"
    assert comparison.not_run(["base", "grpo_g16", "dpo", "rloo"]) == ["not run: DPO; rloo"]
    assert comparison.not_run(["base", "grpo_g16"]) == []
