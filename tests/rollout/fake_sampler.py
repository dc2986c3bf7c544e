"""A rollout engine without a network: the next token depends on the last one, by a table.

Small enough to be right by inspection; it keeps the contract suite honest about what is asked of
any engine, and stands in where a test needs rollouts but no model.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from twogrpo.core.token_sampling import sample_tokens
from twogrpo.rollout.protocol import SamplingParams, completion
from twogrpo.types import Completion, Prompt


class FakeRollout:
    """See `twogrpo.rollout.protocol.Sampler`; its one weight is `table`, logits [V, V]."""

    def __init__(self, table_VV: Tensor, tokenizer: PreTrainedTokenizerBase) -> None:
        self.table_VV = table_VV.clone()
        self.tokenizer = tokenizer
        self.end_token_ids: Collection[int] = (tokenizer.eos_token_id,)

    def sample(
        self, prompts: Sequence[Prompt], seeds_PG: Sequence[Sequence[int]], sampling: SamplingParams
    ) -> list[tuple[Completion, ...]]:
        return [
            tuple(self._respond(prompt, seed, sampling) for seed in seeds)
            for prompt, seeds in zip(prompts, seeds_PG, strict=True)
        ]

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        given = dict(weights)
        if set(given) != {"table"}:
            raise RuntimeError(f"expected the weight table, got {sorted(given)}")
        self.table_VV = given["table"].clone()

    def sleep(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _respond(self, prompt: Prompt, seed: int, sampling: SamplingParams) -> Completion:
        rng = np.random.default_rng(seed)
        tokens, logps, last = [], [], prompt.token_ids[-1]
        for uniform in rng.random(sampling.max_response_tokens, dtype=np.float32):
            token_1, logp_1 = sample_tokens(
                self.table_VV[last : last + 1],
                torch.tensor([uniform]),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
            )
            last = int(token_1)
            tokens.append(last)
            logps.append(float(logp_1))
            if last in self.end_token_ids:
                break
        return completion(tokens, logps, self.tokenizer, self.end_token_ids)
