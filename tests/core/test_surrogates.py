"""Surrogates: values and gradients worked by hand on both sides of each bound."""

import pytest
import torch

from twogrpo.core.surrogates import (
    SURROGATES,
    sequence_ratio_clipped,
    token_ratio_clipped,
    truncated_importance_weights,
)

BOUNDS = {"clip_low": 0.2, "clip_high": 0.28}
CLIPPED = (token_ratio_clipped, sequence_ratio_clipped)


def objective_and_gradient(
    ratio: float, advantage: float, surrogate=token_ratio_clipped
) -> tuple[float, float]:
    """The value for one token of this ratio, and its gradient with respect to log π_θ."""
    policy_logps = torch.tensor([[ratio]]).log().requires_grad_()
    value = surrogate(
        policy_logps,
        torch.zeros(1, 1),
        advantages_N=torch.tensor([advantage]),
        response_mask_NT=torch.ones(1, 1, dtype=torch.bool),
        **BOUNDS,
    )
    value.sum().backward()
    assert policy_logps.grad is not None
    return value.item(), policy_logps.grad.item()


@pytest.mark.parametrize("surrogate", CLIPPED)
@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "gradient"),
    [
        (1.0, 1.0, 1.0, 1.0),  # on-policy: d(ρA)/d log π = ρA
        (1.0, -1.0, -1.0, -1.0),
        (1.2, 2.0, 2.4, 2.4),  # inside both bounds
        (0.9, -1.0, -0.9, -0.9),
        (1.5, 1.0, 1.28, 0.0),  # A > 0, ratio above the bound: clipped at 1 + 0.28
        (1.5, -1.0, -1.5, -1.5),  # A < 0, ratio above the bound: full gradient
        (0.5, -1.0, -0.8, 0.0),  # A < 0, ratio below the bound: clipped at 1 − 0.2
        (0.5, 1.0, 0.5, 0.5),  # A > 0, ratio below the bound: full gradient
        (1.25, 1.0, 1.25, 1.25),  # between the two widths: the upper bound is wider
        (0.75, -1.0, -0.8, 0.0),
    ],
)
def test_values_and_gradients_worked_by_hand(surrogate, ratio, advantage, value, gradient):
    assert objective_and_gradient(ratio, advantage, surrogate) == pytest.approx(
        (value, gradient), abs=1e-6
    )


def both(policy: torch.Tensor, old: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor):
    return [
        surrogate(policy, old, advantages_N=advantages, response_mask_NT=mask, **BOUNDS)
        for surrogate in CLIPPED
    ]


def test_token_ratios_and_their_sequence_ratio_worked_by_hand():
    # Ratios 1.21 and 1: their geometric mean is 1.1. Advantage 1.
    policy, old = torch.tensor([[1.21, 1.0]]).log(), torch.zeros(1, 2)
    mask = torch.ones(1, 2, dtype=torch.bool)
    by_token, by_sequence = both(policy, old, mask, torch.tensor([1.0]))
    torch.testing.assert_close(by_token, torch.tensor([[1.21, 1.0]]))
    torch.testing.assert_close(by_sequence, torch.tensor([[1.1, 1.1]]))


def test_the_sequence_ratio_averages_over_response_tokens_only():
    # Two of the four positions are the response's; the others would change any mean.
    policy, old = torch.tensor([[9.0, 1.21, 1.0, 9.0]]).log(), torch.zeros(1, 4)
    mask = torch.tensor([[False, True, True, False]])
    _, by_sequence = both(policy, old, mask, torch.tensor([1.0]))
    torch.testing.assert_close(by_sequence[mask], torch.tensor([1.1, 1.1]))


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("padding", [torch.nan, torch.inf, -1e30, 1e30])
def test_values_off_the_mask_reach_no_gradient(name, padding):
    policy = torch.tensor([[-1.0, padding]]).requires_grad_()
    mask = torch.tensor([[True, False]])
    value = SURROGATES[name].function(
        policy,
        torch.tensor([[-0.9, 0.0]]),
        advantages_N=torch.tensor([1.0]),
        response_mask_NT=mask,
        **BOUNDS,
    )
    value[mask].sum().backward()
    assert policy.grad is not None
    assert policy.grad[0, 1].item() == 0
    assert policy.grad[0, 0].item() != 0


def test_each_sequence_has_its_own_advantage():
    policy = torch.zeros(2, 3)
    mask = torch.ones(2, 3, dtype=torch.bool)
    for value in both(policy, policy, mask, torch.tensor([1.0, -2.0])):
        assert value.tolist() == [[1.0] * 3, [-2.0] * 3]


def test_every_entry_is_named_after_its_function():
    assert all(entry.function.__name__ == name for name, entry in SURROGATES.items())


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_depends_on_old_logps_exactly_if_its_entry_says_so(name):
    mask = torch.ones(1, 2, dtype=torch.bool)
    values = [
        SURROGATES[name].function(
            torch.full((1, 2), -1.0),
            torch.full((1, 2), old_logp),
            advantages_N=torch.tensor([1.0]),
            response_mask_NT=mask,
            **BOUNDS,
        )
        for old_logp in (-1.0, -0.9)
    ]
    assert torch.equal(*values) != SURROGATES[name].uses_old_logps


def test_importance_weights_by_hand():
    """π_old/π_sampler = 1/2, 1 and 4 under a cap of 2; a token off the mask has weight 0."""
    weights_NT = truncated_importance_weights(
        torch.tensor([[0.25, 0.5, 0.8, 0.1]]).log(),
        torch.tensor([[0.5, 0.5, 0.2, torch.nan]]).log(),
        response_mask_NT=torch.tensor([[True, True, True, False]]),
        cap=2.0,
    )
    torch.testing.assert_close(weights_NT, torch.tensor([[0.5, 1.0, 2.0, 0.0]]))
