"""Small recorded runs, written as a training run writes them, but without training."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

BENCHMARKS = ["easy", "hard"]
NUM_SAMPLES, NUM_PROBLEMS, NUM_STEPS = 4, 6, 8
ARMS = {  # algorithm, group size, scale of the mini-batch, chance of a right answer
    "base": ("base", 0, 1, 0.3),
    "grpo_g16": ("grpo", 16, 1, 0.8),
    "grpo_g8": ("grpo", 8, 1, 0.75),
    "grpo_g4": ("grpo", 4, 1, 0.75),
    "grpo_g2": ("grpo", 2, 1, 0.7),
    "two_grpo": ("two_grpo", 2, 8, 0.75),
    "two_grpo_rs": ("two_grpo_rs", 2, 8, 0.78),
}


def about(arm: str, seed: int) -> dict[str, Any]:
    """run.json of an arm's finished run."""
    algorithm, group_size, scale, _ = ARMS[arm]
    config: dict[str, Any] = {
        "algorithm": {"name": algorithm, "group_size": group_size},
        "model": {"name": "tiny", "path": "assets/tiny"},
        "dataset": {"name": "chain_arithmetic", "num_prompts": 0},
        "evaluation": {
            "name": "chain_arithmetic",
            "benchmarks": BENCHMARKS,
            "problems_per_benchmark": NUM_PROBLEMS,
            "num_samples": NUM_SAMPLES,
            "temperature": 0.7,
            "top_p": 0.8,
            "top_k": 20,
            "seed": 0,
        },
        "seed": seed,
        "run_name": f"{arm}-seed{seed}",
    }
    if arm != "base":
        config["algorithm"] |= {"minibatch_scale": scale, "learning_rate_scale": float(scale)}
        config["training"] = {
            "prompts_per_step": 64,
            "prompts_per_minibatch": 8,
            "learning_rate": 5e-5,
        }
        config["dataset"] |= {"num_prompts": 64, "seed": 0}
    return {
        "run_id": f"{arm}-seed{seed}-id",
        "identity": f"identity-{arm}-{seed}",
        "config": config,
        "commit": "0123456789abcdef",
        "commit_is_dirty": False,
        "code": "c0de",
        "versions": {"torch": "2.13.0", "vllm": None},
        "hardware": {"cpu": "a processor", "num_cores": 2, "system": "Linux"},
        "started": f"2026-11-22T12:00:0{seed}Z",
        "status": "finished",
        "summary": {},
    }


def rows(arm: str, seed: int) -> list[dict[str, Any]]:
    """metrics.jsonl: steps, then the evaluation."""
    _, group_size, _, chance = ARMS[arm]
    rng = np.random.default_rng([seed, *map(ord, arm)])
    steps = [] if arm == "base" else [_step(arm, i, group_size, rng) for i in range(NUM_STEPS)]
    final: dict[str, Any] = {"step": len(steps)}
    for benchmark in BENCHMARKS:
        right = rng.binomial(NUM_SAMPLES, chance, NUM_PROBLEMS).tolist()
        values = {
            "num_samples": NUM_SAMPLES,
            "problem_ids": [f"{benchmark}/{i}" for i in range(NUM_PROBLEMS)],
            "num_correct": right,
            "tokens_mean": 12.5,
            "truncated_fraction": 0.0,
            "seconds": 0.5,
            "mean": sum(right) / NUM_SAMPLES / NUM_PROBLEMS,
        }
        final |= {f"evaluation/{benchmark}/{name}": value for name, value in values.items()}
    return [*steps, final]


def _step(arm: str, step: int, group_size: int, rng: np.random.Generator) -> dict[str, Any]:
    drawn = 3 if arm == "two_grpo_rs" else 1  # times the batch of 8 prompts
    batch, reward = 8 * group_size, 0.4 + 0.05 * step + 0.01 * rng.random()
    done = step + 1
    row = {
        "step": step,
        "reward/mean": reward,
        "groups/contrastive_share": 0.4,
        "groups/discard_rate": 0.5 + 0.02 * step,
        "groups/discard_rate_of_mean": reward**2 + (1 - reward) ** 2,
        "groups/kept_rate_of_mean": 1 - reward**2 - (1 - reward) ** 2,
        "policy/entropy": 0.5 - 0.02 * step,
        "policy/kl_from_start": 0.001 * step,
        "policy/gradient_norm": 0.5,
        "policy/clip_fraction_low": 0.01,
        "policy/clip_fraction_high": 0.02,
        "response/tokens_mean": 12.0,
        "response/truncated_fraction": 0.0,
        "tokens/generated": 12 * batch * drawn,
        "tokens/trained_on": 6 * batch,
        "rollouts/generated": batch * drawn * done,
        "rollouts/kept": batch * done,
        "rollouts/discarded": batch * (drawn - 1) * done - 2 * (drawn > 1),  # 2 wait as surplus
        "rollouts/trained_on": batch * done // 2,
        "seconds/generate": 0.1 * group_size * drawn + 0.01 * rng.random(),
        "seconds/update": 0.2 * group_size,
        "cpu_seconds/generate": 0.1 * group_size * drawn,
        "cpu_seconds/update": 0.2 * group_size,
    }
    return row | ({"validation/mean": reward, "seconds/validate": 3.0} if step % 4 == 0 else {})


def pairs(arm: str, text: str = "1=") -> list[dict[str, Any]]:
    """pairs.jsonl: two pairs at the first, the middle and the last step."""
    right = {"response": text, "reward": 1.0, "advantage": 0.577}
    pair = {"prompt_id": text, "prompt": text, "num_rollouts": ARMS[arm][1], "num_right": 1}
    pair |= {"right": right, "wrong": right | {"reward": 0.0, "advantage": -1.73}}
    steps = () if arm == "base" else (0, NUM_STEPS // 2, NUM_STEPS - 1)
    return [{"step": step, **pair} for step in steps for _ in range(2)]


def write(
    folder: Path,
    about_run: dict[str, Any],
    rows_of_run: list[dict[str, Any]],
    pairs_of_run: list[dict[str, Any]] | None = None,
) -> Path:
    """A run's folder."""
    folder.mkdir(parents=True)
    if pairs_of_run:
        (folder / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs_of_run))
    (folder / "run.json").write_text(json.dumps(about_run))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of_run))
    return folder


def add(folder: Path, arm: str, seed: int = 0, **changes: Any) -> Path:
    """The folder of an arm's finished run; `changes` as in `changed`."""
    return write(folder, changed(about(arm, seed), **changes), rows(arm, seed), pairs(arm))


def write_arms(folder: Path, *, seeds: tuple[int, ...] = (0, 1), arms: Any = tuple(ARMS)) -> Path:
    """Every arm at every seed; `base` once."""
    for arm in arms:
        for seed in seeds[:1] if arm == "base" else seeds:
            add(folder / f"run-{arm}-{seed}", arm, seed)
    return folder


def changed(about_run: dict[str, Any], **paths: Any) -> dict[str, Any]:
    """A copy with some values changed; `config__seed=3` sets config.seed."""
    copied = copy.deepcopy(about_run)
    for path, value in paths.items():
        *parents, last = path.split("__")
        place = copied
        for name in parents:
            place = place[name]
        place[last] = value
    return copied
