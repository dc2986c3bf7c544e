"""A run's record: rows survive, a folder belongs to one run, a finished run is recognised."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.broken_records import BROKEN, broken
from twogrpo.config.output_folder import LOCK
from twogrpo.errors import ConfigError
from twogrpo.run_record import provenance
from twogrpo.run_record.files import read_rows
from twogrpo.run_record.provenance import code_hash
from twogrpo.run_record.record import RunRecord, is_finished


@pytest.fixture
def config(make_config, monkeypatch):
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")
    return make_config()


def about(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_rows_are_read_as_they_were_logged(config, tmp_path):
    record = RunRecord(config)
    rows = [{"step": 0, "reward/mean": 1 / 3}, {"step": 1, "reward/mean": 0.1 + 0.2}]
    for row in rows:
        record.log(row)
    assert record.rows() == read_rows(tmp_path / "run") == rows
    assert RunRecord(config).rows() == rows  # opened again, nothing is lost


def test_truncate_removes_later_rows_and_a_half_written_line(config, tmp_path):
    record = RunRecord(config)
    record.truncate(0)
    assert record.rows() == []
    for step in range(4):
        record.log({"step": step})
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "reward/me')
    record.truncate(2)
    assert record.rows() == [{"step": 0}, {"step": 1}]
    record.log({"step": 2})
    assert [row["step"] for row in record.rows()] == [0, 1, 2]


def test_run_file_holds_identity_config_and_versions(config, tmp_path):
    RunRecord(config)
    said = about(tmp_path / "run")
    assert said["status"] == "running"
    assert said["identity"] == config.identity()
    assert said["config"]["algorithm"]["group_size"] == 16
    assert said["versions"]["torch"]
    assert said["versions"]["python"].startswith("3.")
    assert {"commit", "code", "hardware", "started", "run_id"} <= said.keys()


def test_only_the_same_run_counts_as_finished(config, make_config, tmp_path):
    assert not is_finished(config)
    record = RunRecord(config)
    assert not is_finished(config)
    record.finish({"evaluation/average": 0.5})
    with pytest.raises(ConfigError, match=r"its metrics\.jsonl is empty: restore it"):
        is_finished(config)
    record.log({"step": 0})
    assert is_finished(config)
    assert about(tmp_path / "run")["summary"] == {"evaluation/average": 0.5}
    with pytest.raises(ConfigError, match=r"belongs to another config \(seed=0 there, 1 here\)"):
        is_finished(make_config("seed=1"))


@pytest.mark.parametrize(
    ("overrides", "code", "why"),
    [
        # A changed hardware knob does not make another run: the difference named is the seed.
        (("hardware.tokens_per_microbatch=999", "seed=3"), "one code", "seed=0 there, 3 here"),
        (("resume=never",), "one code", "resume=never"),
        ((), "other code", "made by other code"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_unchanged(
    config, make_config, tmp_path, monkeypatch, overrides, code, why
):
    RunRecord(config).log({"step": 0})
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    monkeypatch.setattr(provenance, "code_hash", lambda: code)
    with pytest.raises(ConfigError, match=why):
        RunRecord(make_config(*overrides))
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_the_code_hash_depends_on_the_package_s_sources_alone(tmp_path, monkeypatch):
    package = tmp_path / "twogrpo/core"
    package.mkdir(parents=True)
    (package / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    first = code_hash()
    (tmp_path / "README.md").write_text("other words")
    assert code_hash() == first
    (package / "a.py").write_text("x = 2\n")
    assert code_hash() != first


def test_identity_depends_on_values_that_change_numbers(make_config):
    identity = make_config().identity()
    for same in (
        "run_name=x",
        "output_dir=x",
        "resume=never",
        "tracking.kl_rollouts=0",
        "tracking=wandb_offline",
        "hardware.tokens_per_microbatch=999",
        "reward.num_workers=3",
    ):
        assert make_config(same).identity() == identity, same
    for other in (
        "seed=1",
        "algorithm.clip_high=0.2",
        "evaluation.num_samples=5",
        "dataset.seed=1",
        "reward.deadline_seconds=9",
    ):
        assert make_config(other).identity() != identity, other


def test_the_mirror_in_wandb_has_the_same_rows_and_needs_no_network(
    make_config, monkeypatch, tmp_path
):
    """W&B receives config, tags, group and id, then every row under its step."""
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")
    mirror = Mock(summary={})
    init = Mock(return_value=mirror)
    monkeypatch.setattr("wandb.init", init)
    config = make_config("tracking=wandb_offline", "algorithm=two_grpo", "seed=3")
    opened = RunRecord(config)
    opened.log({"step": 0, "reward/mean": 0.5})
    opened.finish({"evaluation/average": 0.25})
    arguments = init.call_args.kwargs
    assert arguments["mode"] == "offline"
    assert {"two_grpo", "G=2", "seed=3"} <= set(arguments["tags"])
    assert arguments["group"] == "chain_arithmetic-tiny"
    assert arguments["id"] == about(tmp_path / "run")["run_id"]
    assert arguments["config"]["algorithm"]["group_size"] == 2
    mirror.log.assert_called_once_with({"reward/mean": 0.5}, step=0)
    assert mirror.summary["evaluation/average"] == 0.25
    mirror.finish.assert_called_once_with(exit_code=0)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_not_continued(name, config, tmp_path):
    record = RunRecord(config)
    for step in range(3):
        record.log({"step": step})
    del record
    broken(name, tmp_path / "run", tmp_path / "broken")
    before = contents(tmp_path / "broken")
    with pytest.raises(ConfigError):
        RunRecord(replace(config, output_dir=str(tmp_path / "broken")))
    assert contents(tmp_path / "broken") == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_without_the_rows_before_it_is_not_continued(config):
    record = RunRecord(config)
    with pytest.raises(ConfigError, match=r"no row of step 0, .*continues at step 2"):
        record.truncate(2)
    record.log({"step": 0})
    with pytest.raises(ConfigError, match=r"no row of step 1, .*restore the file"):
        record.truncate(2)
    record.truncate(1)


def test_a_run_killed_before_its_record_was_written_can_be_started_again(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json.tmp").write_text('{"run')
    (tmp_path / "run" / LOCK).write_text("12345")
    assert not is_finished(config)
    RunRecord(config).finish({})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


@pytest.mark.parametrize("edited", ["train.jsonl", "config.json", "exam.jsonl"])
def test_a_file_edited_under_its_name_makes_another_run(edited, config, tmp_path):
    files = {
        key: [tmp_path / name]
        for key, name in (
            ("dataset.path", "train.jsonl"),
            ("model.path", "config.json"),
            ("evaluation.folder", "exam.jsonl"),
        )
    }
    for [path] in files.values():
        path.write_text("as it was")
    record = RunRecord(config, files=files)
    record.log({"step": 0})
    record.finish({})
    assert is_finished(config, files)
    (tmp_path / edited).write_text("as it is")
    key = next(key for key, [path] in files.items() if path.name == edited)
    for opened in (is_finished, lambda *_: RunRecord(config, files=files)):
        with pytest.raises(ConfigError, match=f"{key}: {edited} is not what it was"):
            opened(config, files)
    elsewhere = RunRecord(replace(config, output_dir=str(tmp_path / "new")), files=files)
    assert elsewhere.about["identity"] != record.about["identity"]
    assert elsewhere.about["run_id"] != record.about["run_id"]  # so W&B and samples tell them apart
