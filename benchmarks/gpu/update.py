"""One update of a 1.5B model at the paper's shapes: seconds, memory, share of the measured speed of
matrix products and, where the card is known, model FLOP utilisation: of its data sheet's.

python -m benchmarks.gpu.update                                     one process
torchrun --standalone --nproc-per-node 1 -m benchmarks.gpu.update   sharded by FSDP2
python -m benchmarks.gpu.update --device cpu                        tiny: tests this code in seconds

The Qwen2.5-Math-1.5B architecture with random weights; a share of a mini-batch of 512 rollouts of
1,024 to 4,096 tokens, in pairs with one prompt of 256. The full mini-batch's seconds are
extrapolated: those of Adam plus 512 / rollouts times those of the passes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from benchmarks.gpu.models import HARDWARE, QWEN_1_5B, TINY, configured, random_qwen2
from benchmarks.throughput import hardware_ceilings
from benchmarks.throughput.flops import forward_flops
from benchmarks.throughput.throughput import spread
from twogrpo.config.schema import Config
from twogrpo.distributed import process_group
from twogrpo.distributed.process_group import Ranks
from twogrpo.models.load import DTYPES
from twogrpo.policy.policy import TransformersPolicy
from twogrpo.preflight.devices import load_device
from twogrpo.preflight.memory.estimate import memory
from twogrpo.preflight.model_shapes import Architecture
from twogrpo.types import TrainingSample as Rollout

MINIBATCH = 512  # rollouts, in all of the paper's runs
SHORTEST, LONGEST, PROMPT = 1024, 4096, 256  # tokens of full sequences, and of each prompt


def rollouts(count: int, vocabulary: int, *, divisor: int = 1) -> list[Rollout]:
    """Pairs of a right and a wrong rollout, lengths evenly spread; all divided by `divisor`."""
    generator = torch.Generator().manual_seed(0)
    shortest, longest, prompt = (n // divisor for n in (SHORTEST, LONGEST, PROMPT))
    found: list[Rollout] = []
    for index in range(count):
        length = shortest + (longest - shortest) * index // max(count - 1, 1)
        tokens = tuple(torch.randint(vocabulary, (length,), generator=generator).tolist())
        begin = found[-1].prompt_token_ids if index % 2 else tokens[:prompt]
        weight, sampler_logps = 1 / (count * (length - prompt)), torch.zeros(length - prompt)
        found.append(Rollout(begin, tokens[prompt:], (-1.0) ** index, weight, sampler_logps))
    return found


def flops(model: Architecture, sequences: Sequence[Rollout]) -> float:
    """FLOPs of forward and backward, a shared prompt once; recomputed activations do not count.

    The output head is also counted at prompt tokens, a tenth of all, where it is not applied.
    """
    attended = sum(s.num_tokens**2 / 2 for s in sequences)
    tokens = sum(len(s.response_token_ids) for s in sequences)
    tokens += sum(map(len, {s.prompt_token_ids for s in sequences}))
    return 3 * forward_flops(model, tokens, attended / tokens)


def build(config: Config, model: Architecture, group: Ranks) -> TransformersPolicy:
    """A policy with random weights and the hardware section; its steps are too small to move."""
    return TransformersPolicy(
        random_qwen2(model, config.hardware.device),
        None,  # a tokenizer goes with exports only
        algorithm=config.algorithm,
        training=replace(config.training, learning_rate=1e-30),
        hardware=config.hardware,
        temperature=config.rollout.temperature,
        ranks=group,
    )


def measure(
    policy: TransformersPolicy, sequences: Sequence[Rollout], config: Config, model: Architecture,
    steps: int, ceiling: float,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Times an update, π_old and Adam alone and measures peak memory, with and without chunks."""
    device, work = config.hardware.device, flops(model, sequences)
    tokens = sum(sequence.num_tokens for sequence in sequences)
    for chunk in (config.hardware.logits_chunk_tokens, config.hardware.tokens_per_microbatch):
        policy.logprob_model.hardware = replace(config.hardware, logits_chunk_tokens=chunk)
        case: dict[str, Any] = {"logits_chunk_tokens": chunk, **predicted(config, model, chunk)}
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            update = seconds(lambda: policy.update(sequences), steps, device)
            case["peak_bytes"] = hardware_ceilings.peak_memory_bytes(device)
            adam = seconds(lambda: policy.update([]), steps, device)
            old_logps = seconds(lambda: policy.token_logps(sequences), steps, device)
        except torch.OutOfMemoryError as error:
            yield case | {"error": str(error).partition(". ")[0]}
            continue
        step, only_adam = spread(update), spread(adam).median
        passes = step.median - only_adam
        full = only_adam + passes * MINIBATCH / len(sequences)
        rate = work * MINIBATCH / len(sequences) / full
        on_paper = hardware_ceilings.data_sheet_flops(hardware_ceilings.name(device))
        known = {"model_flop_utilisation": rate / on_paper} if on_paper else {}
        yield case | {
            "update_seconds": asdict(step),
            "adam_seconds": only_adam,
            "old_logps_seconds": spread(old_logps).median,
            "passes_share_of_matmul": work / passes / ceiling,
            "extrapolated": {
                "rollouts": MINIBATCH,
                "update_seconds": full,
                "share_of_matmul": rate / ceiling,
                **known,  # over the data sheet's peak of bfloat16
                "tokens_per_second": tokens * MINIBATCH / len(sequences) / full,
            },
        }


def predicted(config: Config, model: Architecture, chunk: int) -> dict[str, float]:
    """Bytes that preflight expects the policy to allocate at most."""
    hardware = replace(config.hardware, logits_chunk_tokens=chunk)
    found = memory(replace(config, hardware=hardware), model, load_device("h200_141"))
    absent = (
        found.reference_policy + found.sampler_in_updates + found.overhead
    )  # not in this process
    return {"predicted_bytes": found.update_peak - absent}


def seconds(work: Callable[[], object], steps: int, device: str) -> list[float]:
    """Seconds of `steps` calls after one that is not counted."""
    found = []
    for _ in range(steps + 1):
        hardware_ceilings.synchronise(device)
        start = time.perf_counter()
        work()
        hardware_ceilings.synchronise(device)
        found.append(time.perf_counter() - start)
    return found[1:]


def main() -> None:
    """Measures and prints JSON, a line after each case; the last one has all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--rollouts", type=int, default=64, help=f"of the {MINIBATCH}")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="hardware.compile=true …")
    given = parser.parse_args()
    is_tiny = given.device == "cpu"
    model = TINY if is_tiny else QWEN_1_5B
    config = configured("model=qwen25_math_1_5b", HARDWARE[given.device], *given.overrides)
    group = process_group.init_process_group(config.hardware)
    torch.set_num_threads(config.hardware.num_threads)
    ceiling = hardware_ceilings.matmul_flops(given.device, DTYPES[config.hardware.dtype])
    sequences = rollouts(given.rollouts, model.vocabulary, divisor=32 if is_tiny else 1)
    policy = build(config, model, group)
    found: dict[str, Any] = {
        "parameters": model.parameters,
        "is_sharded": group.is_sharded,
        "rollouts": len(sequences),
        "tokens": sum(sequence.num_tokens for sequence in sequences),
        "tokens_per_microbatch": config.hardware.tokens_per_microbatch,
        "activation_checkpointing": config.hardware.activation_checkpointing,
        "compile": config.hardware.compile,
        "matmul_flops": ceiling,
        "cases": [],
    }
    for case in measure(policy, sequences, config, model, given.steps, ceiling):
        found["cases"].append(case)
        if group.is_first:  # all so far: whatever ends this, the finished ones are there
            print(json.dumps(found), flush=True)
    process_group.shutdown(group)


if __name__ == "__main__":
    main()
