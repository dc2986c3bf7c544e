"""What the rank of test_one_rank.py does: five steps sharded over itself, two of them twice.

`torchrun --nproc-per-node 1 one_rank.py FOLDER DEVICE DTYPE [offload]`
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.conftest import tiny_model
from tests.policy import ranks_updating
from tests.policy.test_policy import TOKENIZER
from twogrpo.core.surrogates import token_ratio_clipped
from twogrpo.distributed import process_group
from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.policy import checkpoint
from twogrpo.policy.logprob_model import Knobs
from twogrpo.policy.policy import Objective, TransformersPolicy

EXACT = Knobs("cpu", torch.float32, tokens_per_microbatch=30, logits_chunk_tokens=8)


def build(knobs: Knobs = EXACT, group: Ranks = SINGLE_PROCESS) -> TransformersPolicy:
    return TransformersPolicy(
        tiny_model(),
        TOKENIZER,
        objective=Objective(token_ratio_clipped, clip_low=0.2, clip_high=0.28, temperature=1.0),
        adam=ranks_updating.ADAM,
        knobs=knobs,
        ranks=group,
    )


def main(folder: Path, device: str, dtype: str, *words: str) -> None:
    hardware = "one_gpu" if device == "cuda" else "cpu"
    group = process_group.init_process_group(ranks_updating.hardware(f"hardware={hardware}"))
    assert group.is_sharded
    knobs = replace(
        EXACT,
        device=device,
        dtype=getattr(torch, dtype),
        activation_checkpointing=dtype == "bfloat16",
        cpu_offload="offload" in words,
    )
    policy, resumed = build(knobs, group), build(knobs, group)
    found = {"rows": ranks_updating.steps(policy, 0, 3)}
    checkpoint.save(
        folder / "checkpoints",
        step=3,
        tensors=policy.state(),
        state={"num_updates": policy.num_updates},
        kept=1,
        ranks=group,
    )
    found["rows"] += ranks_updating.steps(policy, 3, 5)
    tensors = resumed.state()
    state = checkpoint.load_latest(folder / "checkpoints", into=tensors, ranks=group)
    resumed.load_state(tensors, state["num_updates"])
    found["again"] = ranks_updating.steps(resumed, 3, 5)
    found["devices"] = sorted({tensor.device.type for tensor in policy.state().values()})
    policy.export(folder / "final")
    (folder / "found.json").write_text(json.dumps(found))
    process_group.shutdown(group)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), *sys.argv[2:])
