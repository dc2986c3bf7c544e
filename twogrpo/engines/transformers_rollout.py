"""The plain sampler: `transformers` with a key-value cache, where vLLM is missing or not worth it.

P prompts, G rollouts each, N rows still running, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from twogrpo import records
from twogrpo.core.sampling import sample_tokens
from twogrpo.engines.protocols import Sampling


@dataclass
class _Draft:
    """A response being written."""

    token_ids: list[int]
    logps: list[float]


class TransformersRollout:
    """See `twogrpo.engines.protocols.RolloutEngine`.

    Each prompt goes through the model once and its cache is shared by the group; rows that are
    finished leave the batch.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str,
        dtype: torch.dtype,
        rollouts_per_call: int,
    ) -> None:
        self.model = model.to(device=device, dtype=dtype).eval()
        self.tokenizer = tokenizer
        self.device = device
        self.rollouts_per_call = rollouts_per_call

    def sample(
        self,
        prompts: Sequence[records.Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: Sampling,
    ) -> list[tuple[records.Rollout, ...]]:
        """One response a seed, `rollouts_per_call` at a time, groups kept whole."""
        rollouts: list[tuple[records.Rollout, ...]] = []
        start = 0
        while start < len(prompts):
            group_size = max(1, len(seeds_PG[start]))
            end = start + max(1, self.rollouts_per_call // group_size)
            rollouts += self._sample_call(prompts[start:end], seeds_PG[start:end], sampling)
            start = end
        return rollouts

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copies the weights in place; raises RuntimeError where a name is missing."""
        self.model.load_state_dict(dict(weights), strict=True)

    def close(self) -> None:
        """Holds nothing."""

    @torch.inference_mode()
    def _sample_call(
        self,
        prompts: Sequence[records.Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: Sampling,
    ) -> list[tuple[records.Rollout, ...]]:
        group_sizes = torch.tensor([len(seeds) for seeds in seeds_PG])
        uniforms_NT = _uniforms([seed for seeds in seeds_PG for seed in seeds], sampling)
        drafts = self._decode(prompts, group_sizes, uniforms_NT, sampling)
        texts = self.tokenizer.batch_decode(
            [draft.token_ids for draft in drafts], skip_special_tokens=True
        )
        rollouts = iter(
            records.Rollout(
                token_ids=tuple(draft.token_ids),
                sampler_logps=tuple(draft.logps),
                text=text,
                finish_reason="stop" if draft.token_ids[-1] == self._end_id else "length",
            )
            for draft, text in zip(drafts, texts, strict=True)
        )
        return [tuple(next(rollouts) for _ in seeds) for seeds in seeds_PG]

    @property
    def _end_id(self) -> int:
        end_id = self.tokenizer.eos_token_id
        assert isinstance(end_id, int)
        return end_id

    def _decode(
        self,
        prompts: Sequence[records.Prompt],
        group_sizes: Tensor,
        uniforms_NT: Tensor,
        sampling: Sampling,
    ) -> list[_Draft]:
        logits_NV, cache, attention_NT = self._prefill(prompts, group_sizes)
        drafts = [_Draft([], []) for _ in range(len(uniforms_NT))]
        running = torch.arange(len(drafts))
        for position in range(sampling.max_response_tokens):
            tokens_N, logps_N = sample_tokens(
                logits_NV.cpu(),
                uniforms_NT[running, position],
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
            )
            for row, token, logp in zip(
                running.tolist(), tokens_N.tolist(), logps_N.tolist(), strict=True
            ):
                drafts[row].token_ids.append(token)
                drafts[row].logps.append(logp)
            goes_on_N = tokens_N != self._end_id
            if position + 1 == sampling.max_response_tokens or not goes_on_N.any():
                break
            if not goes_on_N.all():
                kept = goes_on_N.nonzero().squeeze(-1)
                running, tokens_N = running[kept], tokens_N[kept]
                kept = kept.to(self.device)
                attention_NT = attention_NT[kept]
                cache.batch_select_indices(kept)
            logits_NV, attention_NT = self._advance(tokens_N, attention_NT, cache)
        return drafts

    def _prefill(
        self, prompts: Sequence[records.Prompt], group_sizes: Tensor
    ) -> tuple[Tensor, DynamicCache, Tensor]:
        """The prompts, padded on the left, once each; then one row a rollout."""
        width = max(len(prompt.token_ids) for prompt in prompts)
        token_ids_PT = torch.zeros(len(prompts), width, dtype=torch.long)
        attention_PT = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            token_ids_PT[row, width - len(prompt.token_ids) :] = torch.tensor(prompt.token_ids)
            attention_PT[row, width - len(prompt.token_ids) :] = 1
        attention_PT = attention_PT.to(self.device)
        cache = DynamicCache(config=self.model.config)
        logits_PV = self.model(
            input_ids=token_ids_PT.to(self.device),
            attention_mask=attention_PT,
            position_ids=(attention_PT.cumsum(dim=-1) - 1).clamp_min(0),
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
        rows = torch.arange(len(prompts)).repeat_interleave(group_sizes).to(self.device)
        cache.batch_select_indices(rows)
        return logits_PV[rows], cache, attention_PT[rows]

    def _advance(
        self, tokens_N: Tensor, attention_NT: Tensor, cache: DynamicCache
    ) -> tuple[Tensor, Tensor]:
        attention_NT = torch.cat([attention_NT, torch.ones_like(attention_NT[:, :1])], dim=-1)
        logits_NV = self.model(
            input_ids=tokens_N[:, None].to(self.device),
            attention_mask=attention_NT,
            position_ids=attention_NT.sum(dim=-1, keepdim=True) - 1,
            past_key_values=cache,
        ).logits[:, -1]
        return logits_NV, attention_NT


def _uniforms(seeds: Sequence[int], sampling: Sampling) -> Tensor:
    """Uniform numbers in [0, 1), one a token, from each rollout's own counter-based generator."""
    return torch.stack(
        [
            torch.from_numpy(
                np.random.Generator(np.random.Philox(key=seed)).random(
                    sampling.max_response_tokens, dtype=np.float32
                )
            )
            for seed in seeds
        ]
    )
