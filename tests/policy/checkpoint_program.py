"""Run by test_checkpoint.py under torchrun: `save FOLDER` or `load FOLDER`, sharded over the ranks.

`load` writes FOLDER/found-RANK.json: whether every tensor came back bit for bit, and the state.
"""

import json
import sys
from pathlib import Path

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from tests.conftest import compose_config
from tests.policy.checkpoint_program_tensors import SHAPES, tensors
from twogrpo.config.schema import Config, parse
from twogrpo.distributed import process_group
from twogrpo.policy import checkpoint


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    here = process_group.init_process_group(parse(compose_config(), Config).hardware)
    mesh = init_device_mesh("cpu", (here.size,))
    whole = tensors() if what == "save" else {n: torch.zeros_like(t) for n, t in tensors().items()}
    sharded = {
        name: distribute_tensor(tensor, mesh, [Shard(0) if SHAPES[name] else Replicate()])
        for name, tensor in whole.items()
    }
    if what == "save":
        for step in (1, 2):
            checkpoint.save(
                folder,
                step=step,
                tensors=sharded,
                state={"step": step},
                kept=2,
                ranks=here,
            )
    else:
        state = checkpoint.load_latest(folder, into=sharded, ranks=here)
        same = all(torch.equal(sharded[name].full_tensor(), t) for name, t in tensors().items())
        found = {"same": same, "state": state, "size": here.size}
        (folder / f"found-{here.rank}.json").write_text(json.dumps(found))
    process_group.shutdown(here)


if __name__ == "__main__":
    main()
