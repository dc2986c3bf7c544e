"""Aggregation: token weights worked by hand, and what they sum to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.core.aggregation import (
    AGGREGATIONS,
    sequence_mean_of_fixed_length,
    sequence_mean_of_token_means,
    token_mean,
)

LENGTHS = torch.tensor([1, 4, 5])


def test_weights_worked_by_hand():
    # B = 3 rollouts, 10 tokens, L = 8.
    torch.testing.assert_close(
        sequence_mean_of_token_means(LENGTHS, max_response_tokens=8),
        torch.tensor([1 / 3, 1 / 12, 1 / 15], dtype=torch.float64),
    )
    torch.testing.assert_close(
        token_mean(LENGTHS, max_response_tokens=8), torch.full((3,), 0.1, dtype=torch.float64)
    )
    torch.testing.assert_close(
        sequence_mean_of_fixed_length(LENGTHS, max_response_tokens=8),
        torch.full((3,), 1 / 24, dtype=torch.float64),
    )


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(-2, 2, width=32)), min_size=1, max_size=32))
def test_sequence_mean_of_token_means_is_the_mean_of_means(rollouts):
    """With a constant objective on each rollout's tokens, the weighted sum is their plain mean."""
    lengths, values = zip(*rollouts, strict=True)
    weights = sequence_mean_of_token_means(torch.tensor(lengths), max_response_tokens=40)
    weighted = sum(w * n * v for w, n, v in zip(weights.tolist(), lengths, values, strict=True))
    assert weighted == pytest.approx(sum(values) / len(values), abs=1e-12)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=32))
def test_token_weights_sum_to_the_value_in_the_docstring(lengths):
    lengths_B = torch.tensor(lengths)
    total = {
        name: (function(lengths_B, max_response_tokens=40) * lengths_B).sum().item()
        for name, function in AGGREGATIONS.items()
    }
    assert total["sequence_mean_of_token_means"] == pytest.approx(1.0, abs=1e-12)
    assert total["token_mean"] == pytest.approx(1.0, abs=1e-12)
    mean_length = sum(lengths) / len(lengths)
    assert total["sequence_mean_of_fixed_length"] == pytest.approx(mean_length / 40, abs=1e-12)


@pytest.mark.parametrize(
    ("function", "weight"),
    [
        (sequence_mean_of_token_means, 1 / 8),  # two rollouts, four tokens
        (token_mean, 1 / 4),
        (sequence_mean_of_fixed_length, 1 / 16),  # two rollouts, L = 8
    ],
)
def test_an_empty_response_has_weight_zero_but_counts_as_a_rollout(function, weight):
    weights = function(torch.tensor([0, 4]), max_response_tokens=8)
    assert weights.tolist() == pytest.approx([0, weight])


@pytest.mark.parametrize("name", sorted(AGGREGATIONS))
def test_without_any_token_all_weights_are_zero(name):
    assert AGGREGATIONS[name](torch.tensor([0, 0]), max_response_tokens=8).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", sorted(AGGREGATIONS))
def test_weights_are_exact_to_float64_and_every_entry_is_named_after_its_function(name):
    assert AGGREGATIONS[name](LENGTHS, max_response_tokens=8).dtype == torch.float64
    assert AGGREGATIONS[name].__name__ == name
