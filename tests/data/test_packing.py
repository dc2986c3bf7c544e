"""Packing: every token in its place, once, and never more tokens than asked for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.data.packing import deal, pack
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
    [(places, batch)] = pack([sequence(2, 1, old=False), sequence(2, 3)], tokens_per_microbatch=10)
    assert places == [1, 0]  # the longest first
    assert batch.lengths_N.tolist() == [5, 3]
    assert batch.token_ids_T.tolist() == [100, 101, 200, 201, 202, 100, 101, 200]
    assert batch.position_ids_T.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    # Place t predicts token t + 1: the last prompt token predicts the first response token.
    assert batch.predicting_R.tolist() == [1, 2, 3, 6]
    assert batch.target_ids_R.tolist() == [200, 201, 202, 200]
    assert batch.response_mask_NL.tolist() == [[True, True, True], [True, False, False]]
    assert batch.old_logps_NL[0].tolist() == [-1, -2, -3]
    assert batch.old_logps_NL.isnan().sum() == 3
    assert batch.sampler_logps_NL.isnan().all()
    assert batch.advantages_N.tolist() == [1, 1]
    torch.testing.assert_close(batch.token_weights_N, torch.tensor([0.1, 0.1]))


SHAPES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=30)


@given(SHAPES, st.integers(18, 60), st.integers(1, 3))
def test_every_sequence_once_within_the_budget_on_as_many_microbatches_a_rank(
    shapes, budget, num_ranks
):
    sequences = [sequence(*shape, advantage=float(i)) for i, shape in enumerate(shapes)]
    ranks = [
        list(pack(sequences, tokens_per_microbatch=budget, rank=rank, num_ranks=num_ranks))
        for rank in range(num_ranks)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    seen: list[int] = []
    for places, batch in [pair for batches in ranks for pair in batches]:
        assert batch.token_ids_T.numel() == batch.lengths_N.sum() <= budget
        if not places:
            assert batch.token_weights_N.tolist() == [0.0]
            continue
        assert batch.advantages_N.tolist() == places
        responses = batch.target_ids_R.split(batch.response_mask_NL.sum(dim=1).tolist())
        for row, place in enumerate(places):
            assert tuple(responses[row].tolist()) == sequences[place].response_token_ids
            old_logps = batch.old_logps_NL[row][batch.response_mask_NL[row]]
            assert torch.equal(old_logps, sequences[place].old_logps)
        seen += places
    assert sorted(seen) == list(range(len(sequences)))


@given(SHAPES, st.integers(2, 4))
def test_ranks_get_nearly_the_same_number_of_tokens(shapes, num_ranks):
    lengths = [sum(shape) for shape in shapes]
    tokens = [sum(lengths[place] for place in share) for share in deal(lengths, num_ranks)]
    assert max(tokens) - min(tokens) <= max(lengths, default=0)


def test_a_sequence_over_the_budget_goes_alone():
    batches = list(pack([sequence(5, 5), sequence(5, 5)], tokens_per_microbatch=3))
    assert [rows for rows, _ in batches] == [[0], [1]]


@pytest.mark.parametrize("budget", [1, 100])
def test_nothing_is_no_microbatch(budget):
    assert list(pack([], tokens_per_microbatch=budget)) == []
