"""Pictures on two ranks (FSDP2 over gloo), where a rank may have none: as in one process."""

import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForImageTextToText

from tests.conftest import ROOT
from tests.policy import ranks_with_images
from twogrpo.distributed.process_group import SINGLE_PROCESS


@pytest.mark.slow
def test_two_ranks_learn_from_pictures_as_one_process_does(tmp_path):
    script = ROOT / "tests" / "policy" / "ranks_with_images.py"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *torchrun, str(script), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    policy = ranks_with_images.build(SINGLE_PROCESS, activation_checkpointing=False)
    start = {name: tensor.clone() for name, tensor in policy.weights()}
    for _ in range(2):
        policy.update(ranks_with_images.SEQUENCES)
    shared = AutoModelForImageTextToText.from_pretrained(tmp_path).state_dict()
    for name, tensor in policy.weights():
        assert not tensor.equal(start[name])
        torch.testing.assert_close(shared[name], tensor, atol=1e-5, rtol=0, msg=name)
