"""SIGTERM at random moments: the run ends within 60 s with its code, and loses nothing."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.scripted import Script, finished
from tests.faults.test_kill import ARMS
from tests.outcomes import assert_bit_for_bit, outcome, run_json
from twogrpo.run_record.files import read_rows

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]


def terminate(script: Script) -> float:
    """Sends SIGTERM; returns the seconds until the end."""
    assert script.process.pid is not None
    start = time.monotonic()
    os.kill(script.process.pid, signal.SIGTERM)
    script.process.join(60)
    return time.monotonic() - start


def in_its_loop(folder: Path, arm: list[str]) -> Script:
    """A run that has just printed its batch table."""
    script = Script(folder, *arm)
    before = script.words().count("rollouts in all")
    assert script.when(lambda: script.words().count("rollouts in all") > before)
    return script


def test_a_run_ended_four_times_ends_bit_for_bit_like_one_left_alone(tmp_path):
    arm = [*ARMS["two_grpo_rs"], "checkpointing.every=100"]  # SIGTERM's are the only ones
    finished(tmp_path / "uninterrupted", *arm)
    expected = outcome(tmp_path / "uninterrupted")
    rng, folder = random.Random(0), tmp_path / "ended"
    for _ in range(4):
        script = in_its_loop(folder, arm)
        time.sleep(rng.uniform(0, expected["seconds"] / 6))
        assert terminate(script) < 60
        assert script.process.exitcode == 143, script.words()
        assert "ended by SIGTERM" in script.words().splitlines()[-1]
    assert len(list((folder / "checkpoints").iterdir())) >= 2
    finished(folder, *arm)
    assert_bit_for_bit(outcome(folder), expected)


def test_a_grace_period_shorter_than_a_phase_ends_with_75_at_the_last_checkpoint(tmp_path):
    """The run continues at the checkpoint of every fourth step and ends with the same bits."""
    arm = [*ARMS["two_grpo_rs"], "checkpointing.every=4"]
    finished(tmp_path / "uninterrupted", *arm)
    folder, hurried = tmp_path / "ended", [*arm, "checkpointing.preemption_grace_seconds=1e-4"]
    script = Script(folder, *hurried)
    assert script.when(lambda: folder.exists() and len(read_rows(folder)) >= 6)
    assert terminate(script) < 60
    assert script.process.exitcode == 75, script.words()
    about = run_json(folder)
    assert (about["status"], about["ended_by"]) == ("interrupted", "SIGTERM")
    done = len(read_rows(folder))
    saved = [int(path.name) for path in (folder / "checkpoints").glob("[0-9]*")]
    assert done - 4 <= max(saved) <= done  # equal where the loop saved it while it was being ended
    finished(folder, *arm)
    assert f"resumes at step {max(saved)}" in script.words()
    assert_bit_for_bit(outcome(folder), outcome(tmp_path / "uninterrupted"))


def test_sigterm_before_the_loop_ends_the_process_at_once(tmp_path):
    script = Script(tmp_path / "early", *ARMS["two_grpo"])
    assert terminate(script) < 60
    assert script.process.exitcode in (-signal.SIGTERM, 143)
    assert not (tmp_path / "early/checkpoints").exists()
