"""The rank of test_one_rank.py: five sharded steps, the last two again from a checkpoint.

`torchrun --standalone --nproc-per-node 1 one_rank.py FOLDER DEVICE DTYPE`
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.conftest import parse_config
from tests.policy import ranks_updating
from twogrpo.distributed import process_group
from twogrpo.policy import checkpoint


def main(folder: Path, device: str, dtype: str) -> None:
    hardware = "one_gpu" if device == "cuda" else "cpu"
    group = process_group.init_process_group(parse_config(f"hardware={hardware}").hardware)
    assert group.is_sharded
    changed = {"device": device, "dtype": dtype, "activation_checkpointing": dtype == "bfloat16"}
    sizes = replace(ranks_updating.SMALL, **changed)
    policy, resumed = (ranks_updating.build(group, sizes) for _ in range(2))
    found = {"rows": ranks_updating.steps(policy, 0, 3)}
    saved = {"tensors": policy.state(), "state": {"num_updates": policy.num_updates}}
    checkpoint.save(folder / "checkpoints", step=3, **saved, kept=1, ranks=group)
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
