"""An error of one rank ends the run: nobody waits for a rank that waits for another."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.conftest import ROOT
from tests.outcomes import run_json
from tests.training.test_loop import BRIEF
from twogrpo.distributed.process_group import Ranks
from twogrpo.errors import Preempted
from twogrpo.training import resume
from twogrpo.training.preemption import PreemptionHandler

# Each rank's clean-up of the process group waits for ever, as NCCL's does for a busy peer.
PROGRAM = """
import os, runpy, sys, time
import torch.distributed as dist
dist.destroy_process_group = lambda *_: time.sleep(600)
from twogrpo.policy.policy import TransformersPolicy
update = TransformersPolicy.update
def failing(self, sequences):
    if self.num_updates == 1 and os.environ["RANK"] == "1":
        raise {error}
    return update(self, sequences)
TransformersPolicy.update = failing
sys.argv[0] = "scripts/{script}.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "error", "line"),
    [
        ("train", "KeyError('of rank one')", "KeyError: 'of rank one'"),
        ("train", "RuntimeError('CUDA out of memory')", "out of memory: lower hardware"),
        ("benchmark", "KeyError('of rank one')", "KeyError: 'of rank one'"),
    ],
)
def test_an_error_of_one_of_two_ranks_ends_both_within_a_minute(script, error, line, tmp_path):
    program, folder = tmp_path / "script.py", tmp_path / "run"
    program.write_text(PROGRAM.format(script=script, error=error))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(program)]
    typed = ["algorithm=two_grpo", *BRIEF, "tracking=local", f"output_dir={folder}"]
    done = subprocess.run(
        [sys.executable, *launch, *typed],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,  # the clean-up would take 600
    )
    assert done.returncode == 1, done.stderr
    assert line in done.stderr
    if script == "train":
        assert "To resume: torchrun --standalone --nproc-per-node 2" in done.stderr
        assert run_json(folder)["status"] == "interrupted"


@pytest.mark.parametrize("num_ranks", [1, 2])
@pytest.mark.parametrize("error", [None, Preempted("ended by SIGTERM"), ValueError("alone")])
def test_only_an_error_beside_other_ranks_leaves_the_group_as_it_is(num_ranks, error, monkeypatch):
    closed: list[str] = []
    part = {name: SimpleNamespace(close=lambda n=name: closed.append(n)) for name in ("a", "b")}
    record = SimpleNamespace(interrupt=lambda by: closed.append(by))
    run = SimpleNamespace(
        ranks=Ranks(0, num_ranks, 0, is_sharded=True),
        collector=SimpleNamespace(reward=part["a"], sampler=part["b"]),
        preemption=PreemptionHandler(grace_seconds=55),
        record=record,
    )
    monkeypatch.setattr(resume, "shutdown", lambda _: closed.append("group"))
    monkeypatch.setattr(resume, "resume_command", lambda _: "")
    try:
        with resume.open_run(run):
            if error:
                raise error
    except (Preempted, ValueError):
        pass
    if num_ranks == 2 and isinstance(error, ValueError):
        assert closed == ["ValueError", "a"]
    else:
        assert closed[-3:] == ["a", "b", "group"]
