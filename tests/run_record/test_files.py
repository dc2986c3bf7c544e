"""The files of a run's folder: complete rows are read, damaged files are refused."""

import pytest

from tests.analysis import recorded
from tests.broken_records import BROKEN, broken
from tests.conftest import parse_config
from twogrpo.config.identity import flatten
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import (
    is_run_folder,
    read_json,
    read_rows,
    read_run_file,
    run_folders,
    with_current_keys,
)


def test_a_record_is_found_and_read_but_for_a_half_written_row(tmp_path):
    assert not is_run_folder(tmp_path)
    assert (read_run_file(tmp_path), read_rows(tmp_path), run_folders(tmp_path)) == ({}, [], [])
    rows = [{"step": 0, "reward/mean": 1 / 3}, {"step": 1}]
    for name in ("b", "a/nested"):
        folder = recorded.write(tmp_path / name, about := recorded.about("grpo_g16", 0), rows)
        assert is_run_folder(folder)
        assert read_run_file(folder) == about
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 2')  # half written
        assert read_rows(folder) == rows
    assert run_folders(tmp_path) == [tmp_path / "a/nested", tmp_path / "b"]


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
def test_a_damaged_file_is_named_in_one_line(name, tmp_path):
    folder = recorded.write(tmp_path / "run", recorded.about("grpo_g16", 0), [])
    (folder / name).write_text('{"step": \n{}\n')
    with pytest.raises(ConfigError, match=name) as refusal:
        read_run_file(folder)
        read_rows(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [None, "[1]", "{"])
def test_a_json_file_must_hold_an_object(content, tmp_path):
    if content is not None:
        (tmp_path / "state.json").write_text(content)
    with pytest.raises(ConfigError, match=r"state\.json cannot be read"):
        read_json(tmp_path / "state.json")


# Every key that was renamed or removed since, and one of each section that was not.
OLD_CONFIG = {
    "seed": 3,
    "training": {
        "epochs": 10,
        "prompts_per_generation": 128,
        "checkpoint_every": 5,
        "checkpoints_kept": 2,
        "preemption_grace_seconds": 55.0,
    },
    "rollout": {
        "engine": "vllm",
        "canary_prompts": 4,
        "canary_tokens": 8,
        "canary_bounds": {"float32": 1e-3, "bfloat16": 1.0},
        "canary_kl_bounds": {"float32": 1e-6, "bfloat16": 0.05},
    },
    "hardware": {"device": "cpu", "cpu_offload": False},
}


def test_the_configuration_of_an_old_record_is_read_under_todays_keys(tmp_path):
    about = recorded.about("grpo_g16", 0)
    old = OLD_CONFIG | {key: about["config"][key] for key in ("model", "dataset", "evaluation")}
    recorded.write(tmp_path / "old", about | {"config": old}, [])
    assert read_run_file(tmp_path / "old")["config"] == with_current_keys(old)
    assert with_current_keys(OLD_CONFIG) == {
        "seed": 3,
        "training": {"epochs": 10, "prompts_per_step": 128},
        "rollout": {"engine": "vllm"},
        "sync_check": {
            "prompts": 4,
            "tokens": 8,
            "bounds": {"float32": 1e-3, "bfloat16": 1.0},
            "kl_bounds": {"float32": 1e-6, "bfloat16": 0.05},
        },
        "checkpointing": {"every": 5, "kept": 2, "preemption_grace_seconds": 55.0},
        "hardware": {"device": "cpu"},
    }
    assert {*flatten(with_current_keys(OLD_CONFIG))} <= {*flatten(vars(parse_config()))}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_one_line_with_its_file(name, tmp_path):
    whole = recorded.add(tmp_path / "whole", "two_grpo")
    file = broken(name, whole, tmp_path / "run")
    with pytest.raises(
        ConfigError, match=rf"{file} cannot be read \(.+\): restore it, give a new"
    ) as refusal:
        read_run_file(tmp_path / "run")
        read_rows(tmp_path / "run")
    assert "\n" not in str(refusal.value)


def test_a_last_row_torn_within_a_letter_is_skipped(tmp_path):
    rows = [{"step": 0}]
    folder = recorded.write(tmp_path / "run", recorded.about("two_grpo", 0), rows)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write('{"step": 1, "é'.encode()[:-1])
    assert read_rows(folder) == rows


def test_the_line_of_the_damage_is_named(tmp_path):
    folder = recorded.add(tmp_path / "run", "two_grpo")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join([*lines[:3], "x\n", *lines[4:]]))
    with pytest.raises(ConfigError, match="line 4: Expecting value"):
        read_rows(folder)
    (folder / "run.json").write_text('{\n"config": {},\n"x')
    with pytest.raises(ConfigError, match="line 3: Unterminated string"):
        read_run_file(folder)
