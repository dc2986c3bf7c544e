"""The records' W&B twins: what is sent to W&B gives the same frames as the records themselves."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.committed.records import RESULTS
from analysis.committed.upload import upload
from analysis.records.frames import load
from analysis.records.readers import read
from twogrpo.errors import ConfigError


@pytest.mark.slow
def test_the_offline_runs_of_committed_records_give_the_same_frames(tmp_path: Path) -> None:
    source = str(RESULTS / "cpu" / "runs")
    names = ("base-tiny", "two_grpo-seed0", "grpo_g16-seed0")
    upload([r for r in read(source) if r.where in names], tmp_path / "twins", "project")
    twins = load(f"offline:{tmp_path / 'twins'}")
    ours = load(source)
    assert len(twins.runs) == len(names)
    for name in ("runs", "steps", "evaluations", "benchmarks"):
        twin, all_rows = getattr(twins, name), getattr(ours, name)
        same = all_rows[all_rows["run_id"].isin(twins.runs["run_id"])].reset_index(drop=True)
        shared = [column for column in same if same[column].notna().any()]
        pd.testing.assert_frame_equal(twin[shared], same[shared], check_dtype=False)


@pytest.mark.parametrize(
    "damage", [{"status": "unreadable"}, {"status": "interrupted"}, {"fault": "it lacks 'seed'"}]
)
def test_a_record_without_an_end_is_refused_before_anything_is_written(
    damage: dict[str, str], tmp_path: Path
) -> None:
    records = read(str(RESULTS / "cpu" / "runs"))[:2]
    vars(records[1]).update(damage)
    with pytest.raises(ConfigError, match=records[1].where):
        upload(records, tmp_path / "twins", "project")
    assert not (tmp_path / "twins").exists()
