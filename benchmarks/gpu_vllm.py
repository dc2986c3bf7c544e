"""vLLM next to the policy's weights: seconds of sampling, of going to sleep and of weight sync.

python -m benchmarks.gpu_vllm model=smollm2_135m hardware=one_gpu
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from benchmarks.gpu_models import configured
from benchmarks.throughput import hardware_ceilings
from twogrpo.models.load import load_model, load_tokenizer
from twogrpo.rollout.build import build_sampler
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.types import Prompt

ROUNDS = 3  # after one uncounted round
PROMPTS, GROUP_SIZE, PROMPT_TOKENS, TOKENS = 64, 16, 32, 32


def main() -> None:
    """Prints one line of JSON; the overrides are those of scripts/train.py."""
    config = configured("rollout=vllm", *sys.argv[1:])
    device = config.hardware.device
    tokenizer, policy = load_tokenizer(config.model), load_model(config.model).to(device)
    size = len(tokenizer)
    prompts = [
        Prompt(str(n), "", "", tuple((n + index) % size for index in range(PROMPT_TOKENS)))
        for n in range(PROMPTS)
    ]
    sampling = SamplingParams(1.0, 1.0, 0, TOKENS)
    begin = time.perf_counter()
    sampler = build_sampler(
        config.rollout,
        config.model,
        config.hardware,
        tokenizer,
        workload=[(prompts, sampling)],
    )
    found: dict[str, float] = {"start_seconds": time.perf_counter() - begin}
    seeds_PG = [[GROUP_SIZE * n + g for g in range(GROUP_SIZE)] for n in range(PROMPTS)]
    tokens: list[int] = []

    def sample() -> None:
        groups = sampler.sample(prompts, seeds_PG, sampling)
        tokens.append(sum(len(rollout.token_ids) for group in groups for rollout in group))

    rounds: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        hardware_ceilings.synchronise(device)
        rounds.setdefault(f"{name}_seconds", []).append(time.perf_counter() - start)
        if device == "cuda":
            rounds.setdefault(f"free_bytes_after_{name}", []).append(torch.cuda.mem_get_info()[0])

    for _ in range(ROUNDS + 1):
        timed("sample", sample)
        timed("sleep", sampler.sleep)
        timed("wake_and_sync", lambda: sampler.load(policy.state_dict().items()))
        timed("sync", lambda: sampler.load(policy.state_dict().items()))  # awake already
    found |= {name: median(values[1:]) for name, values in rounds.items()}
    found["tokens_per_second"] = median(tokens[1:]) / found["sample_seconds"]
    sampler.close()
    print(json.dumps(found | {"sleep_level": config.hardware.sleep_level}), flush=True)


if __name__ == "__main__":
    main()
