"""The jobs of benchmarks/gpu_suite.py: their commands, requirements and time limits."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu_models import HARDWARE, with_weights
from benchmarks.trl.compare_trl import PEER

ROOT = Path(__file__).resolve().parent.parent
SMOLLM2 = ROOT / ".cache/models/smollm2_135m"  # made by scripts/prepare_model.py
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1")


class MissingError(Exception):
    """A job's requirement is missing on this machine."""


@dataclass(frozen=True)
class Job:
    """Commands that Python runs one after another, and the seconds that they may take together;
    `commands` raises MissingError."""

    says: str
    limit_seconds: int
    commands: Callable[[argparse.Namespace], list[list[str]]]


def tests(given: argparse.Namespace) -> list[list[str]]:
    """The tests of `make test-gpu`, without errors on warnings: other torch versions differ."""
    marked = "gpu" if given.device == "cuda" else "not gpu"
    return [["-m", "pytest", "-q", "-W", "default", "-m", marked, "tests/gpu"]]


def tiny(given: argparse.Namespace) -> list[list[str]]:
    """The embedded comparison in float32, like results/cpu: the same numbers but for chance."""
    common = [HARDWARE[given.device], "hardware.dtype=float32", "hardware.num_threads=1"]
    common += ["hardware.activation_checkpointing=false", "tracking=local"]
    less = ["training.epochs=1", "dataset.num_prompts=128", "evaluation.problems_per_benchmark=2",
            "evaluation.num_samples=2"]  # fmt: skip
    command = [
        "scripts/reproduce.py",
        "scale=cpu",
        f"scale.overrides={_listed([*common, *(less if given.tiny else [])])}",
        f"scale.checkpoint_overrides={_listed(common + (less[2:] if given.tiny else []))}",
        f"runs_dir={given.out / 'runs'}",
        f"results_dir={given.out / 'tiny'}",
        f"processes={1 if given.device == 'cpu' else 8}",
    ]
    if given.tiny:
        command += ["scale.experiments=[cpu/grpo_g16,cpu/two_grpo]", "scale.seeds=[0]"]
    return [command]


def smollm2(given: argparse.Namespace) -> list[list[str]]:
    """Steps as a run takes them, if there are weights, and steps of the largest workload."""
    folder = _smollm2(given)
    with_weights = not given.tiny and folder == given.smollm2
    workloads = ["repeated", "max_length"] if with_weights else ["max_length"]
    return [
        [
            "scripts/benchmark.py",
            *_step(given, arm, folder),
            "rollout=transformers",
            f"workload={workload}",
            f"calibrate={given.out / f'calibration_{arm}_{workload}.json'}",
        ]
        for workload in workloads
        for arm in ("grpo", "two_grpo")
    ]


def peer(given: argparse.Namespace) -> list[list[str]]:
    """Pairs with TRL."""
    if not (find_spec("trl") or (PEER / "trl").is_dir()) or not find_spec("datasets"):
        raise MissingError("trl or datasets is not installed: see make bench-peer")
    if not any(SMOLLM2.glob("*.safetensors")):
        raise MissingError(f"{SMOLLM2} has no weights: scripts/prepare_model.py makes them")
    counts = ["--pairs=1", "--steps=1", "--warmup=0"] if given.tiny else ["--threads=8"]
    return [["benchmarks/trl/compare_trl.py", f"--device={given.device}", *counts]]


def update_1_5b(given: argparse.Namespace) -> list[list[str]]:
    """An update in one process, sharded, and compiled."""
    command = ["-m", "benchmarks.gpu_update", f"--device={given.device}"]
    command += ["--tiny", "--rollouts=4", "--steps=1"] if given.tiny else []
    both = [command, [*TORCHRUN, *command]]
    return both if given.tiny else [*both, [*command, "hardware.compile=true"]]


def logits(given: argparse.Namespace) -> list[list[str]]:
    """Log-probabilities alone."""
    command = ["-m", "benchmarks.gpu_logits", f"--device={given.device}"]
    return [[*command, "--tiny"] if given.tiny else command]


def vllm(given: argparse.Namespace) -> list[list[str]]:
    """Weight sync and sleep, then full steps."""
    if not find_spec("vllm"):
        raise MissingError("vllm is not installed: make setup-vllm")
    if given.tiny:
        return [["-m", "benchmarks.gpu_vllm", HARDWARE[given.device]]]
    folder = _smollm2(given)
    engine = ["-m", "benchmarks.gpu_vllm", "model=smollm2_135m", f"model.path={folder}"]
    steps = ["scripts/benchmark.py", "rollout=vllm", "workload=max_length"]
    return [
        *([*engine, HARDWARE[given.device], f"hardware.sleep_level={level}"] for level in (1, 2)),
        *([*steps, *_step(given, arm, folder)] for arm in ("grpo", "two_grpo")),
    ]


JOBS = {
    "tests": Job("the GPU against the CPU's float32", 300, tests),
    "tiny": Job("the full built-in comparison", 540, tiny),
    "smollm2": Job("steps of 16-GRPO and 2-GRPO, SmolLM2-135M", 420, smollm2),
    "peer": Job("our step and TRL's", 420, peer),
    "update_1_5b": Job("an update of a 1.5B model", 540, update_1_5b),
    "logits": Job("log-probabilities in chunks", 120, logits),
    "vllm": Job("vLLM: weight sync, sleep, steps", 540, vllm),
}


def _listed(overrides: Sequence[str]) -> str:
    return "[" + ",".join(f"'{override}'" for override in overrides) + "]"


def _step(given: argparse.Namespace, arm: str, folder: Path) -> list[str]:
    if given.tiny:
        return [f"algorithm={arm}", HARDWARE[given.device], "json=true", "warmup_steps=0",
                "steps=1", "training.prompts_per_step=16",
                "training.prompts_per_minibatch=2", "dataset.max_response_tokens=6"]  # fmt: skip
    return [f"experiment=smollm2/{arm}", HARDWARE[given.device], "json=true", "warmup_steps=2",
            f"model.path={folder}"]  # fmt: skip


def _smollm2(given: argparse.Namespace) -> Path:
    if given.tiny:
        return SMOLLM2  # unused
    if not (given.smollm2 / "tokenizer.json").is_file():
        raise MissingError(f"{given.smollm2} has no tokenizer: scripts/prepare_model.py makes it")
    return with_weights(given.smollm2, ROOT / ".cache/gpu/smollm2_random")
