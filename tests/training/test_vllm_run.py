"""A run with rollouts by vLLM: the same loop, every sync checked, the same learning."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.vllm
SMALL = (
    "algorithm=two_grpo", "training.epochs=1", "dataset.num_prompts=384", "tracking=local",
    "evaluation.problems_per_benchmark=20",
)  # fmt: skip


def rows(folder, *overrides: str) -> list[dict]:
    """The rows of a run in a process of its own: an engine leaves threads and groups behind."""
    command = [sys.executable, "scripts/train.py", *SMALL, *overrides, f"output_dir={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_vllm_and_transformers_train_the_same_policy(tmp_path):
    """The draws differ, their distribution does not: rows of 256 rollouts differ by chance."""
    vllm = rows(tmp_path / "vllm", "rollout=vllm", "hardware.kv_cache_gib=0.25")
    plain = rows(tmp_path / "plain")
    assert len(vllm) == len(plain) == 4  # three steps and the evaluation
    for row in vllm[:-1]:
        assert row["canary/max"] < 1e-3
        assert row["mismatch/max"] < 1e-3
        assert row["mismatch/beyond_clip_fraction"] == 0
    for row, other in zip(vllm[:-1], plain[:-1], strict=True):
        # Four standard errors of the difference of two shares of 256.
        assert abs(row["reward/mean"] - other["reward/mean"]) < 4 * (2 * 0.25 / 256) ** 0.5
        assert row["tokens/generated"] == pytest.approx(other["tokens/generated"], rel=0.2)
    for name, value in plain[-1].items():
        if name.endswith("/mean"):
            # Means over 20 problems × 32 samples vary with the number of problems.
            assert abs(vllm[-1][name] - value) < 0.12
