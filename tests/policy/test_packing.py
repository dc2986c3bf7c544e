"""Packing: every token in its place, once, and never more tokens than asked for."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.policy.packing import pack, split_into_microbatches
from twogrpo.types import TrainingSample


def sequence(
    prompt: int, response: int, *, advantage: float = 1.0, old: bool = True
) -> TrainingSample:
    """Prompt tokens 100, 101, …; response tokens 200, 201, …; π_old −1, −2, …"""
    return TrainingSample(
        prompt_token_ids=tuple(range(100, 100 + prompt)),
        response_token_ids=tuple(range(200, 200 + response)),
        advantage=advantage,
        token_weight=advantage / 10,
        sampler_logps=-torch.arange(1.0, response + 1) / 2,
        old_logps=-torch.arange(1.0, response + 1) if old else None,
    )


def test_a_microbatch_worked_by_hand():
    first = replace(sequence(2, 1, old=False), prompt_token_ids=(90, 91))
    [(places, batch)] = pack([first, sequence(2, 3)], tokens_per_microbatch=10)
    assert places == [1, 0]  # the longest first
    assert batch.lengths_N.tolist() == [5, 3]
    assert batch.token_ids_T.tolist() == [100, 101, 200, 201, 202, 90, 91, 200]
    assert batch.position_ids_T.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert batch.unpack_index_F.tolist() == batch.pack_index_T.tolist() == list(range(8))
    # Place t predicts token t + 1: the last prompt token predicts the first response token.
    assert batch.logit_index_R.tolist() == [1, 2, 3, 6]
    assert batch.target_ids_R.tolist() == [200, 201, 202, 200]
    assert batch.response_mask_NL.tolist() == [[True, True, True], [True, False, False]]
    assert batch.old_logps_NL[0].tolist() == [-1, -2, -3]
    assert batch.old_logps_NL.isnan().sum() == 3
    assert batch.sampler_logps_NL[0].tolist() == [-0.5, -1, -1.5]
    assert batch.sampler_logps_NL[1, 0] == -0.5
    assert batch.sampler_logps_NL.isnan().sum() == 2
    assert batch.advantages_N.tolist() == [1, 1]
    torch.testing.assert_close(batch.token_weights_N, torch.tensor([0.1, 0.1]))


def test_a_shared_prompt_is_there_once():
    [(places, batch)] = pack([sequence(2, 1), sequence(2, 3)], tokens_per_microbatch=10)
    assert places == [1, 0]
    assert batch.token_ids_T.tolist() == [100, 101, 200, 201, 202, 200]
    assert batch.position_ids_T.tolist() == [0, 1, 2, 3, 4, 2]
    assert batch.unpack_index_F.tolist() == [0, 1, 2, 3, 4, 0, 1, 5]
    assert batch.unpack_index_F[batch.pack_index_T].tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.logit_index_R.tolist() == [1, 2, 3, 1]  # the prompt's end predicts both beginnings
    assert batch.target_ids_R.tolist() == [200, 201, 202, 200]


def test_pictures_are_not_shared():
    pair = [replace(sequence(2, 1), images=(b"a",)), replace(sequence(2, 1), images=(b"b",))]
    [(_, batch)] = pack(pair, tokens_per_microbatch=10)
    assert batch.token_ids_T.numel() == 6


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
        assert batch.token_ids_T.numel() <= budget
        if not places:
            assert batch.token_weights_N.tolist() == [0.0]
            continue
        assert batch.advantages_N.tolist() == places
        tokens = batch.token_ids_T[batch.unpack_index_F].split(batch.lengths_N.tolist())
        positions = batch.position_ids_T[batch.unpack_index_F].split(batch.lengths_N.tolist())
        responses = batch.target_ids_R.split(batch.response_mask_NL.sum(dim=1).tolist())
        for row, place in enumerate(places):
            expected = sequences[place]
            whole = expected.prompt_token_ids + expected.response_token_ids
            assert tuple(tokens[row].tolist()) == whole
            assert positions[row].tolist() == list(range(len(whole)))
            assert tuple(responses[row].tolist()) == expected.response_token_ids
            old_logps = batch.old_logps_NL[row][batch.response_mask_NL[row]]
            assert torch.equal(old_logps, expected.old_logps)
        assert torch.equal(
            batch.token_ids_T[batch.unpack_index_F][batch.pack_index_T], batch.token_ids_T
        )
        seen += places
    assert sorted(seen) == list(range(len(sequences)))


@given(SHAPES, st.integers(2, 4))
def test_ranks_get_nearly_the_same_number_of_tokens(shapes, num_ranks):
    sequences = [
        replace(sequence(*shape), prompt_token_ids=(i,) * shape[0])
        for i, shape in enumerate(shapes)
    ]
    runs = split_into_microbatches(sequences, 10**6, num_ranks)
    assert len(runs) <= num_ranks
    even = sum(map(sum, shapes)) / num_ranks
    longest = max(map(sum, shapes), default=0)
    assert all(sum(sequences[i].num_tokens for i in run) <= even + longest for run in runs)


def test_a_sequence_over_the_budget_goes_alone():
    batches = list(pack([sequence(5, 5), sequence(5, 5)], tokens_per_microbatch=3))
    assert [rows for rows, _ in batches] == [[0], [1]]


@pytest.mark.parametrize("budget", [1, 100])
def test_nothing_is_no_microbatch(budget):
    assert list(pack([], tokens_per_microbatch=budget)) == []
