"""SIGTERM: the current phase, a checkpoint, the end; and on from there as if nothing had been."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.training.test_loop import ARMS, BRIEF, assert_bit_for_bit, outcome
from twogrpo.errors import EXIT_LATE, CheckpointFault, NotFiniteFault, Preempted
from twogrpo.run_record.files import read_rows
from twogrpo.training import loop, resume
from twogrpo.training.preemption import PreemptionHandler

README = (ROOT / "README.md").read_text()


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def send_at(run, phase: str, step: int) -> None:
    """Sends SIGTERM to this process amid that phase of that step."""
    original, count = run.timer.phase, [-1]

    def phase_with_signal(name):
        count[0] += name == phase
        if name == phase and count[0] == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(name)

    run.timer.phase = phase_with_signal


@pytest.mark.parametrize(
    ("arm", "phase", "saved"),
    [
        ("two_grpo", "generate", 2),  # not yet updated: what is drawn again are the same tokens
        ("two_grpo", "update", 3),  # finished first, with its row
        ("two_grpo_rs", "old_logps", 2),  # the surplus as it was before
        ("two_grpo_rs", "sync", 3),
    ],
)
def test_the_phase_ends_a_checkpoint_is_written_and_the_run_goes_on(
    arm, phase, saved, make_run, tmp_path
):
    common = [*ARMS[arm], *BRIEF, "checkpointing.every=5", "evaluation.at_end=false"]
    loop.train(make_run(*common, f"output_dir={tmp_path / 'whole'}"))
    run = make_run(*common)
    before = signal.getsignal(signal.SIGTERM)
    send_at(run, phase, 2)
    with pytest.raises(Preempted, match="ended by SIGTERM: the same command continues") as stopped:
        loop.train(run)
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert checkpoints(tmp_path / "run") == [f"{saved:06d}"]
    assert [row["step"] for row in read_rows(tmp_path / "run")] == list(range(saved))
    loop.train(make_run(*common))
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "finished"
    assert_bit_for_bit(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))


RECIPE = re.search(r"^\[ \$RUN/run\.json .*?\$SLURM_JOB_ID$", README, re.MULTILINE | re.DOTALL)


def is_requeued(folder: Path) -> bool:
    """What the end of README's Slurm job does."""
    assert RECIPE
    script = f'RUN={folder}; SLURM_JOB_ID=7; scontrol() {{ echo "$@"; }}\n{RECIPE[0]}'
    said = subprocess.run(
        ["bash", "-c", script], cwd=folder.parent, capture_output=True, text=True, check=False
    )
    assert said.stderr == ""
    return said.stdout == "requeue 7\n"


@pytest.mark.parametrize("fault", [None, NotFiniteFault, CheckpointFault, RuntimeError])
def test_a_job_is_put_back_into_the_queue_only_if_it_was_told_to_end(fault, make_run, tmp_path):
    brief = [*ARMS["two_grpo"], *BRIEF, "evaluation.at_end=false"]
    folder, began = tmp_path / "run", tmp_path / "7.began"
    assert not is_requeued(folder)  # code 2, and nothing was written
    began.touch()
    run = make_run(*brief)
    assert not is_requeued(folder)
    send_at(run, "generate", 2)
    with pytest.raises(Preempted):
        loop.train(run)
    assert json.loads((folder / "run.json").read_text())["ended_by"] == "SIGTERM"
    assert is_requeued(folder)
    time.sleep(0.05)
    began.touch()  # the job again, which fails with code 2: the record is the first one's
    assert not is_requeued(folder)
    run = make_run(*brief)
    if fault is not None:
        run.collector.resampling.fill = _raiser(fault)
        with pytest.raises(fault):
            loop.train(run)
        assert json.loads((folder / "run.json").read_text())["ended_by"] == fault.__name__
    else:
        loop.train(run)
        assert "ended_by" not in json.loads((folder / "run.json").read_text())
    assert not is_requeued(folder)


def _raiser(fault: type[Exception]):
    def collect(*_, **__):
        raise fault("no")

    return collect


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({"LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "1"}, "torchrun --nproc-per-node 4 "),
        (
            {"LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2"},
            "on each node torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d "
            "--rdzv-endpoint HOST:PORT ",
        ),
        (None, "python "),
    ],
)
def test_how_to_go_on_names_the_launch(environment, launch, make_run, monkeypatch):
    run = make_run("algorithm=two_grpo")
    for name, value in (environment or {}).items():
        monkeypatch.setenv(name, value)
    run.ranks = replace(run.ranks, is_sharded=environment is not None)
    assert f"To resume: {launch}" in resume.resume_command(run)


def test_in_the_final_evaluation_it_ends_at_the_next_chunk(make_run, tmp_path):
    run = make_run(*ARMS["two_grpo"], "hardware.rollouts_per_call=4")
    log = run.record.log

    def log_and_send(row):
        log(row)
        if row["step"] == run.config.num_steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    run.record.log = log_and_send
    with pytest.raises(Preempted):
        loop.train(run)
    assert checkpoints(tmp_path / "run")[-1] == "000006"
    assert not (tmp_path / "run/evaluation/samples.parquet").exists()
    loop.train(make_run(*ARMS["two_grpo"], "hardware.rollouts_per_call=4"))
    assert len(read_rows(tmp_path / "run")) == 7


def test_every_rank_ends_where_one_was_told():
    class TwoRanks:
        def all_gather(self, mine):
            return [mine, True]

    with PreemptionHandler(TwoRanks(), grace_seconds=55) as preemption, pytest.raises(Preempted):  # type: ignore[arg-type]
        preemption.check()


def test_not_told_nothing_happens_in_any_thread():
    def use() -> None:
        with PreemptionHandler(grace_seconds=55) as preemption:
            preemption.check()

    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()


def test_a_phase_that_takes_too_long_is_not_waited_for():
    program = (
        "import os, signal, time\n"
        "from twogrpo.training.preemption import PreemptionHandler\n"
        "with PreemptionHandler(grace_seconds=0.5):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"  # a second one changes nothing
        "    time.sleep(60)\n"
    )
    start = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == EXIT_LATE == 75
    first, last = ended.stderr.splitlines()
    assert "a checkpoint after the current phase" in first
    assert "too long to wait for; the same command continues at the last checkpoint" in last
    assert time.monotonic() - start < 45
