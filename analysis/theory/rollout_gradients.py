"""The gradient that each cached rollout of a run contributes. P prompts, G rollouts each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from twogrpo.errors import ConfigError
from twogrpo.run_record.files import read_run_file
from twogrpo.run_record.rollouts import CachedGroup


def initial_model(path: Path | str) -> str:
    """The initial model of the run whose folder or rollouts are given.

    Raises:
        ConfigError: there is no `run.json` that names it.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    try:
        return str(
            read_run_file(folder, required=("config.model.path",))["config"]["model"]["path"]
        )
    except (KeyError, TypeError) as error:
        raise ConfigError(f"model= is not given and {folder} has no run.json: give it") from error


def rewards_array(groups: Sequence[CachedGroup]) -> np.ndarray:
    """The rewards, [P, G].

    Raises:
        ConfigError: the groups differ in size.
    """
    sizes = {len(group.rewards) for group in groups}
    if len(sizes) != 1:
        raise ConfigError(f"groups of sizes {sorted(sizes)}: give rollouts of one group size")
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

        if not (Path(model_folder) / "config.json").is_file():
            raise ConfigError(f"model={model_folder} is no folder of a model: give the initial one")
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
        if int(tokens.max()) >= (size := self._model.config.vocab_size):
            raise ConfigError(
                f"rollouts= has the token {int(tokens.max())}, but model= has {size}: give the "
                "model that sampled them"
            )
        # The token before the response predicts its first one; the prompt needs no logits.
        kept = len(response) + 1
        logits = self._model(tokens, use_cache=False, logits_to_keep=kept).logits[0, :-1]
        logps = logits.log_softmax(dim=-1).gather(-1, torch.tensor(response)[:, None])
        gradients = torch.autograd.grad(logps.mean(), self._parameters)
        flat = [gradient.flatten() for gradient in gradients]
        return self._sketched(flat) if self._dimensions else torch.cat(flat)

    def _sketched(self, flat: list[Tensor]) -> Tensor:
        """The sketch, one parameter at a time: a large model's full vector is never built."""
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
    """The groups with their gradients; 0 for a group without signal, as no sub-group has any."""
    vectors = ScoreVectors(model, dimensions=dimensions)
    rewards_PG = rewards_array(groups)
    vectors_PGD = torch.zeros(*rewards_PG.shape, dimensions or vectors.num_parameters)
    for place, group in enumerate(groups):
        if group.has_signal:
            vectors_PGD[place] = vectors.of(group)
    return Scored(name, rewards_PG, vectors_PGD)
