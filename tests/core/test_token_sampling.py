"""Token sampling: worked by hand, at the ends of the unit interval, and by frequency."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.core.token_sampling import sample_tokens, truncated_logps

ALMOST_ONE = 1 - 2**-24  # the largest float32 below 1
PLAIN: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
# Sorted by probability: token 2 (.5), 0 (.3), 3 (.15), 1 (.05).
LOGITS = torch.tensor([[0.3, 0.05, 0.5, 0.15]]).log()


def draw(uniform: float, logits: torch.Tensor = LOGITS, **settings) -> int:
    tokens, _ = sample_tokens(logits, torch.tensor([uniform]), **(PLAIN | settings))
    return int(tokens)


def test_inversion_worked_by_hand():
    # Cumulative: .3, .35, .85, 1.
    assert [draw(u) for u in (0.0, 0.29, 0.31, 0.34, 0.36, 0.84, 0.86, ALMOST_ONE)] == [
        *(0, 0, 1, 1, 2, 2, 3, 3)
    ]


def test_truncation_worked_by_hand():
    def probabilities(**settings) -> list[float]:
        return truncated_logps(LOGITS, **(PLAIN | settings)).exp()[0].tolist()

    assert probabilities() == pytest.approx([0.3, 0.05, 0.5, 0.15])
    assert probabilities(top_k=2) == pytest.approx([0.3 / 0.8, 0, 0.5 / 0.8, 0])
    assert probabilities(top_k=1) == pytest.approx([0, 0, 1, 0])
    assert probabilities(top_k=4) == probabilities(top_k=99) == probabilities()
    # The smallest set that holds 0.6 of the mass is {2, 0}: 0.5 alone does not.
    assert probabilities(top_p=0.6) == pytest.approx([0.3 / 0.8, 0, 0.5 / 0.8, 0])
    assert probabilities(top_p=0.4) == pytest.approx([0, 0, 1, 0])
    assert probabilities(top_p=1e-9) == pytest.approx([0, 0, 1, 0])  # never empty
    # First top-k, renormalised: .5/.95 = .526, .3/.95 = .316; then .526 < .6 <= .842.
    assert probabilities(top_k=3, top_p=0.6) == pytest.approx([0.375, 0, 0.625, 0])


def test_temperature_is_applied_before_top_p():
    # At T = ½ probabilities are proportional to the squares .09, .0025, .25, .0225, which sum to
    # .365: token 2 holds .685.
    logps = truncated_logps(LOGITS, temperature=0.5, top_p=0.6, top_k=0)
    assert logps.exp()[0].tolist() == pytest.approx([0, 0, 1, 0])
    logps = truncated_logps(LOGITS, temperature=0.5, top_p=1.0, top_k=0)
    assert logps[0, 2].item() == pytest.approx(math.log(0.25 / 0.365))


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=20),
    st.sampled_from([0.0, 1e-8, 0.1, 0.5, 0.9, 0.999999, ALMOST_ONE]),
    st.sampled_from([0.1, 0.8, 0.999999, 1.0]),
    st.integers(0, 22),
)
def test_a_sampled_token_is_never_a_truncated_one(logits, uniform, top_p, top_k):
    row = torch.tensor([logits])
    settings = {"temperature": 0.7, "top_p": top_p, "top_k": top_k}
    tokens, logps = sample_tokens(row, torch.tensor([uniform]), **settings)
    allowed = truncated_logps(row, **settings)
    assert logps.item() == allowed[0, int(tokens)].item() > -math.inf
    assert allowed.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_extreme_uniforms_skip_truncated_tokens_at_both_ends():
    logits = torch.tensor([[-10.0, 1.0, 0.9, -10.0]])
    assert draw(0.0, logits, top_k=2) == 1
    assert draw(ALMOST_ONE, logits, top_k=2) == 2
    assert draw(1.0, logits, top_k=2) == 2  # a uniform rounded up to 1


def test_the_last_token_of_a_large_vocabulary_is_reached_and_never_exceeded():
    logits = torch.zeros(1, 150_000)
    assert draw(ALMOST_ONE, logits) == 149_999
    assert draw(0.0, logits) == 0


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_p": 0.8, "top_k": 3}])
def test_frequencies_match_the_softmax(settings):
    """With 20,000 uniforms a frequency has a standard deviation below sqrt(.25/20000) = 0.0036."""
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    tokens, _ = sample_tokens(LOGITS.expand(20_000, -1), uniforms, **(PLAIN | settings))
    frequencies = torch.bincount(tokens, minlength=4) / 20_000
    expected = truncated_logps(LOGITS, **(PLAIN | settings)).exp()[0]
    if not settings:
        torch.testing.assert_close(expected, LOGITS.exp()[0])
    torch.testing.assert_close(frequencies, expected, atol=0.015, rtol=0)


def test_a_temperature_near_zero_is_greedy():
    for uniform in (0.0, 0.5, ALMOST_ONE):
        assert draw(uniform, temperature=1e-4) == 2


def test_a_row_is_independent_of_the_other_rows():
    torch.manual_seed(0)
    logits, uniforms = torch.randn(50, 18), torch.rand(50)
    settings: dict[str, Any] = {"temperature": 0.7, "top_p": 0.8, "top_k": 5}
    tokens, logps = sample_tokens(logits, uniforms, **settings)
    for row in range(50):
        alone = sample_tokens(logits[row : row + 1], uniforms[row : row + 1], **settings)
        assert (alone[0].item(), alone[1].item()) == (tokens[row].item(), logps[row].item())


def test_bfloat16_logits_are_sampled_in_float32():
    tokens, logps = sample_tokens(LOGITS.bfloat16(), torch.tensor([0.5]), **PLAIN)
    assert logps.dtype == torch.float32
    assert tokens.dtype == torch.int64
