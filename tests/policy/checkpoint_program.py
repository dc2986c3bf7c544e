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
from twogrpo.config.schema import Config, parse
from twogrpo.distributed import process_group
from twogrpo.policy import checkpoint

# Odd sizes, a scalar, two dtypes.
SHAPES: dict[str, tuple[int, ...]] = {
    "weight/even": (4, 3),
    "weight/odd": (5, 3),  # rows that no two ranks share evenly
    "weight/one": (1, 4),  # a rank is left with nothing
    "weight/half": (7, 2),
    "exp_avg/odd": (5, 3),
    "count": (),
}


def tensors() -> dict[str, torch.Tensor]:
    """The tensors that are saved, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return drawn | {"weight/half": drawn["weight/half"].bfloat16()}


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
            state = {"step": step}
            checkpoint.save(folder, step=step, tensors=sharded, state=state, kept=2, ranks=here)
    else:
        state = checkpoint.load_latest(folder, into=sharded, ranks=here)
        same = all(torch.equal(sharded[name].full_tensor(), t) for name, t in tensors().items())
        found = {"same": same, "state": state, "size": here.size}
        (folder / f"found-{here.rank}.json").write_text(json.dumps(found))
    process_group.shutdown(here)


if __name__ == "__main__":
    main()
