"""SIGTERM ends the current phase, writes a checkpoint and exits; the same command continues."""

import copy
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.outcomes import assert_bit_for_bit, outcome, run_json
from tests.training.test_loop import ARMS, BRIEF
from twogrpo.distributed.process_group import Ranks
from twogrpo.errors import EXIT_LATE, CheckpointFault, NotFiniteFault, Preempted
from twogrpo.run_record.files import read_rows
from twogrpo.run_record.record import NullRecord
from twogrpo.training import loop, resume
from twogrpo.training.preemption import PreemptionHandler

GPUS_PAGE = (ROOT / "docs/gpus.md").read_text()


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def send_at(run, phase: str, step: int) -> None:
    """Sends SIGTERM to this process during that phase of that step."""
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
        ("two_grpo", "generate", 2),  # before the updates: the same tokens are drawn again
        ("two_grpo", "update", 3),  # finished first, with its row
        ("two_grpo_rs", "old_logps", 2),  # the surplus as it was before
        ("two_grpo_rs", "sync", 3),
    ],
)
def test_sigterm_ends_the_phase_with_a_checkpoint_from_which_the_run_continues(
    arm, phase, saved, make_run, tmp_path
):
    common = [*ARMS[arm], *BRIEF, "checkpointing.every=5", "evaluation.at_end=false"]
    loop.train(make_run(*common, f"output_dir={tmp_path / 'uninterrupted'}"))
    run = make_run(*common)
    before = signal.getsignal(signal.SIGTERM)
    send_at(run, phase, 2)
    with pytest.raises(Preempted, match="SIGTERM") as stopped:
        loop.train(run)
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert checkpoints(tmp_path / "run") == [f"{saved:06d}"]
    assert [row["step"] for row in read_rows(tmp_path / "run")] == list(range(saved))
    loop.train(make_run(*common))
    assert run_json(tmp_path / "run")["status"] == "finished"
    assert_bit_for_bit(outcome(tmp_path / "run"), outcome(tmp_path / "uninterrupted"))


RECIPE = re.search(r"^\[ \$RUN/run\.json .*?\$SLURM_JOB_ID$", GPUS_PAGE, re.MULTILINE | re.DOTALL)


def is_requeued(folder: Path) -> bool:
    """Whether the end of the Slurm job in docs/gpus.md requeues it."""
    assert RECIPE
    script = f'RUN={folder}; SLURM_JOB_ID=7; scontrol() {{ echo "$@"; }}\n{RECIPE[0]}'
    said = subprocess.run(
        ["bash", "-c", script], cwd=folder.parent, capture_output=True, text=True, check=False
    )
    assert said.stderr == ""
    return said.stdout == "requeue 7\n"


@pytest.mark.parametrize("fault", [None, NotFiniteFault, CheckpointFault, RuntimeError])
def test_a_slurm_job_is_requeued_only_after_sigterm(fault, make_run, tmp_path):
    brief = [*ARMS["two_grpo"], *BRIEF, "evaluation.at_end=false"]
    folder, began = tmp_path / "run", tmp_path / "7.began"
    assert not is_requeued(folder)  # code 2, and nothing was written
    began.touch()
    run = make_run(*brief)
    assert not is_requeued(folder)
    send_at(run, "generate", 2)
    with pytest.raises(Preempted):
        loop.train(run)
    assert run_json(folder)["ended_by"] == "SIGTERM"
    assert is_requeued(folder)
    time.sleep(0.05)
    began.touch()  # a second start that failed with code 2: the record is of the first one
    assert not is_requeued(folder)
    run = make_run(*brief)
    if fault is not None:

        def fill(*_, **__):
            raise fault("no")

        run.collector.resampling.fill = fill
        with pytest.raises(fault):
            loop.train(run)
        assert run_json(folder)["ended_by"] == fault.__name__
    else:
        loop.train(run)
        assert "ended_by" not in run_json(folder)
    assert not is_requeued(folder)


@pytest.mark.parametrize("is_told", [False, True])
def test_sigterm_by_torchrun_after_another_rank_s_failure_requeues_no_job(
    is_told, make_run, monkeypatch, tmp_path
):
    """The first rank is in a phase longer than the grace period. Where both were told to end, the
    second one's error is only that the first has left."""
    began, brief = tmp_path / "7.began", [*ARMS["two_grpo"], *BRIEF]
    began.touch()
    run = make_run(*brief)
    second = copy.copy(run)
    second.ranks, second.record = Ranks(1, 2, 0, True), NullRecord(run.config, run.record.about)
    second.preemption.is_received = is_told
    with pytest.raises(NotFiniteFault), resume.open_run(second):
        raise NotFiniteFault("no")
    monkeypatch.setattr(os, "_exit", lambda code: None)
    run.preemption._force_exit()
    assert run_json(tmp_path / "run")["ended_by"] == ("SIGTERM" if is_told else "NotFiniteFault")
    assert is_requeued(tmp_path / "run") == is_told
    run.record.interrupt("KeyboardInterrupt")  # releases the folder
    again = make_run(*brief)  # the mark is of the start before
    again.record.mark_interrupted("SIGTERM")
    assert is_requeued(tmp_path / "run")


@pytest.mark.parametrize(
    ("local", "nodes", "launch"),
    [
        ("4", "1", "torchrun --standalone --nproc-per-node 4 "),
        ("8", "2", "on each node torchrun --nnodes 2 --nproc-per-node 8 "),
        (None, None, "python "),
    ],
)
def test_the_command_to_resume_names_the_launcher(local, nodes, launch, make_run, monkeypatch):
    run = make_run("algorithm=two_grpo")
    if local:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
        monkeypatch.setenv("GROUP_WORLD_SIZE", nodes)
    run.ranks = replace(run.ranks, is_sharded=local is not None)
    assert f"To resume: {launch}" in resume.resume_command(run)


def test_sigterm_in_the_final_evaluation_ends_at_the_next_chunk(make_run, tmp_path):
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


def test_every_rank_ends_if_one_received_sigterm():
    ranks: Any = SimpleNamespace(all_gather=lambda mine: [mine, True])
    with PreemptionHandler(ranks, grace_seconds=55) as preemption, pytest.raises(Preempted):
        preemption.check()


def test_without_sigterm_nothing_happens_in_any_thread():
    def use() -> bool:
        with PreemptionHandler(grace_seconds=55) as preemption:
            preemption.check()
        return True

    with ThreadPoolExecutor() as other:
        assert use() and other.submit(use).result()


def test_a_phase_longer_than_the_grace_period_ends_with_code_75():
    program = (
        "import os, signal, time\n"
        "from twogrpo.training.preemption import PreemptionHandler\n"
        "with PreemptionHandler(grace_seconds=0.5):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"  # a second one changes nothing
        "    time.sleep(60)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == EXIT_LATE == 75
    assert len(ended.stderr.splitlines()) == 2
