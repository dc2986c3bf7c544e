"""`make bench-peer`: our step and TRL's, run in pairs; the last line has the ratios as JSON.

Each is a process of its own with the same number of threads and the same questions. Rollouts a
second are those of a process's median step; a ratio is ours over TRL's within a pair, and the
medians over all finished pairs are printed after each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent.parent
PEER = ROOT / ".cache/trl"  # where the Makefile installs benchmarks/requirements.txt
GIB = 2**30
GROUP_SIZES = (2, 16)
ROLLOUTS = 32
TOKENS = 24
LONGER = 1.15  # the largest ratio of mean response lengths for the same work
VLLM_SHARE = 0.3  # of a GPU's memory; TRL's default


@dataclass(frozen=True)
class Pair:
    """Two consecutive processes that did the same work."""

    group_size: int
    ours: dict[str, Any]
    peer: dict[str, Any]

    @property
    def speed(self) -> float:
        """Our rollouts per second over TRL's."""
        ratio: float = self.ours["rollouts_per_second"] / self.peer["rollouts_per_second"]
        return ratio

    @property
    def memory(self) -> float:
        """Our peak memory over TRL's."""
        ratio: float = self.ours["peak_memory"] / self.peer["peak_memory"]
        return ratio

    def __str__(self) -> str:
        return (
            f"G = {self.group_size:2}  ours {_side(self.ours)}   TRL {_side(self.peer)}   "
            f"speed × {self.speed:.2f}  memory × {self.memory:.2f}  "
            f"skipped {1 - self.ours['trained_share']:.0%} of ours"
        )


def check_work(ours: dict[str, Any], peer: dict[str, Any]) -> None:
    """Exits if one side sampled another number of rollouts a step, or much longer ones: the ratios
    would then compare different work."""
    message = "not the same work: ours {} {}, TRL's {}"
    counts = [f"{side['rollouts_a_step']:g}" for side in (ours, peer)]
    if counts[0] != counts[1]:
        raise SystemExit(message.format(counts[0], "rollouts per step", counts[1]))
    tokens = [side["tokens_per_rollout"] for side in (ours, peer)]
    if max(tokens) > LONGER * min(tokens):
        own, other = (f"{mean:.1f}" for mean in tokens)
        raise SystemExit(message.format(own, "tokens per rollout", other))


def _side(found: dict[str, Any]) -> str:
    return f"{found['rollouts_per_second']:5.2f} rollouts/s {found['peak_memory'] / GIB:.2f} GiB"


def ratios(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """The medians over the pairs of each group size, rounded to three digits."""
    sizes = sorted({pair.group_size for pair in pairs})

    def medians(name: str) -> dict[str, float]:
        return {
            str(size): round(median(getattr(p, name) for p in pairs if p.group_size == size), 3)
            for size in sizes
        }

    return {"ratio": medians("speed"), "memory_ratio": medians("memory")}


def num_questions(group_size: int, given: argparse.Namespace) -> int:
    """The questions of all steps together, each used once; with workload=max_length ours uses the
    same in every step, and so does TRL then."""
    steps = 1 if given.workload == "max_length" else given.warmup + given.steps
    return ROLLOUTS // group_size * steps


def our_command(group_size: int, given: argparse.Namespace, seed: int) -> list[str]:
    """The loop of scripts/train.py on TRL's work: one optimizer step on all rollouts."""
    prompts = ROLLOUTS // group_size
    return [
        sys.executable,
        "scripts/benchmark.py",
        *(
            "json=true",
            f"workload={given.workload}",
            f"warmup_steps={given.warmup}",
            f"steps={given.steps}",
        ),
        *("algorithm=grpo", f"algorithm.group_size={group_size}", f"seed={seed}"),
        *("training=smollm2", f"training.prompts_per_step={prompts}"),
        f"training.prompts_per_minibatch={prompts}",
        *("model=smollm2_135m", "model.prompt_template=chat"),
        *("dataset=digit_arithmetic", f"dataset.num_prompts={num_questions(group_size, given)}"),
        f"dataset.max_response_tokens={TOKENS}",
        *("reward=last_number", "evaluation=digit_arithmetic", f"rollout={given.sampler}"),
        f"hardware={'cpu' if given.device == 'cpu' else 'one_gpu'}",
        "hardware.activation_checkpointing=false",  # like TRL
        *("hardware.dtype=bfloat16", f"hardware.num_threads={given.threads}"),
        f"hardware.tokens_per_microbatch={given.tokens_per_microbatch}",
        f"hardware.logits_chunk_tokens={given.logits_chunk_tokens}",
        # For vLLM: on a GPU like TRL's, which stays awake during updates.
        *("hardware.kv_cache_gib=0.1", f"hardware.gpu_memory_share={VLLM_SHARE}"),
        "hardware.sleep_level=0",
        # TRL holds no reference policy either, and its comparison of sampler and trainer is off.
        *("tracking.kl_rollouts=0", "tracking.mismatch_rollouts=0", "sync_check.prompts=0"),
    ]


def peer_command(group_size: int, given: argparse.Namespace, seed: int) -> list[str]:
    """The same work for TRL."""
    return [
        *(sys.executable, "-m", "benchmarks.trl.trl_step", f"--group-size={group_size}"),
        *(f"--rollouts={ROLLOUTS}", f"--tokens={TOKENS}", f"--seed={seed}"),
        f"--questions={num_questions(group_size, given)}",
        *(f"--warmup={given.warmup}", f"--steps={given.steps}", f"--threads={given.threads}"),
        *(f"--batch={given.peer_batch}", f"--weights={given.peer_weights}"),
        *(f"--device={given.device}", f"--workload={given.workload}"),
        *(["--vllm", f"--vllm-share={VLLM_SHARE}"] if given.peer_vllm else []),
    ]


def in_turn(number: int, first: Callable[[], T], second: Callable[[], T]) -> tuple[T, T]:
    """The results of both, called in alternating order, so that a drift of the machine cancels."""
    if number % 2 == 0:
        return first(), second()
    found = second()
    return first(), found


def run(command: Sequence[str], *, threads: int, **variables: str) -> dict[str, Any]:
    """The JSON in the last line that a process prints."""
    found: dict[str, Any] = json.loads(output(command, threads=threads, **variables)[-1])
    return found


def output(command: Sequence[str], *, threads: int, **variables: str) -> list[str]:
    """The lines that a process prints, with these variables in its environment; its messages are
    shown if it fails."""
    given = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | given | variables,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"{' '.join(command)} failed: see above")
    return done.stdout.splitlines()


def counts() -> argparse.ArgumentParser:
    """The options for how often, and with how many threads, each process works."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--pairs", type=positive, default=3)
    parser.add_argument("--warmup", type=natural, default=1, help="uncounted steps")
    parser.add_argument("--steps", type=positive, default=3, help="counted steps")
    parser.add_argument("--threads", type=positive, default=2, help="threads of each side")
    return parser


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; defaults are each side's fastest settings on two cores (LOG.md)."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[counts()])
    parser.add_argument("--workload", choices=["resampled", "max_length"], default="resampled",
                        help="max_length: responses to the limit, half of each group right, so "
                        "that no rollout can be skipped")  # fmt: skip
    parser.add_argument("--group-sizes", type=int, nargs="+", choices=GROUP_SIZES,
                        default=GROUP_SIZES)  # fmt: skip
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sampler", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--tokens-per-microbatch", type=positive, default=1024)
    parser.add_argument("--logits-chunk-tokens", type=positive, default=256)
    parser.add_argument("--peer-batch", type=positive, default=32, help="TRL: rollouts in a pass")
    parser.add_argument("--peer-weights", choices=["float32", "bfloat16"], default="float32",
                        help="TRL: bfloat16 applies to Adam's weights too")  # fmt: skip
    parser.add_argument("--peer-vllm", action="store_true", help="TRL: sample with vLLM")
    given = parser.parse_args(words)
    if ROLLOUTS % given.peer_batch:
        parser.error(f"--peer-batch={given.peer_batch} does not divide the {ROLLOUTS} rollouts")
    return given


def natural(word: str) -> int:
    """A count of 0 or more from the command line; raises what argparse reports."""
    return _at_least(0, word)


def positive(word: str) -> int:
    """A count of 1 or more from the command line."""
    return _at_least(1, word)


def _at_least(least: int, word: str) -> int:
    if int(word) < least:
        raise argparse.ArgumentTypeError(f"{word}: use {least} or more")
    return int(word)


def pair(number: int, group_size: int, given: argparse.Namespace) -> Pair:
    """Runs two processes; exits where one fails or they did not do the same work."""
    caller = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(PEER), *([caller] if caller else [])])
    commands = our_command(group_size, given, number), peer_command(group_size, given, number)
    ours, peer = in_turn(
        number,
        partial(run, commands[0], threads=given.threads),
        partial(run, commands[1], threads=given.threads, PYTHONPATH=path),
    )
    check_work(ours, peer)
    return Pair(group_size, ours, peer)


def main() -> None:
    """Runs the pairs and prints the ratios."""
    given = arguments()
    print(
        f"SmolLM2-135M on {given.device}, {given.threads} threads; {ROLLOUTS} rollouts of at most "
        f"{TOKENS} tokens and one optimizer step;\nweights float32 (TRL: {given.peer_weights}), "
        f"passes bfloat16; {given.steps} steps after {given.warmup}; medians",
        flush=True,
    )
    pairs: list[Pair] = []
    for number in range(given.pairs):
        for group_size in given.group_sizes:
            pairs.append(pair(number, group_size, given))
            # The ratios each time: whatever ends this, those of the finished pairs are there.
            print(f"{number + 1}: {pairs[-1]}\n{json.dumps(ratios(pairs))}", flush=True)


if __name__ == "__main__":
    main()
