"""kill -9 at any moment loses nothing: the run that goes on ends as one that was never killed."""

import json
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.scripted import Script, finished
from twogrpo.run_record.files import read_rows

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

ARMS = {
    "grpo": ["algorithm=grpo", "algorithm.group_size=4", "tracking=local"],
    "two_grpo": ["algorithm=two_grpo", "tracking=local"],
    "two_grpo_rs": [
        "algorithm=two_grpo_rs",
        "algorithm.resampling_budget_group_size=5",
        "tracking=wandb_offline",
    ],
}
KILLS_AT_RANDOM = 4  # an arm


def is_time(name: str) -> bool:
    first = name.split("/")[0]
    return first in ("seconds", "cpu_seconds", "speed", "memory") or name.endswith("/seconds")


def timeless(row: dict) -> dict:
    return {name: value for name, value in row.items() if not is_time(name)}


def outcome(folder: Path) -> dict:
    """All that a run leaves."""
    newest = max((folder / "checkpoints").glob("[0-9]*"))
    summary = json.loads((folder / "run.json").read_text())["summary"]
    return {
        "seconds": summary["seconds/training"],
        "rows": [timeless(row) for row in read_rows(folder)],
        "state": json.loads((newest / "state.json").read_text()),
        "summary": timeless(summary),
        "status": json.loads((folder / "run.json").read_text())["status"],
        "weights": load_file(folder / "final/model.safetensors"),
        "optimiser": {k: v for path in newest.glob("shard-*") for k, v in load_file(path).items()},
    }


def assert_bit_for_bit(actual: dict, expected: dict) -> None:
    for part in ("rows", "state", "summary", "status"):
        assert actual[part] == expected[part], part
    for part in ("weights", "optimiser"):
        assert actual[part].keys() == expected[part].keys()
        for name, tensor in expected[part].items():
            assert torch.equal(actual[part][name], tensor), name


def kill_within(seconds: float, folder: Path, arm: list[str], rng: random.Random) -> None:
    """At a random moment of so many seconds after the run has opened its record again."""
    opened = (folder / "run.json").stat().st_mtime_ns if folder.exists() else 0
    script = Script(folder, *arm)
    run_file = folder / "run.json"
    assert script.when(lambda: run_file.exists() and run_file.stat().st_mtime_ns > opened)
    time.sleep(rng.uniform(0, seconds))
    assert script.kill() == -9, f"it had ended already:\n{script.words()}"


def is_half_written(folder: Path, began: float) -> bool:
    """Whether a checkpoint's shards lie in its temporary folder; older ones a kill left there."""
    for shard in folder.glob("checkpoints/.*.tmp/shard-*"):
        with suppress(FileNotFoundError):  # published since
            if shard.stat().st_ctime > began:
                return True
    return False


def kill_in_the_midst_of(what: str, folder: Path, arm: list[str]) -> bool:
    """Whether it was caught in the act."""
    began = time.time()
    script = Script(folder, *arm)
    wandb = sum(path.stat().st_size for path in folder.rglob("*.wandb"))

    def happens() -> bool:
        if what == "a checkpoint write":
            return is_half_written(folder, began)
        if what == "the evaluation":
            return (folder / "evaluation/samples.jsonl").exists()
        return sum(path.stat().st_size for path in folder.rglob("*.wandb")) > wandb

    assert script.when(happens), f"{what} never came:\n{script.words()}"
    was_alive = script.kill() == -9
    # It may have gone on between the look and the kill: published, the folder is no longer there.
    return was_alive and (what != "a checkpoint write" or is_half_written(folder, began))


@pytest.mark.parametrize("arm", ARMS)
def test_a_run_killed_again_and_again_ends_bit_for_bit_as_one_never_killed(arm, tmp_path):
    """Weights, Adam's moments, counters, surplus, samples, rows; each row once."""
    finished(tmp_path / "whole", *ARMS[arm])
    expected = outcome(tmp_path / "whole")
    assert [row["step"] for row in expected["rows"]] == list(range(17))
    assert sum(row.get("policy/gradient_norm", 0) > 0 for row in expected["rows"]) > 8
    rng = random.Random(arm)
    folder = tmp_path / "killed"
    if arm == "two_grpo_rs":
        assert kill_in_the_midst_of("a W&B flush", folder, ARMS[arm])
    seconds = expected["seconds"] / (KILLS_AT_RANDOM + 2)  # so that it cannot end before its time
    for _ in range(KILLS_AT_RANDOM):
        kill_within(seconds, folder, ARMS[arm], rng)
    assert any(kill_in_the_midst_of("a checkpoint write", folder, ARMS[arm]) for _ in range(5))
    assert kill_in_the_midst_of("the evaluation", folder, ARMS[arm])
    finished(folder, *ARMS[arm])
    assert_bit_for_bit(outcome(folder), expected)
    if arm == "two_grpo_rs":
        rows = expected["rows"][:-1]
        left = [
            r["rollouts/generated"] - r["rollouts/kept"] - r["rollouts/discarded"] for r in rows
        ]
        assert any(left), "no surplus crossed a step: the test proves too little"
