"""2,000 steps in one process: its memory and its open files stay flat."""

import statistics
import time
from pathlib import Path

import pytest

from tests.faults.scripted import Script

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)]

# 4 prompts × 2,000 epochs / 4 a step. W&B's mirror and the checkpoints are on, as by default.
ARM = [
    "algorithm=two_grpo", "algorithm.minibatch_scale=2", "dataset.num_prompts=4",
    "training.epochs=2000", "training.prompts_per_step=4", "training.prompts_per_minibatch=1",
    "checkpointing.every=20", "evaluation.at_end=false", "evaluation.validation_every=200",
    "tracking=wandb_offline",
]  # fmt: skip


def held(process: int) -> tuple[int, int]:
    """The resident bytes of the process alone, and the number of its open files."""
    status = Path(f"/proc/{process}/status").read_text()
    anonymous = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(anonymous.split()[1]) * 1024, len(list(Path(f"/proc/{process}/fd").iterdir()))


def test_memory_and_open_files_stay_flat(tmp_path):
    script = Script(tmp_path / "run", *ARM)
    metrics = tmp_path / "run/metrics.jsonl"
    seen: list[tuple[int, int, int]] = []
    while script.process.is_alive():
        time.sleep(0.2)
        try:
            with metrics.open("rb") as file:
                steps = sum(1 for _ in file)
            seen.append((steps, *held(script.process.pid)))
        except (OSError, StopIteration):  # not begun, or just ended
            continue
    assert script.wait() == 0, script.words()
    assert max(steps for steps, _, _ in seen) > 1900
    early = [sample for sample in seen if 200 <= sample[0] < 400]
    late = [sample for sample in seen if sample[0] >= 1800]
    memory = [statistics.median(m for _, m, _ in part) for part in (early, late)]
    files = [max(f for _, _, f in part) for part in (early, late)]
    print(f"memory {memory[0] / 2**20:.1f} → {memory[1] / 2**20:.1f} MiB, files {files}")
    assert memory[1] < 1.05 * memory[0]
    assert files[1] <= files[0] + 1  # a checkpoint is written through one
