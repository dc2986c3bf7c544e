"""DPO as advantage × surrogate × aggregation has the gradient of the plain loss."""

import math

import pytest
import torch
from torch import Tensor

from twogrpo.core.aggregation import sequence_mean_of_token_sums
from twogrpo.core.dpo import dpo_loss, preference_advantages, preference_over_all_pairs
from twogrpo.core.surrogates import log_likelihood

BETA = 0.3


def test_advantages_of_a_pair_by_hand() -> None:
    # β = 0.5, log ratios +2 (winner) and 0: margin 1, so σ(−1) = 1/(1+e) = 0.26894;
    # A = ±G β σ(−1) = ±2 · 0.5 · 0.26894.
    weights = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    advantages = preference_advantages(torch.tensor([[2.0, 0.0]]), weights, beta=0.5)
    expected = 1 / (1 + math.e)
    torch.testing.assert_close(advantages, torch.tensor([[expected, -expected]]))
    # −log σ(1) = log(1 + e⁻¹) = 0.31326
    loss = dpo_loss(torch.tensor([[2.0, 0.0]]), weights, beta=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


@pytest.mark.parametrize("group_size", [2, 3, 8])
def test_gradient_is_that_of_the_plain_loss(group_size: int) -> None:
    """A linear softmax policy with parameters θ; some groups have zero variance."""
    torch.manual_seed(group_size)
    num_prompts, num_tokens = 5, 4
    theta = torch.randn(num_prompts * group_size, num_tokens, 6).double().requires_grad_()
    tokens = torch.randint(6, (num_prompts * group_size, num_tokens, 1))
    mask = torch.rand(num_prompts * group_size, num_tokens) < 0.7
    mask[:, 0] = True
    reference = -torch.rand(num_prompts * group_size, num_tokens).double()
    rewards = (torch.rand(num_prompts, group_size) < 0.5).double()
    rewards[0] = 1.0
    weights = preference_over_all_pairs(rewards)

    logps = theta.log_softmax(dim=-1).gather(-1, tokens).squeeze(-1)
    log_ratios = ((logps - reference) * mask).sum(dim=1).view(num_prompts, group_size)
    plain = torch.autograd.grad(
        -dpo_loss(log_ratios, weights, beta=BETA), theta, retain_graph=True
    )[0]

    advantages = preference_advantages(log_ratios.detach(), weights, beta=BETA)
    values = log_likelihood(
        logps,
        reference,
        advantages_N=advantages.flatten(),
        response_mask_NT=mask,
        clip_low=0.2,
        clip_high=0.2,
    )
    token_weights = sequence_mean_of_token_sums(mask.sum(dim=1), max_response_tokens=num_tokens)
    ours = torch.autograd.grad((values * mask * token_weights[:, None]).sum(), theta)[0]
    # The aggregation's weights are float32: 1/B of 10, 15, 40 rounds at 6e-8.
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-12)
    assert plain.abs().max() > 1e-3
    assert (advantages[0] == 0).all()  # the zero-variance group


def test_zero_variance_groups_have_no_pair() -> None:
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    weights = preference_over_all_pairs(rewards)
    assert weights.sum(dim=(1, 2)).tolist() == [0.0, 0.0, 1.0]
    assert weights[2, 1, 0] == 1.0


def test_rewards_of_more_than_two_values_are_compared_by_order() -> None:
    weights = preference_over_all_pairs(torch.tensor([[0.2, 0.9, 0.2]]))
    expected = torch.tensor([[[0, 0, 0], [0.5, 0, 0.5], [0, 0, 0]]])
    torch.testing.assert_close(weights, expected)


def test_permuting_a_group_permutes_its_advantages() -> None:
    torch.manual_seed(0)
    rewards, log_ratios = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0]]), torch.randn(1, 5)
    order = torch.tensor([3, 1, 4, 0, 2])

    def advantages(rewards_PG: Tensor, log_ratios_PG: Tensor) -> Tensor:
        return preference_advantages(
            log_ratios_PG, preference_over_all_pairs(rewards_PG), beta=BETA
        )

    torch.testing.assert_close(
        advantages(rewards[:, order], log_ratios[:, order]),
        advantages(rewards, log_ratios)[:, order],
    )
