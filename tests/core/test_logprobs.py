"""Log-probabilities: worked by hand; chunking changes neither values nor gradients."""

import math

import pytest
import torch

from twogrpo.core.logprobs import chunked_token_logps, token_logps


def test_values_worked_by_hand_at_two_temperatures():
    logits = torch.tensor([[math.log(4), math.log(1)]])
    # At T = 1 the odds are 4 : 1; at T = ½ they are squared, 16 : 1; at T = 2 their root, 2 : 1.
    for temperature, probability in ((1.0, 4 / 5), (0.5, 16 / 17), (2.0, 2 / 3)):
        logp = token_logps(logits, torch.tensor([0]), temperature=temperature)
        assert logp.item() == pytest.approx(math.log(probability))


def test_bfloat16_logits_are_normalised_in_float32():
    logits = torch.linspace(-3, 3, 1000).bfloat16()
    logp = token_logps(logits[None], torch.tensor([7]), temperature=1.0)
    assert logp.dtype == torch.float32
    expected = logits.double().log_softmax(-1)[7].item()
    assert logp.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("chunk_tokens", [1, 3, 7, 10, 11, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_change_neither_value_nor_gradient(chunk_tokens, temperature):
    torch.manual_seed(0)
    hidden, head = torch.randn(10, 8), torch.randn(18, 8)
    tokens, weights = torch.randint(18, (10,)), torch.randn(10)

    def value_and_gradients(function) -> list[torch.Tensor]:
        leaves = [hidden.clone().requires_grad_(), head.clone().requires_grad_()]
        logps = function(*leaves)
        return [logps.detach(), *torch.autograd.grad((logps * weights).sum(), leaves)]

    whole = value_and_gradients(
        lambda h, w: (h @ w.T / temperature).log_softmax(-1)[torch.arange(10), tokens]
    )
    chunked = value_and_gradients(
        lambda h, w: chunked_token_logps(
            h, w, tokens, temperature=temperature, chunk_tokens=chunk_tokens
        )
    )
    for one, other in zip(chunked, whole, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=2e-6)


def test_the_full_matrix_of_logits_never_exists(monkeypatch):
    rows = []
    linear = torch.nn.functional.linear

    def spy(hidden, head):
        rows.append(len(hidden))
        return linear(hidden, head)

    monkeypatch.setattr(torch.nn.functional, "linear", spy)
    hidden = torch.randn(10, 8, requires_grad=True)
    tokens = torch.zeros(10, dtype=torch.long)
    logps = chunked_token_logps(hidden, torch.randn(18, 8), tokens, temperature=1.0, chunk_tokens=4)
    assert rows == [4, 4, 2]
    logps.sum().backward()
    assert max(rows) == 4  # recomputed chunk by chunk in the backward pass too
    assert sum(rows) == 20


def test_without_tokens_the_result_is_empty_and_differentiable():
    hidden = torch.empty(0, 8, requires_grad=True)
    none = torch.empty(0, dtype=torch.long)
    logps = chunked_token_logps(hidden, torch.randn(18, 8), none, temperature=1.0, chunk_tokens=4)
    assert logps.shape == (0,)
    logps.sum().backward()
