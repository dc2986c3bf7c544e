"""Packing: every token in its place, once, and never more tokens than asked for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.data.packing import pack
from twogrpo.records import Sequence


def sequence(prompt: int, response: int, *, advantage: float = 1.0, old: bool = True) -> Sequence:
    """Prompt tokens 100, 101, …; response tokens 200, 201, …; π_old −1, −2, …"""
    return Sequence(
        prompt_token_ids=tuple(range(100, 100 + prompt)),
        response_token_ids=tuple(range(200, 200 + response)),
        advantage=advantage,
        token_weight=advantage / 10,
        old_logps=-torch.arange(1.0, response + 1) if old else None,
    )


def test_a_microbatch_worked_by_hand():
    [(rows, batch)] = pack([sequence(2, 1, old=False), sequence(2, 3)], tokens_per_microbatch=10)
    assert rows == [1, 0]  # the longest first
    assert batch.token_ids_NT.tolist() == [[100, 101, 200, 201, 202], [100, 101, 200, 0, 0]]
    # Place t predicts token t + 1: the last prompt token predicts the first response token.
    assert batch.response_mask_NT.tolist() == [
        [False, True, True, True, False],
        [False, True, False, False, False],
    ]
    mask = batch.response_mask_NT
    assert batch.target_ids_NT[mask].tolist() == [200, 201, 202, 200]
    assert batch.old_logps_NT[0, 1:4].tolist() == [-1, -2, -3]
    assert batch.old_logps_NT.isnan().sum() == 7
    assert batch.advantages_N.tolist() == [1, 1]
    torch.testing.assert_close(batch.token_weights_N, torch.tensor([0.1, 0.1]))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=30), st.integers(18, 60))
def test_every_sequence_once_within_the_budget(shapes, budget):
    sequences = [sequence(*shape, advantage=float(i)) for i, shape in enumerate(shapes)]
    seen: list[int] = []
    for rows, batch in pack(sequences, tokens_per_microbatch=budget):
        assert batch.token_ids_NT.numel() <= budget
        assert batch.advantages_N.tolist() == rows
        for row, place in enumerate(rows):
            mask = batch.response_mask_NT[row]
            response = sequences[place].response_token_ids
            assert tuple(batch.target_ids_NT[row][mask].tolist()) == response
            assert sequences[place].old_logps is not None
            assert torch.equal(batch.old_logps_NT[row][mask], sequences[place].old_logps)
        seen += rows
    assert sorted(seen) == list(range(len(sequences)))


def test_a_sequence_over_the_budget_goes_alone():
    batches = list(pack([sequence(5, 5), sequence(5, 5)], tokens_per_microbatch=3))
    assert [rows for rows, _ in batches] == [[0], [1]]


@pytest.mark.parametrize("budget", [1, 100])
def test_nothing_is_no_microbatch(budget):
    assert list(pack([], tokens_per_microbatch=budget)) == []
