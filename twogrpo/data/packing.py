"""Sequences into micro-batches without padding: shared out over ranks, cut at a token budget.

Which sequences share a micro-batch or a rank cannot change the gradient
(twogrpo/core/aggregation.py).
N sequences, T tokens of all of them, L response tokens of the longest, R response tokens of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from twogrpo import records


def pack(
    sequences: Sequence[records.Sequence],
    *,
    tokens_per_microbatch: int,
    device: str = "cpu",
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[tuple[list[int], records.MicroBatch]]:
    """This rank's micro-batches of at most `tokens_per_microbatch` tokens, the longest first.

    Yields the places in `sequences` of a micro-batch's members, and the micro-batch. Every rank
    gets as many micro-batches, since a sharded model is run by all ranks together: where one has
    less to do, its last ones have no members and weigh nothing.
    """
    lengths = [sequence.num_tokens for sequence in sequences]
    plans = [cut(share, lengths, tokens_per_microbatch) for share in deal(lengths, num_ranks)]
    for number in range(max(map(len, plans))):
        members = plans[rank][number] if number < len(plans[rank]) else []
        yield members, microbatch([sequences[i] for i in members] or [NOTHING], device=device)


def deal(lengths: Sequence[int], num_ranks: int) -> list[list[int]]:
    """Places dealt to ranks, the longest first and to and fro, so that tokens are nearly even.

    >>> deal([9, 8, 7, 6], 2)
    [[0, 3], [1, 2]]
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    shares: list[list[int]] = [[] for _ in range(num_ranks)]
    for turn, place in enumerate(order):
        there, back = turn % num_ranks, num_ranks - 1 - turn % num_ranks
        shares[back if turn // num_ranks % 2 else there].append(place)
    return shares


def cut(places: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """`places` in runs of at most `budget` tokens, nearly even; one longer than it goes alone.

    >>> cut([0, 1, 2], [4, 4, 4], 9)
    [[0, 1], [2]]
    """
    total = sum(lengths[place] for place in places)
    even = -(-total // max(1, -(-total // budget)))  # so that no small remainder is left
    runs: list[list[int]] = []
    filled = 0
    for place in places:
        is_full = filled >= even or filled + lengths[place] > budget
        if not runs or is_full:
            runs.append([])
            filled = 0
        runs[-1].append(place)
        filled += lengths[place]
    return runs


# Goes through the model and adds exactly zero to every gradient.
NOTHING = records.Sequence((0,), (0,), advantage=0.0, token_weight=0.0)


def microbatch(sequences: Sequence[records.Sequence], *, device: str) -> records.MicroBatch:
    """The sequences one after another."""
    token_ids, positions, predicting = list[int](), list[int](), list[int]()
    longest = max(len(sequence.response_token_ids) for sequence in sequences)
    response_mask_NL = torch.zeros(len(sequences), longest, dtype=torch.bool)
    old_logps_NL = torch.full((len(sequences), longest), torch.nan)
    sampler_logps_NL = old_logps_NL.clone()
    for row, sequence in enumerate(sequences):
        num_prompt, num_response = (
            len(sequence.prompt_token_ids),
            len(sequence.response_token_ids),
        )
        start = len(token_ids) + num_prompt - 1  # the last prompt token predicts the first response
        predicting += range(start, start + num_response)
        token_ids += sequence.prompt_token_ids + sequence.response_token_ids
        positions += range(sequence.num_tokens)
        response_mask_NL[row, :num_response] = True
        if sequence.old_logps is not None:
            old_logps_NL[row, :num_response] = sequence.old_logps
        if sequence.sampler_logps is not None:
            sampler_logps_NL[row, :num_response] = sequence.sampler_logps
    token_ids_T = torch.tensor(token_ids)
    predicting_R = torch.tensor(predicting)
    return records.MicroBatch(
        lengths_N=torch.tensor([sequence.num_tokens for sequence in sequences]),
        token_ids_T=token_ids_T.to(device),
        position_ids_T=torch.tensor(positions).to(device),
        predicting_R=predicting_R.to(device),
        target_ids_R=token_ids_T[predicting_R + 1].to(device),
        response_mask_NL=response_mask_NL.to(device),
        advantages_N=torch.tensor([s.advantage for s in sequences]).to(device),
        token_weights_N=torch.tensor([s.token_weight for s in sequences]).to(device),
        old_logps_NL=old_logps_NL.to(device),
        sampler_logps_NL=sampler_logps_NL.to(device),
        images_N=tuple(sequence.images for sequence in sequences),
    )
