"""What a rank does in test_ranks.py: `torchrun ranks_updating.py FOLDER` takes five steps.

Started without torchrun it is the single process that the ranks are compared with.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.conftest import compose_config, tiny_model
from tests.policy.test_policy import TOKENIZER, minibatch
from twogrpo.config.schema import Config, HardwareConfig, parse
from twogrpo.core.surrogates import token_ratio_clipped
from twogrpo.distributed import process_group
from twogrpo.distributed.process_group import Ranks
from twogrpo.policy import checkpoint
from twogrpo.policy.logprob_model import Knobs
from twogrpo.policy.policy import Adam, Objective, TransformersPolicy

# The epsilon is large, so that Adam does not divide the noise of a zero gradient by itself.
ADAM = Adam(1e-2, 2, (0.9, 0.999), epsilon=1e-4, gradient_clip_norm=0.5)


def hardware(*overrides: str) -> HardwareConfig:
    return parse(compose_config(*overrides), Config).hardware


def build(group: Ranks) -> TransformersPolicy:
    return TransformersPolicy(
        tiny_model(),
        TOKENIZER,
        objective=Objective(token_ratio_clipped, clip_low=0.2, clip_high=0.28, temperature=1.0),
        adam=ADAM,
        knobs=Knobs("cpu", torch.float32, tokens_per_microbatch=30, logits_chunk_tokens=8),
        ranks=group,
    )


def steps(policy: TransformersPolicy, first: int, last: int) -> list[dict[str, float]]:
    """One update a step on sequences of its own; the second half have a π_old of before."""
    rows = []
    for step in range(first, last):
        sequences = [
            replace(s, advantage=s.advantage * (1 + 0.1 * step)) for s in minibatch()[step % 3 :]
        ]
        if step % 2:
            old_logps = policy.token_logps(sequences)
            sequences = [
                replace(s, old_logps=logps - 0.15 * (place % 5 - 2))
                for place, (s, logps) in enumerate(zip(sequences, old_logps, strict=True))
            ]
        rows.append(vars(policy.update(sequences)))
    return rows


def main(folder: Path) -> None:
    group = process_group.init_process_group(hardware())
    policy = build(group)
    rows = steps(policy, 0, 3)
    state = {"num_updates": policy.num_updates}
    checkpoint.save(
        folder / "checkpoints",
        step=3,
        tensors=policy.state(),
        state=state,
        kept=1,
        ranks=group,
    )
    rows += steps(policy, 3, 5)
    policy.export(folder / "final")
    if group.is_first:
        (folder / "rows.json").write_text(json.dumps(rows))
    process_group.shutdown(group)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
