"""The page for two minutes, of another embedded experiment than the tiny one, with one seed."""

from pathlib import Path
from typing import Any

import pytest

from analysis.records.frames import Runs, load
from analysis.report import summary
from tests.analysis import recorded

MAIN = ("base", "grpo_g16", "two_grpo", "two_grpo_rs")
SMOLLM2: dict[str, Any] = {
    "config__model__name": "smollm2_135m",
    "config__dataset__name": "digit_arithmetic",
    "config__evaluation__name": "digit_arithmetic",
}


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder: Path = tmp_path_factory.mktemp("smollm2")
    for arm in MAIN:
        recorded.add(folder / arm, arm, **SMOLLM2)
    return load(str(folder))


def test_one_seed_of_a_real_model_has_a_headline_and_expectations(smollm2: Runs) -> None:
    page = summary.build(smollm2)
    assert "# Results: smollm2_135m on digit_arithmetic" in page
    assert "n = 1 seed, 12 problems" in page  # 2 benchmarks of 6
    assert "with 12.5% of its rollouts" in page
    assert "16-GRPO gains 25 points or more on easy" in page
    assert "yes: with exactly 12.5 % of the rollouts" in page
    assert "## Point estimates against our own bars" in page  # not the verdicts, which may differ


def test_an_experiment_of_a_reader_s_own_has_no_expectations(tmp_path: Path) -> None:
    for arm in MAIN:
        recorded.add(tmp_path / arm, arm, config__dataset__name="mine")
    assert summary.EXPECTED not in summary.build(load(str(tmp_path)))


def test_a_baseline_that_solves_nothing_leaves_ratios_open(tmp_path: Path) -> None:
    for arm in MAIN:
        rows = recorded.rows(arm, 0)
        for benchmark in recorded.BENCHMARKS:
            rows[-1][f"evaluation/{benchmark}/num_correct"] = [0] * recorded.NUM_PROBLEMS
        recorded.write(tmp_path / arm, recorded.about(arm, 0), rows)
    runs = load(str(tmp_path))
    assert "2-GRPO kept nan%" in summary.build(runs)
    assert "`retention_by_benchmark`" in summary.verdicts(runs, theory="nowhere")["inconclusive"]


def test_a_pair_that_is_ahead_leaves_no_gap_to_regain(tmp_path: Path) -> None:
    for arm, right in (("base", 0), ("grpo_g16", 2), ("two_grpo", 3), ("two_grpo_rs", 4)):
        rows = recorded.rows(arm, 0)
        for benchmark in recorded.BENCHMARKS:
            rows[-1][f"evaluation/{benchmark}/num_correct"] = [right] * recorded.NUM_PROBLEMS
        recorded.write(tmp_path / arm, recorded.about(arm, 0), rows)
    page = summary.build(load(str(tmp_path)))
    assert "of the gap" not in page and "16-GRPO gains 25 points or more" in page
