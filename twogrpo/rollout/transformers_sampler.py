"""The sampler for machines and models without vLLM: `transformers` with a key-value cache.

P prompts, G rollouts each, N running rows, V vocabulary size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from twogrpo.core.token_sampling import sample_tokens
from twogrpo.data.images import ImageProcessor
from twogrpo.models.image_inputs import padded_inputs
from twogrpo.rollout.decode_attention import CACHED
from twogrpo.rollout.protocol import SamplingParams, completion
from twogrpo.types import Completion, Prompt


@dataclass
class _DecodeState:
    """The cache of the running rows; `positions_N` are their next tokens' positions."""

    cache: DynamicCache
    attention_NT: Tensor
    positions_N: Tensor

    def select(self, rows: Tensor) -> None:
        """Selects or repeats rows."""
        self.cache.batch_select_indices(rows)
        self.attention_NT, self.positions_N = self.attention_NT[rows], self.positions_N[rows]


class TransformersSampler:
    """See `twogrpo.rollout.protocol.Sampler`.

    Each prompt, with its images if there is an `image_processor`, is prefilled once and its cache
    repeated for the group; finished rows leave the batch.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        end_token_ids: Collection[int],
        device: str,
        dtype: torch.dtype,
        rollouts_per_call: int,
        image_processor: ImageProcessor | None = None,
    ) -> None:
        self.image_processor = image_processor
        if model.config._attn_implementation == "sdpa":  # for text only: images are prefilled once
            model.set_attn_implementation({"": CACHED, "text_config": CACHED})
        self.model = model.to(device=device, dtype=dtype).eval()
        self.tokenizer = tokenizer
        self.end_token_ids = end_token_ids
        self.device = device
        self.rollouts_per_call = rollouts_per_call

    def sample(
        self,
        prompts: Sequence[Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: SamplingParams,
    ) -> list[tuple[Completion, ...]]:
        """Samples one response per seed, `rollouts_per_call` at a time without splitting groups."""
        rollouts: list[tuple[Completion, ...]] = []
        start = 0
        while start < len(prompts):
            group_size = max(1, len(seeds_PG[start]))
            end = start + max(1, self.rollouts_per_call // group_size)
            rollouts += self._sample_call(prompts[start:end], seeds_PG[start:end], sampling)
            start = end
        return rollouts

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copies the weights in place; raises RuntimeError if a name is missing."""
        self.model.load_state_dict(dict(weights), strict=True)

    def sleep(self) -> None:
        """Does nothing: its weights stay in memory, and it holds nothing else."""

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

    @torch.inference_mode()
    def _sample_call(
        self,
        prompts: Sequence[Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: SamplingParams,
    ) -> list[tuple[Completion, ...]]:
        group_sizes = torch.tensor([len(seeds) for seeds in seeds_PG])
        uniforms_NT = _uniforms([seed for seeds in seeds_PG for seed in seeds], sampling)
        token_ids, logps = self._decode(prompts, group_sizes, uniforms_NT, sampling)
        rollouts = (
            completion(ids, sampled, self.tokenizer, self.end_token_ids)
            for ids, sampled in zip(token_ids, logps, strict=True)
        )
        return [tuple(next(rollouts) for _ in seeds) for seeds in seeds_PG]

    def _decode(
        self,
        prompts: Sequence[Prompt],
        group_sizes: Tensor,
        uniforms_NT: Tensor,
        sampling: SamplingParams,
    ) -> tuple[list[list[int]], list[list[float]]]:
        """The tokens of each response and their log-probabilities."""
        logits_NV, state = self._prefill(prompts, group_sizes)
        token_ids: list[list[int]] = [[] for _ in uniforms_NT]
        logps: list[list[float]] = [[] for _ in uniforms_NT]
        running = torch.arange(len(uniforms_NT))
        end_tokens = torch.tensor(sorted(self.end_token_ids), dtype=torch.long)
        for position in range(sampling.max_response_tokens):
            tokens_N, logps_N = sample_tokens(
                logits_NV,
                uniforms_NT[running, position].to(self.device),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
            )
            tokens_N, logps_N = tokens_N.cpu(), logps_N.cpu()
            for row, token, logp in zip(
                running.tolist(), tokens_N.tolist(), logps_N.tolist(), strict=True
            ):
                token_ids[row].append(token)
                logps[row].append(logp)
            is_running_N = ~torch.isin(tokens_N, end_tokens)
            if position + 1 == sampling.max_response_tokens or not is_running_N.any():
                break
            if not is_running_N.all():
                kept = is_running_N.nonzero().squeeze(-1)
                running, tokens_N = running[kept], tokens_N[kept]
                state.select(kept.to(self.device))
            logits_NV = self._advance(tokens_N, state)
        return token_ids, logps

    def _prefill(
        self, prompts: Sequence[Prompt], group_sizes: Tensor
    ) -> tuple[Tensor, _DecodeState]:
        """Runs each prompt once, padded on the left; then repeats its row for every rollout."""
        lengths_P = torch.tensor([len(prompt.token_ids) for prompt in prompts])
        width = int(lengths_P.max())
        attention_PT = (torch.arange(width) >= width - lengths_P[:, None]).long().to(self.device)
        inputs = self._inputs(prompts, attention_PT)
        # The maximum over a row, and with images over its three kinds of position.
        last_P = inputs["position_ids"].movedim(-2, 0).flatten(1).amax(dim=1)
        state = _DecodeState(DynamicCache(config=self.model.config), attention_PT, last_P + 1)
        logits_PV = self.model(
            **inputs, attention_mask=attention_PT, past_key_values=state.cache, logits_to_keep=1
        ).logits[:, -1]
        rows = torch.arange(len(prompts)).repeat_interleave(group_sizes).to(self.device)
        state.select(rows)
        return logits_PV[rows], state

    def _inputs(self, prompts: Sequence[Prompt], attention_PT: Tensor) -> dict[str, Tensor]:
        width = attention_PT.shape[1]
        if self.image_processor is not None:
            return padded_inputs(self.model, prompts, width, self.image_processor)
        rows = [[0] * (width - len(p.token_ids)) + list(p.token_ids) for p in prompts]
        return {
            "input_ids": torch.tensor(rows).to(self.device),
            "position_ids": (attention_PT.cumsum(dim=-1) - 1).clamp_min(0),
        }

    def _advance(self, tokens_N: Tensor, state: _DecodeState) -> Tensor:
        ones_N1 = torch.ones_like(state.attention_NT[:, :1])
        state.attention_NT = torch.cat([state.attention_NT, ones_N1], dim=-1)
        logits_NV: Tensor = self.model(
            input_ids=tokens_N[:, None].to(self.device),
            attention_mask=state.attention_NT,
            position_ids=state.positions_N[:, None],
            past_key_values=state.cache,
        ).logits[:, -1]
        state.positions_N = state.positions_N + 1
        return logits_NV


def _uniforms(seeds: Sequence[int], sampling: SamplingParams) -> Tensor:
    """Uniform numbers in [0, 1), one per token, from each rollout's own counter-based generator."""
    uniforms_NT = np.empty((len(seeds), sampling.max_response_tokens), dtype=np.float32)
    for uniforms_T, seed in zip(uniforms_NT, seeds, strict=True):
        np.random.Generator(np.random.Philox(key=seed)).random(dtype=np.float32, out=uniforms_T)
    return torch.from_numpy(uniforms_NT)
