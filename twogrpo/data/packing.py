"""Sequences into micro-batches: sorted by length, cut at a token budget, padded on the right.

Which sequences share a micro-batch cannot change the gradient (twogrpo/core/aggregation.py).
N sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from twogrpo import records


def pack(
    sequences: Sequence[records.Sequence], *, tokens_per_microbatch: int, device: str = "cpu"
) -> Iterator[tuple[list[int], records.MicroBatch]]:
    """Micro-batches of at most `tokens_per_microbatch` padded tokens, the longest first.

    Yields the places in `sequences` of a micro-batch's rows, and the micro-batch.
    """
    order = sorted(range(len(sequences)), key=lambda i: -sequences[i].num_tokens)
    start = 0
    while start < len(order):
        longest = sequences[order[start]].num_tokens
        rows = order[start : start + max(1, tokens_per_microbatch // longest)]
        yield rows, _padded([sequences[i] for i in rows], device=device)
        start += len(rows)


def _padded(sequences: list[records.Sequence], *, device: str) -> records.MicroBatch:
    num_tokens = max(sequence.num_tokens for sequence in sequences)
    token_ids_NT = torch.zeros(len(sequences), num_tokens, dtype=torch.long)
    response_mask_NT = torch.zeros(len(sequences), num_tokens, dtype=torch.bool)
    old_logps_NT = torch.full((len(sequences), num_tokens), torch.nan)
    for row, sequence in enumerate(sequences):
        first = len(sequence.prompt_token_ids)
        tokens = sequence.prompt_token_ids + sequence.response_token_ids
        token_ids_NT[row, : len(tokens)] = torch.tensor(tokens)
        response_mask_NT[row, first - 1 : len(tokens) - 1] = True
        if sequence.old_logps is not None:
            old_logps_NT[row, first - 1 : len(tokens) - 1] = sequence.old_logps
    return records.MicroBatch(
        token_ids_NT=token_ids_NT.to(device),
        target_ids_NT=token_ids_NT.roll(-1, dims=1).to(device),
        response_mask_NT=response_mask_NT.to(device),
        advantages_N=torch.tensor([s.advantage for s in sequences]).to(device),
        token_weights_N=torch.tensor([s.token_weight for s in sequences]).to(device),
        old_logps_NT=old_logps_NT.to(device),
    )
