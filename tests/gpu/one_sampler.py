"""The process of test_vllm.py: one vLLM engine through loads, sleeps and batch sizes.

`python -m tests.gpu.one_sampler FILE DEVICE LEVEL`, or under `torchrun --nproc-per-node 1`, where
the weights come from a sharded policy. FILE gets, by name, the errors of log-probabilities and what
else was seen.
"""

import json
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.conftest import parse_config
from tests.policy.test_policy import policy
from tests.rollout.test_sampler_contract import (
    LONG,
    PLAIN,
    PROMPTS,
    SEEDS_PG,
    TEST,
    logp_errors,
    next_logits,
    tiny_weights,
    tokens,
    vllm_engine,
)
from twogrpo.distributed import process_group
from twogrpo.distributed.process_group import Ranks
from twogrpo.rollout import vllm_setup
from twogrpo.rollout.vllm_sampler import VllmSampler

HARDWARE = {
    "cpu": ["hardware=cpu", "hardware.rollouts_per_call=64"],
    "cuda": [
        "hardware=one_gpu",
        "hardware.rollouts_per_call=1024",
        "hardware.gpu_memory_share=0.3",
    ],
}
MANY = 600
FEWER = 512  # sequences that CUDA graphs reach in one case, where many lie beyond them
SEEN_OF_MANY = 20  # their tokens take a reference pass each


def cap_graphs(level: int) -> None:
    """At sleep level 1 CUDA graphs reach fewer sequences than a call has."""
    if level == 1:
        vllm_setup._graphs = lambda _: {"max_cudagraph_capture_size": FEWER}


def weights(seed: int, group: Ranks, device: str) -> Iterable[tuple[str, Tensor]]:
    """The tiny model of this seed, from a sharded policy under torchrun."""
    if not group.is_sharded:
        return tiny_weights(seed)
    hardware = parse_config(*HARDWARE[device], "hardware.dtype=float32").hardware
    return policy(hardware=hardware, ranks=group, seed=seed).weights()


def errors(engine: VllmSampler, seed: int) -> dict[str, list[float]]:
    """The errors at two batch sizes, with a prompt that the prefix cache holds the second time, and
    with the sampling of tests."""
    found = {}
    logits, prompts = partial(next_logits, seed), [LONG, *PROMPTS]
    for name, sampling in (("first", PLAIN), ("cached prefix", PLAIN), ("top-k, top-p", TEST)):
        groups = engine.sample(prompts, [[7, 8]] * len(prompts), sampling)
        found[name] = logp_errors(logits, prompts, groups, sampling)
    [many] = engine.sample(PROMPTS[:1], [range(MANY)], PLAIN)
    found["many"] = logp_errors(logits, PROMPTS[:1], [many[:: MANY // SEEN_OF_MANY]], PLAIN)
    return found


def main(file: Path, device: str, level: int) -> None:
    overrides = [*HARDWARE[device], "hardware.dtype=bfloat16", f"hardware.sleep_level={level}"]
    group = process_group.init_process_group(parse_config(*overrides).hardware)
    cap_graphs(level)
    engine = vllm_engine(*overrides)
    found: dict[str, Any] = {"errors": {}}
    for visit, seed in enumerate((0, 1, 0)):  # the second and third after a sleep
        if visit:
            engine.sleep()
            found.setdefault("asleep", []).append(engine._is_asleep)
        engine.load(weights(seed, group, device))
        found["errors"][f"visit {visit}"] = errors(engine, seed)
    others = [[seed + 1000 for seed in row] for row in SEEDS_PG]
    drawn = [tokens(engine.sample(PROMPTS, seeds, PLAIN)) for seeds in (SEEDS_PG, SEEDS_PG, others)]
    found["same seed"], found["other seed"] = drawn[0] == drawn[1], drawn[0] == drawn[2]
    # What the old weights would give: the bound must be able to fail.
    groups = engine.sample(PROMPTS, SEEDS_PG, PLAIN)
    found["other weights"] = logp_errors(partial(next_logits, 1), PROMPTS, groups, PLAIN)
    file.write_text(json.dumps(found))
    engine.close()
    process_group.shutdown(group)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
