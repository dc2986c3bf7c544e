"""kill -9 at any moment loses nothing: the resumed run ends like one that was never killed."""

import random
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.scripted import Script, finished
from tests.outcomes import assert_bit_for_bit, assert_surplus_crossed_a_step, outcome

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

RESAMPLING = ["algorithm=two_grpo_rs", "algorithm.resampling_budget_group_size=5"]
ARMS = {
    "grpo": ["algorithm=grpo", "algorithm.group_size=4", "tracking=local"],
    "two_grpo": ["algorithm=two_grpo", "tracking=local"],
    "two_grpo_rs": [*RESAMPLING, "tracking=wandb_offline"],
}
KILLS_AT_RANDOM = 4  # for each arm


def kill_within(seconds: float, folder: Path, arm: list[str], rng: random.Random) -> None:
    """Kills the run at a random moment of these seconds after it has opened its record."""
    opened = (folder / "run.json").stat().st_mtime_ns if folder.exists() else 0
    script = Script(folder, *arm)
    run_file = folder / "run.json"
    assert script.when(lambda: run_file.exists() and run_file.stat().st_mtime_ns > opened)
    time.sleep(rng.uniform(0, seconds))
    assert script.kill() == -9, f"it had ended already:\n{script.words()}"


def is_half_written(folder: Path, began: float) -> bool:
    """Whether a checkpoint is being written; older temporary folders are left by earlier kills."""
    for shard in folder.glob("checkpoints/.*.tmp/shard-*"):
        with suppress(FileNotFoundError):  # published since
            if shard.stat().st_ctime > began:
                return True
    return False


def kill_during(what: str, folder: Path, arm: list[str]) -> bool:
    """Kills the run during the event; returns whether it was still going on."""
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
    # Between the look and the kill the checkpoint may have been published.
    return was_alive and (what != "a checkpoint write" or is_half_written(folder, began))


@pytest.mark.parametrize("arm", ARMS)
def test_a_run_killed_many_times_ends_bit_for_bit_like_one_never_killed(arm, tmp_path):
    """Weights, Adam's moments, counters, surplus, samples, rows; each row once."""
    finished(tmp_path / "uninterrupted", *ARMS[arm])
    expected = outcome(tmp_path / "uninterrupted")
    assert [row["step"] for row in expected["rows"]] == list(range(17))
    assert sum(row.get("policy/gradient_norm", 0) > 0 for row in expected["rows"]) > 8
    rng = random.Random(arm)
    folder = tmp_path / "killed"
    if arm == "two_grpo_rs":
        assert kill_during("a W&B flush", folder, ARMS[arm])
    seconds = expected["seconds"] / (KILLS_AT_RANDOM + 2)  # so that it cannot end before the kill
    for _ in range(KILLS_AT_RANDOM):
        kill_within(seconds, folder, ARMS[arm], rng)
    assert any(kill_during("a checkpoint write", folder, ARMS[arm]) for _ in range(5))
    assert kill_during("the evaluation", folder, ARMS[arm])
    finished(folder, *ARMS[arm])
    assert_bit_for_bit(outcome(folder), expected)
    if arm == "two_grpo_rs":
        assert_surplus_crossed_a_step(expected)
