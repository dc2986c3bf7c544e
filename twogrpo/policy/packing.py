"""Packs sequences into micro-batches without padding, each prompt once for all its responses.

Which sequences share a prompt, a micro-batch or a rank cannot change the gradient
(twogrpo/core/aggregation.py).
N sequences, T distinct tokens, F tokens of all sequences, with a shared prompt counted for each of
them, L response tokens of the longest, R response tokens of all.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import torch

from twogrpo.types import MicroBatch, TrainingSample


def pack(
    sequences: Sequence[TrainingSample],
    *,
    tokens_per_microbatch: int,
    device: str = "cpu",
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[tuple[list[int], MicroBatch]]:
    """This rank's micro-batches of at most `tokens_per_microbatch` distinct tokens.

    Yields the indices in `sequences` of a micro-batch's members, and the micro-batch. Every rank
    gets the same number of micro-batches, because all ranks run a sharded model together: a rank
    with less work gets empty ones at the end, which have no weight.
    """
    runs = split_into_microbatches(sequences, tokens_per_microbatch, num_ranks)
    for first in range(0, len(runs), num_ranks):
        members = runs[first + rank] if first + rank < len(runs) else []
        yield members, microbatch([sequences[i] for i in members] or [EMPTY_SAMPLE], device=device)


def split_into_microbatches(
    sequences: Sequence[TrainingSample], budget: int, num_ranks: int = 1
) -> list[list[int]]:
    """The indices of `sequences` in runs of at most `budget` tokens; a longer sequence goes alone.

    Responses to one prompt are adjacent, and the prompt with the longest sequence comes first, so
    that a run's sequences have similar lengths. Runs are nearly even, so that no rank idles.
    """
    longest, prompts = dict[Hashable, int](), dict[Hashable, int]()
    for sequence in sequences:
        key = _shared(sequence)
        longest[key] = max(longest.get(key, 0), sequence.num_tokens)
        prompts[key] = len(sequence.prompt_token_ids)
    turn = {key: n for n, key in enumerate(sorted(longest, key=lambda k: -longest[k]))}
    order = sorted(
        range(len(sequences)),
        key=lambda place: (turn[_shared(sequences[place])], -sequences[place].num_tokens),
    )
    total = sum(prompts.values()) + sum(len(s.response_token_ids) for s in sequences)
    even = -(-total // (num_ranks * max(1, -(-total // (budget * num_ranks)))))
    runs: list[list[int]] = []
    filled, here = 0, set[Hashable]()
    for place in order:
        sequence = sequences[place]
        is_there = _shared(sequence) in here
        cost = len(sequence.response_token_ids) if is_there else sequence.num_tokens
        if not runs or filled >= even or filled + cost > budget:
            runs.append([])
            filled, here, cost = 0, set(), sequence.num_tokens
        runs[-1].append(place)
        here.add(_shared(sequence))
        filled += cost
    return runs


def _shared(sequence: TrainingSample) -> Hashable:
    """What two sequences must have in common to share one copy of their prompt."""
    return sequence.prompt_token_ids, sequence.images


# It goes through the model and adds exactly zero to every gradient.
EMPTY_SAMPLE = TrainingSample(
    (0,), (0,), advantage=0.0, token_weight=0.0, sampler_logps=torch.zeros(1)
)


def microbatch(sequences: Sequence[TrainingSample], *, device: str) -> MicroBatch:
    """Packs the sequences, each prompt once, before the first of its responses."""
    token_ids, positions, predicting = list[int](), list[int](), list[int]()
    places, start_of = list[int](), dict[Hashable, int]()
    longest = max(len(sequence.response_token_ids) for sequence in sequences)
    response_mask_NL = torch.zeros(len(sequences), longest, dtype=torch.bool)
    old_logps_NL = torch.full((len(sequences), longest), torch.nan)
    sampler_logps_NL = old_logps_NL.clone()
    for row, sequence in enumerate(sequences):
        num_prompt = len(sequence.prompt_token_ids)
        num_response = len(sequence.response_token_ids)
        if (key := _shared(sequence)) not in start_of:
            start_of[key] = len(token_ids)
            token_ids += sequence.prompt_token_ids
            positions += range(num_prompt)
        prompt = range(start_of[key], start_of[key] + num_prompt)
        response = range(len(token_ids), len(token_ids) + num_response)
        token_ids += sequence.response_token_ids
        positions += range(num_prompt, sequence.num_tokens)
        places += [*prompt, *response]
        predicting += [prompt[-1], *response[:-1]]  # position t predicts the token after it
        response_mask_NL[row, :num_response] = True
        if sequence.old_logps is not None:
            old_logps_NL[row, :num_response] = sequence.old_logps
        sampler_logps_NL[row, :num_response] = sequence.sampler_logps
    targets = [token for sequence in sequences for token in sequence.response_token_ids]
    # A shared token has several places in F; any will do, its value is the same in each.
    place_in_F = {place: index for index, place in enumerate(places)}
    return MicroBatch(
        lengths_N=torch.tensor([sequence.num_tokens for sequence in sequences]),
        token_ids_T=torch.tensor(token_ids).to(device),
        position_ids_T=torch.tensor(positions).to(device),
        unpack_index_F=torch.tensor(places).to(device),
        pack_index_T=torch.tensor([place_in_F[place] for place in range(len(token_ids))]).to(
            device
        ),
        logit_index_R=torch.tensor(predicting).to(device),
        target_ids_R=torch.tensor(targets).to(device),
        response_mask_NL=response_mask_NL.to(device),
        advantages_N=torch.tensor([s.advantage for s in sequences]).to(device),
        token_weights_N=torch.tensor([s.token_weight for s in sequences]).to(device),
        old_logps_NL=old_logps_NL.to(device),
        sampler_logps_NL=sampler_logps_NL.to(device),
        images_N=tuple(sequence.images for sequence in sequences),
    )
