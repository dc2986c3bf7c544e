"""Surrogates: values and gradients worked by hand on either side of either bound."""

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
    """Of a sequence of one token with this ratio; the gradient is with respect to log π_θ."""
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
        (1.5, 1.0, 1.28, 0.0),  # too high and wanted: clipped at 1 + 0.28
        (1.5, -1.0, -1.5, -1.5),  # too high and not wanted: the full way back
        (0.5, -1.0, -0.8, 0.0),  # too low and not wanted: clipped at 1 − 0.2
        (0.5, 1.0, 0.5, 0.5),  # too low and wanted: the full way back
        (1.25, 1.0, 1.25, 1.25),  # between the two widths: the high bound is the wider one
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


def test_ratios_of_a_token_and_of_a_sequence_worked_by_hand():
    # Ratios 1.21 and 1: their geometric mean is 1.1. Advantage 1.
    policy, old = torch.tensor([[1.21, 1.0]]).log(), torch.zeros(1, 2)
    mask = torch.ones(1, 2, dtype=torch.bool)
    by_token, by_sequence = both(policy, old, mask, torch.tensor([1.0]))
    torch.testing.assert_close(by_token, torch.tensor([[1.21, 1.0]]))
    torch.testing.assert_close(by_sequence, torch.tensor([[1.1, 1.1]]))


def test_the_mean_of_a_sequence_counts_its_own_tokens_only():
    # Of four places two are the response's; the others hold what would change any mean.
    policy, old = torch.tensor([[9.0, 1.21, 1.0, 9.0]]).log(), torch.zeros(1, 4)
    mask = torch.tensor([[False, True, True, False]])
    _, by_sequence = both(policy, old, mask, torch.tensor([1.0]))
    torch.testing.assert_close(by_sequence[mask], torch.tensor([1.1, 1.1]))


@pytest.mark.parametrize("surrogate", SURROGATES.values())
@pytest.mark.parametrize("padding", [torch.nan, torch.inf, -1e30, 1e30])
def test_what_lies_off_the_mask_reaches_no_gradient(surrogate, padding):
    policy = torch.tensor([[-1.0, padding]]).requires_grad_()
    mask = torch.tensor([[True, False]])
    value = surrogate(
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


def test_names_are_definitions():
    assert all(SURROGATES[name].__name__ == name for name in SURROGATES)


def test_importance_weights_by_hand():
    """π_old/π_sampler = 1/2, 1 and 4 under a cap of 2; what is off the mask weighs nothing."""
    weights_NT = truncated_importance_weights(
        torch.tensor([[0.25, 0.5, 0.8, 0.1]]).log(),
        torch.tensor([[0.5, 0.5, 0.2, torch.nan]]).log(),
        response_mask_NT=torch.tensor([[True, True, True, False]]),
        cap=2.0,
    )
    torch.testing.assert_close(weights_NT, torch.tensor([[0.5, 1.0, 2.0, 0.0]]))
