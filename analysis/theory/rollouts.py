"""Cached rollouts of a run, `rollouts.jsonl`, and the gradient that each contributes.

P prompts, G rollouts each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FILE = "rollouts.jsonl"


@dataclass(frozen=True)
class CachedGroup:
    """One line of the file: a prompt's group in one generation."""

    step: int
    prompt_id: str
    prompt_tokens: tuple[int, ...]
    rewards: tuple[float, ...]
    tokens: tuple[tuple[int, ...], ...]

    @property
    def is_mixed(self) -> bool:
        """Whether the rewards differ."""
        return len(set(self.rewards)) > 1

    def first(self, count: int) -> CachedGroup:
        """The group with its first rollouts only."""
        return replace(self, rewards=self.rewards[:count], tokens=self.tokens[:count])


def read(path: Path | str, *, step: int | None = None) -> list[CachedGroup]:
    """The groups of a file or of a run folder that holds it; those of one generation if asked.

    Raises:
        ValueError: there is no such file, or nothing in it.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(
            f"rollouts={path}: no {FILE} there; make one with "
            "scripts/train.py tracking.save_rollouts=true"
        )
    lines = (json.loads(line) for line in file.read_text().splitlines())
    groups = [_group(line) for line in lines if step is None or line["step"] == step]
    if not groups:
        raise ValueError(f"rollouts={path}: no group of step {step} in it")
    return groups


def start_model(path: Path | str) -> str:
    """The start policy of the run whose folder is given; "" where `run.json` is not beside it."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    about = folder / "run.json"
    if not about.is_file():
        return ""
    config: dict[str, Any] = json.loads(about.read_text())["config"]
    return str(config["model"]["path"])


def rewards_array(groups: Sequence[CachedGroup]) -> np.ndarray:
    """Rewards [P, G].

    Raises:
        ValueError: the groups differ in size.
    """
    sizes = {len(group.rewards) for group in groups}
    if len(sizes) != 1:
        raise ValueError(f"groups of sizes {sorted(sizes)}: give rollouts of one group size")
    return np.array([group.rewards for group in groups])


class ScoreVectors:
    """The vectors (1/|o|) Σ_t ∇log π_θ(o_t) of single rollouts, at the weights of a model folder.

    With `dimensions` = 0 they are exact, [number of parameters]. Otherwise they are sketched: entry
    i is added with a random sign to place i mod `dimensions`. Inner products of sketches are
    unbiased for those of the vectors; the error of one has a standard deviation of at most about
    |a| |b| sqrt(2/dimensions) (Charikar et al. 2002, "Finding frequent items in data streams").
    """

    def __init__(self, model_folder: str, *, dimensions: int, seed: int = 0) -> None:
        from transformers import AutoModelForCausalLM  # takes seconds to import

        self._model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
        self._parameters = list(self._model.parameters())
        self._dimensions = dimensions
        self.num_parameters = sum(p.numel() for p in self._parameters)
        generator = torch.Generator().manual_seed(seed)
        padded = -(-self.num_parameters // max(dimensions, 1)) * dimensions
        bits = torch.randint(0, 2, (padded,), dtype=torch.int8, generator=generator)
        self._signs = bits.mul_(2).sub_(1)

    def of(self, group: CachedGroup) -> Tensor:
        """The vectors of a group's rollouts, [G, dimensions]."""
        return torch.stack([self._vector(group.prompt_tokens, tokens) for tokens in group.tokens])

    def of_mean(self, prompt: tuple[int, ...], responses: Sequence[tuple[int, ...]]) -> Tensor:
        """The mean of several responses' vectors in one pass; the forward pass in bfloat16."""
        lengths = torch.tensor([len(response) for response in responses])
        targets = torch.zeros(len(responses), int(lengths.max()), dtype=torch.long)
        for row, response in enumerate(responses):
            targets[row, : len(response)] = torch.tensor(response)
        tokens = torch.cat([torch.tensor([prompt] * len(responses)), targets], dim=1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self._model(tokens, use_cache=False).logits[:, len(prompt) - 1 : -1]
        logps = logits.float().log_softmax(dim=-1).gather(-1, targets[..., None]).squeeze(-1)
        mask = torch.arange(targets.shape[1]) < lengths[:, None]
        return self._gradient(((logps * mask).sum(dim=1) / lengths).mean())

    def _vector(self, prompt: tuple[int, ...], response: tuple[int, ...]) -> Tensor:
        tokens = torch.tensor([prompt + response])
        logits = self._model(tokens, use_cache=False).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(dim=-1).gather(-1, torch.tensor(response)[:, None])
        return self._gradient(logps.mean())

    def _gradient(self, mean_logp: Tensor) -> Tensor:
        gradients = torch.autograd.grad(mean_logp, self._parameters)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        return self._sketched(flat) if self._dimensions else flat

    def _sketched(self, flat: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(flat, (0, len(self._signs) - len(flat)))
        return (padded * self._signs).view(-1, self._dimensions).sum(dim=0)


def _group(line: dict[str, Any]) -> CachedGroup:
    return CachedGroup(
        step=line["step"],
        prompt_id=line["prompt_id"],
        prompt_tokens=tuple(line["prompt_tokens"]),
        rewards=tuple(line["rewards"]),
        tokens=tuple(tuple(tokens) for tokens in line["tokens"]),
    )
