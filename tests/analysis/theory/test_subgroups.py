"""Sub-groups of cached groups: expectations against all subsets, and their gradients."""

import itertools

import numpy as np
import pytest
import torch

from analysis.theory.subgroups import (
    contrast_weight,
    contrasts,
    disjoint_gradients,
    zero_variance_share,
)
from twogrpo.core.advantages import standardised_population

REWARDS = np.array([[1.0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]])
VECTORS = torch.randn(3, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradient(prompt: int, members: tuple[int, ...]) -> torch.Tensor:
    rewards = torch.tensor(REWARDS[prompt, list(members)][None])
    advantages = standardised_population(rewards, epsilon=0.0)[0]
    return (advantages[:, None] * VECTORS[prompt, list(members)]).mean(dim=0)


@pytest.mark.parametrize("sub_size", [2, 3, 6])
@pytest.mark.parametrize("prompt", [0, 1, 2])
def test_expectations_are_means_over_all_subsets(prompt: int, sub_size: int) -> None:
    subsets = list(itertools.combinations(range(6), sub_size))
    dead = np.mean([len(set(REWARDS[prompt, list(s)])) == 1 for s in subsets])
    num_correct = int(REWARDS[prompt].sum())
    assert zero_variance_share(num_correct, 6, sub_size=sub_size) == pytest.approx(dead, abs=1e-12)
    mean = torch.stack([gradient(prompt, s) for s in subsets]).mean(dim=0)
    weight = contrast_weight(num_correct, 6, sub_size=sub_size)
    found = weight * contrasts(REWARDS, VECTORS)[prompt]
    torch.testing.assert_close(found, mean, rtol=0, atol=1e-12)
    if sub_size == 6:  # the whole group: the gradient of all rollouts
        whole = disjoint_gradients(REWARDS, VECTORS, sub_size=6, rng=np.random.default_rng(0))
        torch.testing.assert_close(whole[prompt, 0], mean)


def test_disjoint_pairs_are_gradients_of_pairs_and_use_every_rollout_once() -> None:
    found = disjoint_gradients(REWARDS, VECTORS, sub_size=2, rng=np.random.default_rng(0))
    assert found.shape == (3, 3, 4)
    # Prompt 1 has one wrong rollout: exactly one of its three disjoint pairs is mixed.
    assert [bool(pair.abs().sum() > 0) for pair in found[1]].count(True) == 1
    candidates = [gradient(1, (i, 5)) for i in range(5)]
    alive = found[1][found[1].abs().sum(dim=1) > 0][0]
    assert any(torch.allclose(alive, candidate) for candidate in candidates)
    assert (found[2] == 0).all()
