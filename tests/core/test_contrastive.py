"""The trainer's objective and the paper's contrastive forms agree to 1e-10."""

import math

import pytest
import torch
from torch import Tensor

from twogrpo.core.advantages import class_balanced, standardised_population
from twogrpo.core.contrastive import (
    constant_weight,
    contrastive_objective,
    dpo_token_coefficients,
    grpo_token_coefficients,
    sequence_ratio_token_coefficients,
)
from twogrpo.core.dpo import dpo_loss
from twogrpo.core.surrogates import sequence_ratio_clipped, token_ratio_clipped

CLIP = {"clip_low": 0.2, "clip_high": 0.28}
NUM_TOKENS = 6
SPLITS = [(g, n) for g in (2, 3, 4, 8, 16) for n in range(g + 1)]


def group(group_size: int, num_correct: int, *, seed: int = 0, drift: float = 0.5):
    """Random π_old, a π_θ so far from it that some ratios are clipped, a mask and rewards."""
    torch.manual_seed(seed)
    old = -torch.rand(group_size, NUM_TOKENS, dtype=torch.float64) * 3
    policy = old + drift * torch.randn_like(old)
    lengths = torch.randint(1, NUM_TOKENS + 1, (group_size, 1))
    mask = torch.arange(NUM_TOKENS) < lengths
    rewards = torch.zeros(group_size, dtype=torch.float64)
    rewards[torch.randperm(group_size)[:num_correct]] = 1.0
    return policy, old, mask, rewards


def grpo(policy, old, mask, rewards, *, surrogate=token_ratio_clipped, advantages=None) -> Tensor:
    """Advantage × surrogate × aggregation for one group, in float64 and with ε = 0."""
    if advantages is None:
        advantages = standardised_population(rewards[None], epsilon=0.0)[0]
    values = surrogate(policy, old, advantages_N=advantages, response_mask_NT=mask, **CLIP)
    return ((values * mask).sum(dim=1) / mask.sum(dim=1)).mean()


def value_and_gradient(objective, logps: Tensor) -> tuple[Tensor, Tensor]:
    logps = logps.clone().requires_grad_()
    value = objective(logps)
    gradient = torch.autograd.grad(value, logps, allow_unused=True)[0]
    return value.detach(), torch.zeros_like(logps) if gradient is None else gradient


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_a_clipped_pair_by_hand() -> None:
    # Correct rollout: ratios 2 and 1; min(ρ, 1.28) = 1.28 and 1, mean 1.14.
    # Wrong rollout: one token of ratio 0.5; max(ρ, 0.8) = 0.8. sqrt(p(1−p)) = 1/2.
    old = torch.tensor([[0.25, 0.5], [0.8, 1.0]]).double().log()
    policy = torch.tensor([[0.5, 0.5], [0.4, 1.0]]).double().log()
    value = contrastive_objective(
        policy,
        old,
        rewards_G=torch.tensor([1.0, 0.0]).double(),
        response_mask_GT=torch.tensor([[True, True], [True, False]]),
        **CLIP,
    )
    assert value.item() == pytest.approx(0.5 * (1.14 - 0.8), abs=1e-12)


@pytest.mark.parametrize(("group_size", "num_correct"), SPLITS)
def test_grpo_equals_the_contrastive_form(group_size: int, num_correct: int) -> None:
    """Prop. 3.2: value and gradient, clipping included, for every G and every split."""
    policy, old, mask, rewards = group(group_size, num_correct)
    ratios = (policy - old).exp()[mask]
    assert (ratios > 1.28).any() or (ratios < 0.8).any()  # some are clipped
    left = value_and_gradient(lambda x: grpo(x, old, mask, rewards), policy)
    right = value_and_gradient(
        lambda x: contrastive_objective(x, old, rewards_G=rewards, response_mask_GT=mask, **CLIP),
        policy,
    )
    close(left[0], right[0])
    close(left[1], right[1])
    assert bool(left[1].abs().sum() > 1e-3) == (0 < num_correct < group_size)


@pytest.mark.parametrize(("group_size", "num_correct"), SPLITS)
def test_ctr_grpo_equals_the_form_without_the_deviation_weight(
    group_size: int, num_correct: int
) -> None:
    policy, old, mask, rewards = group(group_size, num_correct, seed=1)
    advantages = class_balanced(rewards[None])[0]
    left = value_and_gradient(lambda x: grpo(x, old, mask, rewards, advantages=advantages), policy)
    right = value_and_gradient(
        lambda x: contrastive_objective(
            x, old, rewards_G=rewards, response_mask_GT=mask, group_weight=constant_weight, **CLIP
        ),
        policy,
    )
    close(left[0], right[0])
    close(left[1], right[1])


def test_at_two_rollouts_ctr_grpo_is_twice_two_grpo() -> None:
    policy, old, mask, rewards = group(2, 1, seed=2)
    two_grpo = grpo(policy, old, mask, rewards)
    ctr = grpo(policy, old, mask, rewards, advantages=class_balanced(rewards[None])[0])
    close(ctr, 2 * two_grpo)


@pytest.mark.parametrize(
    ("surrogate", "closed_form"),
    [
        (token_ratio_clipped, grpo_token_coefficients),
        (sequence_ratio_clipped, sequence_ratio_token_coefficients),
    ],
)
@pytest.mark.parametrize(("group_size", "num_correct"), SPLITS)
def test_grpo_token_coefficients_match_autograd(
    surrogate, closed_form, group_size: int, num_correct: int
) -> None:
    policy, old, mask, rewards = group(group_size, num_correct, seed=3)
    probabilities = policy.exp().requires_grad_()
    grpo(probabilities.log(), old, mask, rewards, surrogate=surrogate).backward()
    expected = closed_form(policy, old, rewards_G=rewards, response_mask_GT=mask, **CLIP)
    close(probabilities.grad, expected)


def pair(seed: int):
    policy, reference, mask, _ = group(2, 1, seed=seed)
    return policy, reference, mask


def plain_dpo(policy: Tensor, reference: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """−log σ(r̂(o+) − r̂(o−)), written from its definition."""
    log_ratios = ((policy - reference) * mask).sum(dim=1)
    return -torch.log(torch.sigmoid(beta * (log_ratios[0] - log_ratios[1])))


@pytest.mark.parametrize("seed", range(5))
def test_dpo_token_coefficients_match_autograd(seed: int) -> None:
    """Lemma B.1."""
    policy, reference, mask = pair(seed)
    probabilities = policy.exp().requires_grad_()
    (-plain_dpo(probabilities.log(), reference, mask, beta=0.3)).backward()
    expected = dpo_token_coefficients(policy, reference, response_mask_2T=mask, beta=0.3)
    close(probabilities.grad, expected)
    assert (expected[0][mask[0]] > 0).all() and (expected[1][mask[1]] < 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_with_a_sequence_ratio_grpo_is_dpo_up_to_a_factor_per_rollout(seed: int) -> None:
    """App. B.4."""
    policy, reference, mask = pair(seed)
    policy = reference + 0.1 * (policy - reference)  # nothing is clipped
    rewards = torch.tensor([1.0, 0.0]).double()
    ours = sequence_ratio_token_coefficients(
        policy, reference, rewards_G=rewards, response_mask_GT=mask, **CLIP
    )
    dpo = dpo_token_coefficients(policy, reference, response_mask_2T=mask, beta=0.3)
    for row in range(2):
        quotients = (ours / dpo)[row][mask[row]]
        close(quotients, quotients[:1].expand_as(quotients))
    token_ratio = grpo_token_coefficients(
        policy, reference, rewards_G=rewards, response_mask_GT=mask, **CLIP
    )
    longest = int(mask.sum(dim=1).argmax())
    quotients = (token_ratio / dpo)[longest][mask[longest]]
    assert quotients.std() > 1e-4 * quotients.mean().abs()  # not so with a ratio per token


def test_at_the_reference_two_grpo_with_token_sums_has_the_gradient_of_dpo() -> None:
    """π_θ = π_old = π_ref: ∇J of 2-GRPO summed over tokens is ∇(−L_DPO) times 1/β."""
    policy, _, mask = pair(7)
    beta, rewards = 0.3, torch.tensor([1.0, 0.0]).double()

    def token_sum_grpo(logps: Tensor) -> Tensor:
        advantages = standardised_population(rewards[None], epsilon=0.0)[0]
        values = token_ratio_clipped(
            logps, policy, advantages_N=advantages, response_mask_NT=mask, **CLIP
        )
        return (values * mask).sum(dim=1).mean()

    weights = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]).double()
    _, ours = value_and_gradient(token_sum_grpo, policy)
    _, dpo = value_and_gradient(
        lambda x: -dpo_loss(((x - policy) * mask).sum(dim=1)[None], weights, beta=beta), policy
    )
    close(ours, dpo / beta)
    at_reference = dpo_loss(torch.zeros(1, 2).double(), weights, beta=beta)
    assert at_reference.item() == pytest.approx(math.log(2), abs=1e-12)


def test_rewards_that_are_not_binary_are_refused() -> None:
    policy, old, mask, _ = group(2, 1)
    with pytest.raises(ValueError, match="0 or 1"):
        contrastive_objective(
            policy,
            old,
            rewards_G=torch.tensor([0.5, 0.0]).double(),
            response_mask_GT=mask,
            **CLIP,
        )
