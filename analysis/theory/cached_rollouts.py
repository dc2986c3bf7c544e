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
    |a| |b| sqrt(2/dimensions) (Charikar et al. 2002, "Finding frequent items in data streams") if
    large entries seldom share a place. For a large model take a prime: its matrices' widths divide
    by 64, and with a power of two a column of large entries falls on itself.
    """

    def __init__(self, model_folder: str, *, dimensions: int, seed: int = 0) -> None:
        from transformers import AutoModelForCausalLM  # takes seconds to import

        self._model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
        self._parameters = list(self._model.parameters())
        self._dimensions = dimensions
        self.num_parameters = sum(p.numel() for p in self._parameters)
        generator = torch.Generator().manual_seed(seed)
        size = (self.num_parameters if dimensions else 0,)
        bits = torch.randint(0, 2, size, dtype=torch.int8, generator=generator)
        self._signs = bits.mul_(2).sub_(1)

    def of(self, group: CachedGroup) -> Tensor:
        """The vectors of a group's rollouts, [G, dimensions]."""
        return torch.stack([self._vector(group.prompt_tokens, tokens) for tokens in group.tokens])

    def _vector(self, prompt: tuple[int, ...], response: tuple[int, ...]) -> Tensor:
        tokens = torch.tensor([prompt + response])
        # The token before the response predicts its first one; the prompt needs no logits.
        kept = len(response) + 1
        logits = self._model(tokens, use_cache=False, logits_to_keep=kept).logits[0, :-1]
        logps = logits.log_softmax(dim=-1).gather(-1, torch.tensor(response)[:, None])
        gradients = torch.autograd.grad(logps.mean(), self._parameters)
        flat = [gradient.flatten() for gradient in gradients]
        return self._sketched(flat) if self._dimensions else torch.cat(flat)

    def _sketched(self, flat: list[Tensor]) -> Tensor:
        """One parameter at a time: the whole vector of a large model is never built."""
        sketch, start = torch.zeros(self._dimensions), 0
        signs = self._signs.split([len(part) for part in flat])
        for part, sign in zip(flat, signs, strict=True):
            ends = start % self._dimensions, -(start + len(part)) % self._dimensions
            padded = torch.nn.functional.pad(part * sign, ends)
            sketch += padded.view(-1, self._dimensions).sum(dim=0)
            start += len(part)
        return sketch


@dataclass(frozen=True)
class Scored:
    """Rewards [P, G] of cached groups and the gradient of every rollout [P, G, D]."""

    name: str
    rewards_PG: np.ndarray
    vectors_PGD: Tensor


def scored(name: str, groups: list[CachedGroup], model: str, *, dimensions: int) -> Scored:
    """Groups with gradients; those of a dead group are left at 0, no sub-group of it is mixed."""
    vectors = ScoreVectors(model, dimensions=dimensions)
    rewards_PG = rewards_array(groups)
    vectors_PGD = torch.zeros(*rewards_PG.shape, dimensions or vectors.num_parameters)
    for place, group in enumerate(groups):
        if group.is_mixed:
            vectors_PGD[place] = vectors.of(group)
    return Scored(name, rewards_PG, vectors_PGD)


def _group(line: dict[str, Any]) -> CachedGroup:
    return CachedGroup(
        step=line["step"],
        prompt_id=line["prompt_id"],
        prompt_tokens=tuple(line["prompt_tokens"]),
        rewards=tuple(line["rewards"]),
        tokens=tuple(tuple(tokens) for tokens in line["tokens"]),
    )
