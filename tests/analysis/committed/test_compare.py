"""Yours beside ours: equal, inside or outside, and no comparison of what does not compare."""

import json
from pathlib import Path

import pytest

from analysis.committed import compare, records
from analysis.records.frames import load
from tests.analysis import recorded
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import METRICS_FILE, RUN_FILE, run_folders


@pytest.fixture
def results(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    results = tmp_path / "results"
    for module in (records, compare):
        monkeypatch.setattr(module, "RESULTS", results)
    records.pack(folder, results / "ours" / "runs")
    return results


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return recorded.write_arms(tmp_path / "mine")


def edit(folder: Path, key: str, change) -> None:
    """Changes a value of the evaluation in every run below the folder."""
    for run in run_folders(folder):
        rows = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
        for row in rows:
            row |= {name: change(value) for name, value in row.items() if name.endswith(key)}
        (run / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))


def compared(folder: Path):
    runs = load(str(folder))
    committed = compare.same_experiment(runs)
    assert committed is not None
    return compare.build(runs, committed)


def test_the_same_runs_are_equal_to_the_digit(results: Path, mine: Path) -> None:
    exhibit = compared(mine)
    assert set(exhibit.frame["agreement"]) == {"equal"}
    assert {"16-GRPO", "2-GRPO", "claims"} <= set(exhibit.frame["of"])
    count = len(exhibit.frame[~exhibit.frame["is_time"]])
    assert f"of {count} numbers {count} equal" in compare.headline(exhibit.frame)


def test_other_accuracies_are_inside_or_outside_our_interval(results: Path, mine: Path) -> None:
    edit(mine, "num_correct", lambda values: [0 for _ in values])
    frame = compared(mine).frame.set_index(["of", "number"])
    assert frame.loc[("2-GRPO", "average_mean"), "agreement"] == "outside"
    assert frame.loc[("2-GRPO", "rollouts_generated_share"), "agreement"] == "equal"


def test_a_run_of_one_arm_is_compared_and_drawn(results: Path, mine: Path) -> None:
    for run in run_folders(mine):
        if not run.name.startswith("run-two_grpo-"):
            (run / RUN_FILE).unlink()
    assert {"2-GRPO"} <= set(compared(mine).frame["of"]) <= {"2-GRPO", "claims"}


def test_other_prompts_or_samples_are_another_experiment(results: Path, mine: Path) -> None:
    for run in run_folders(mine):
        about = json.loads((run / RUN_FILE).read_text())
        about["config"]["evaluation"]["temperature"] = 1.0
        (run / RUN_FILE).write_text(json.dumps(about))
    runs = load(str(mine))
    assert compare.same_experiment(runs) is None
    with pytest.raises(ConfigError, match="no runs of tiny"):
        compare.main(runs, mine / "report")
    assert not (mine / "report").exists()


def test_runs_of_two_scales_are_refused(results: Path, mine: Path) -> None:
    for run in run_folders(mine)[:2]:
        about = json.loads((run / RUN_FILE).read_text())
        about["config"]["model"]["name"] = "other"
        (run / RUN_FILE).write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="are of several settings"):
        compare.same_experiment(load(str(mine), allow_mixed=True))


def test_an_arm_of_your_own_alone_is_drawn_and_counts_nothing(
    results: Path, tmp_path: Path
) -> None:
    recorded.add(tmp_path / "own" / "run", "two_grpo", config__algorithm__name="mine")
    exhibit = compared(tmp_path / "own")
    assert exhibit.frame.empty and exhibit.figure is not None
    assert "of 0 numbers" in compare.headline(exhibit.frame)


def test_adapters_are_another_experiment(results: Path, tmp_path: Path) -> None:
    lora = {"rank": 8, "learning_rate_scale": 10.0}
    recorded.add(tmp_path / "lora" / "run", "two_grpo", config__model__lora=lora)
    assert compare.same_experiment(load(str(tmp_path / "lora"))) is None
