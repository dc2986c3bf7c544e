"""The padded baseline that the policy's gradient is compared with: every row has its own prompt.

N sequences, T tokens in the longest, R tokens in all responses, H heads of size D (or D channels).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface

from twogrpo.core.logprobs import chunked_token_logps
from twogrpo.models.load import DTYPES, load_model
from twogrpo.training.run import Run
from twogrpo.types import TrainingSample as Rollout

PADDED = "padded_in_float32"  # the name registered with `transformers`


def attend_in_float32(
    module: nn.Module,
    query_NHTD: Tensor,
    key_NHTD: Tensor,
    value_NHTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The policy's attention on a CPU (twogrpo/policy/packed_attention.py), of padded rows."""
    with torch.autocast(query_NHTD.device.type, enabled=False):
        attended_NHTD = F.scaled_dot_product_attention(
            query_NHTD.float(),
            key_NHTD.float(),
            value_NHTD.float(),
            is_causal=True,
            scale=scaling,
            enable_gqa=True,
        )
    return attended_NHTD.transpose(1, 2).to(value_NHTD.dtype), None


AttentionInterface.register(PADDED, attend_in_float32)  # causal, so no mask is registered


class Padded:
    """Runs padded batches through the model of transformers."""

    def __init__(self, run: Run) -> None:
        hardware = run.config.hardware
        self.model = load_model(run.config.model).to(hardware.device)
        self.model.set_attn_implementation(PADDED)
        self.dtype, self.device = DTYPES[hardware.dtype], hardware.device
        self.tokens_per_microbatch = hardware.tokens_per_microbatch
        self.logits_chunk_tokens = hardware.logits_chunk_tokens

    def gradient(self, sequences: Sequence[Rollout]) -> Tensor:
        """The policy's gradient, from micro-batches of similar lengths, padding counted in."""
        self.model.zero_grad()
        rest = sorted(sequences, key=lambda s: -s.num_tokens)
        while rest:
            count = max(1, self.tokens_per_microbatch // rest[0].num_tokens)
            self._accumulate(rest[:count])
            rest = rest[count:]
        return torch.cat([-p.grad.flatten() for p in self.model.parameters() if p.grad is not None])

    def _accumulate(self, batch: Sequence[Rollout]) -> None:
        rows = [torch.tensor(s.prompt_token_ids + s.response_token_ids) for s in batch]
        tokens_NT = pad_sequence(rows, batch_first=True).to(self.device)
        lengths_N = torch.tensor([s.num_tokens for s in batch])[:, None]
        prompts_N = torch.tensor([len(s.prompt_token_ids) for s in batch])[:, None]
        index_T = torch.arange(1, tokens_NT.shape[1])
        is_response_NT = (index_T >= prompts_N) & (index_T < lengths_N)
        weights_N = torch.tensor([s.advantage * s.token_weight for s in batch])[:, None]
        weights_R = weights_N.expand_as(is_response_NT)[is_response_NT].to(self.device)
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            hidden_NTD = self.model.base_model(input_ids=tokens_NT, use_cache=False)[0]
            logps_R = chunked_token_logps(
                hidden_NTD[:, :-1][is_response_NT],
                self.model.get_output_embeddings().weight,
                tokens_NT[:, 1:][is_response_NT],
                temperature=1.0,
                chunk_tokens=self.logits_chunk_tokens,
            )
        (-((logps_R - logps_R.detach()).exp() * weights_R).sum()).backward()
