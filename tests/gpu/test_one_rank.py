"""FSDP2 on one rank under torchrun, NCCL on a GPU: its steps and a checkpoint that continues them,
against one process in float32 on the CPU."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT, tiny_model
from tests.policy import ranks_updating

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]


@dataclass(frozen=True)
class Taken:
    """Five steps: their metrics, the last two again from a checkpoint, the weights."""

    dtype: str
    device: str
    found: dict[str, Any]
    weights: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def exact() -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    policy = ranks_updating.build()
    return ranks_updating.steps(policy, 0, 5), {
        name: tensor.detach().clone()
        for name, tensor in policy.logprob_model.model.named_parameters()
    }


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def taken(request, device, tmp_path_factory) -> Taken:
    if device == "cpu" and request.param == "float32":
        pytest.skip("tests/policy/test_ranks.py has float32 on a CPU")
    folder = tmp_path_factory.mktemp("rank")
    command = [*TORCHRUN, "-m", "tests.gpu.one_rank", str(folder), device, request.param]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "found.json").read_text())
    return Taken(request.param, device, found, load_file(folder / "final/model.safetensors"))


def test_metrics_are_those_of_the_cpu_in_float32(taken, exact):
    """float32: sums in another order, 6e-8 each, grown by Adam where a gradient is near its epsilon
    of 1e-4. bfloat16: a gradient's error is some per cent (0.6 % of the first norm on a CPU), and
    each of Adam's steps, near a sign, adds to it (1 % after three, 7 % after four)."""
    rows, _ = exact
    assert len(taken.found["rows"]) == 5
    for step, (row, other) in enumerate(zip(rows, taken.found["rows"], strict=True)):
        rel = 1e-4 if taken.dtype == "float32" else 0.03 * (step + 1)
        assert other["gradient_norm"] == pytest.approx(row["gradient_norm"], rel=rel)
        # Of 45 tokens or fewer in bfloat16, one or two may fall on the other side of the bound.
        slack = 1e-6 if taken.dtype == "float32" else 0.06
        for name in ("clip_fraction_low", "clip_fraction_high"):
            assert other[name] == pytest.approx(row[name], abs=slack)
        for name in ("learning_rate", "num_sequences", "num_tokens"):
            assert other[name] == row[name]


def test_master_weights_are_float32_and_move_as_on_the_cpu(taken, exact):
    """Adam's steps are near a sign of the gradient's: in bfloat16 those of small gradients may
    turn, but not the sum of the steps."""
    start, (_, weights) = dict(tiny_model().named_parameters()), exact
    assert taken.weights.keys() == weights.keys()
    assert {tensor.dtype for tensor in taken.weights.values()} == {torch.float32}
    assert taken.found["devices"] == [taken.device]
    for name, tensor in weights.items():
        way, other = (x.flatten() - start[name].detach().flatten()
                      for x in (tensor, taken.weights[name]))  # fmt: skip
        if taken.dtype == "float32":
            torch.testing.assert_close(other, way, atol=2e-4 * float(way.abs().max()), rtol=0)
        else:
            assert torch.cosine_similarity(way, other, dim=0) > 0.97, name
            assert other.norm() == pytest.approx(float(way.norm()), rel=0.05), name


def test_a_checkpoint_continues_with_the_same_steps(taken):
    """On a GPU the sums of a backward pass may come in any order."""
    rel = {"cpu": 0, "cuda": 1e-4 if taken.dtype == "float32" else 1e-2}[taken.device]
    for row, again in zip(taken.found["rows"][3:], taken.found["again"], strict=True):
        assert again == pytest.approx(row, rel=rel)
