"""From groups to training samples: advantage, token weight and π_old of each rollout, by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.conftest import make_group
from twogrpo.config.schema import Config
from twogrpo.training.minibatches import Minibatch, minibatches, training_samples
from twogrpo.types import Group, Prompt, TrainingSample


class FakePolicy:
    """Gives every token a log-probability of −9 and remembers the samples it scored."""

    def __init__(self) -> None:
        self.scored: list[TrainingSample] = []

    def token_logps(self, sequences):
        self.scored += sequences
        return [torch.full((len(s.response_token_ids),), -9.0) for s in sequences]


def group(draw: int, rewards: list[int], lengths: list[int], *, step: int = 3) -> Group:
    """The prompt's first token is draw + 2; the sampler's log-probabilities are −1."""
    prompt = Prompt(f"p{draw}", "1=", "1", (draw + 2, 17))
    return make_group(rewards, lengths, prompt=prompt, draw=draw, step=step, logp=-1.0)


def old_logps(batch: Minibatch) -> list[list[float] | None]:
    return [None if s.old_logps is None else s.old_logps.tolist() for s in batch]


@pytest.fixture
def pairs(make_config: Callable[..., Config]) -> Config:
    """2-GRPO with two prompts per mini-batch and four per step."""
    return make_config(
        "algorithm=two_grpo", "algorithm.minibatch_scale=2", "training.prompts_per_minibatch=1",
        "training.prompts_per_step=4", "algorithm.advantage_epsilon=0",
    )  # fmt: skip


def test_advantages_and_weights_worked_by_hand(pairs):
    """Four rollouts, those of the zero-variance pair included: weights 1 / (4 · length)."""
    groups = [group(0, [1, 0], [2, 4]), group(1, [1, 1], [5, 5])]
    sequences = training_samples(groups, pairs, step=3)
    assert [s.advantage for s in sequences] == [1, -1, 0, 0]
    weights = [s.token_weight for s in sequences]
    assert weights == pytest.approx([1 / 8, 1 / 16, 1 / 20, 1 / 20])
    assert [s.prompt_token_ids for s in sequences] == [(2, 17), (2, 17), (3, 17), (3, 17)]
    assert [s.response_token_ids for s in sequences] == [(2,) * 2, (3,) * 4, (2,) * 5, (3,) * 5]
    assert [s.sampler_logps.tolist() for s in sequences] == [[-1] * n for n in (2, 4, 5, 5)]


def test_a_permutation_within_a_group_permutes_its_samples(pairs):
    one = training_samples([group(0, [1, 0], [2, 4])], pairs, step=3)
    other = training_samples([group(0, [0, 1], [4, 2])], pairs, step=3)
    assert [(s.advantage, s.token_weight) for s in one] == [
        (s.advantage, s.token_weight) for s in reversed(other)
    ]


def test_the_policy_computes_old_logps_for_all_but_the_first_minibatch(pairs):
    """It scores only rollouts of later mini-batches whose advantage is not 0."""
    groups = [
        *(group(0, [1, 0], [1, 2]), group(1, [0, 1], [1, 2])),
        *(group(2, [0, 1], [3, 1]), group(3, [0, 0], [3, 1])),
    ]
    policy: Any = FakePolicy()
    first, second = minibatches(groups, policy, pairs, step=3)
    assert old_logps(first) == [None] * 4
    assert [s.prompt_token_ids[0] for s in policy.scored] == [4, 4]
    assert old_logps(second) == [[-9, -9, -9], [-9], None, None]


def test_old_logps_of_groups_of_an_earlier_step_are_their_sampler_s(pairs):
    """Also in the first mini-batch, since an earlier policy sampled them."""
    groups = [
        *(group(0, [1, 0], [1, 2], step=1), group(1, [0, 1], [1, 2])),
        *(group(2, [1, 0], [1, 2], step=2), group(3, [0, 1], [1, 2])),
    ]
    policy: Any = FakePolicy()
    first, second = minibatches(groups, policy, pairs, step=3)
    assert old_logps(first) == [[-1], [-1, -1], None, None]
    assert old_logps(second) == [[-1], [-1, -1], [-9], [-9, -9]]
    assert [s.prompt_token_ids[0] for s in policy.scored] == [5, 5]


def test_minibatches_are_groups_in_order_whose_token_weights_sum_to_one(pairs):
    """Each optimiser step has its own denominator, not that of the loop step."""
    policy: Any = FakePolicy()
    groups = [group(i, [1, 0], [1 + i, 4]) for i in range(4)]
    batches = minibatches(groups, policy, pairs, step=3)
    draws = [[s.prompt_token_ids[0] - 2 for s in batch] for batch in batches]
    assert draws == [[0, 0, 1, 1], [2, 2, 3, 3]]
    for batch in batches:
        total = sum(s.token_weight * len(s.response_token_ids) for s in batch)
        assert total == pytest.approx(1)


@pytest.mark.parametrize(
    ("surrogate", "num_groups"), [("token_ratio_clipped", 2), ("log_likelihood", 4)]
)
def test_no_old_logps_are_computed_for_one_minibatch_or_a_surrogate_without_ratio(
    pairs, surrogate, num_groups
):
    policy: Any = FakePolicy()
    config = replace(pairs, algorithm=replace(pairs.algorithm, surrogate=surrogate))
    groups = [group(i, [1, 0], [1, 1]) for i in range(num_groups)]
    batches = minibatches(groups, policy, config, step=3)
    assert policy.scored == [] and {s.old_logps for batch in batches for s in batch} == {None}
