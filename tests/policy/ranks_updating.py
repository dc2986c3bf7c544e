"""What a rank does in test_ranks.py: `torchrun ranks_updating.py FOLDER [lora]` takes five steps.

Started without torchrun it is the single process that the ranks are compared with.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.conftest import parse_config
from tests.policy.test_policy import HARDWARE, STILL, minibatch, policy
from twogrpo.config.schema import HardwareConfig, LoraConfig
from twogrpo.distributed import process_group
from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.policy import checkpoint
from twogrpo.policy.policy import TransformersPolicy

# The epsilon is large, so that Adam does not divide the noise of a zero gradient by itself.
TRAINING = replace(
    STILL, learning_rate=1e-2, warmup_updates=2, adam_epsilon=1e-4, gradient_clip_norm=0.5
)
LORA = LoraConfig(rank=4, alpha=4, target_modules="all-linear", learning_rate_scale=1.0)
SMALL = replace(HARDWARE, tokens_per_microbatch=30, logits_chunk_tokens=8)


def build(
    group: Ranks = SINGLE_PROCESS, hardware: HardwareConfig = SMALL, lora: LoraConfig | None = None
) -> TransformersPolicy:
    return policy(training=TRAINING, hardware=hardware, ranks=group, lora=lora)


def steps(subject: TransformersPolicy, first: int, last: int) -> list[dict[str, float]]:
    """One update a step on sequences of its own; the second half have a π_old of before."""
    rows = []
    for step in range(first, last):
        sequences = [
            replace(s, advantage=s.advantage * (1 + 0.1 * step)) for s in minibatch()[step % 3 :]
        ]
        if step % 2:
            old_logps = subject.token_logps(sequences)
            sequences = [
                replace(s, old_logps=logps - 0.15 * (place % 5 - 2))
                for place, (s, logps) in enumerate(zip(sequences, old_logps, strict=True))
            ]
        rows.append(vars(subject.update(sequences)))
    return rows


def main(folder: Path, lora: LoraConfig | None) -> None:
    group = process_group.init_process_group(parse_config().hardware)
    subject = build(group, lora=lora)
    rows = steps(subject, 0, 3)
    kept = {"tensors": subject.state(), "state": {"num_updates": subject.num_updates}}
    checkpoint.save(folder / "checkpoints", step=3, **kept, kept=1, ranks=group)
    rows += steps(subject, 3, 5)
    subject.export(folder / "final")
    if group.is_first:
        (folder / "rows.json").write_text(json.dumps(rows))
    process_group.shutdown(group)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), LORA if sys.argv[2:] else None)
