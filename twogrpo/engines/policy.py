"""The policy π_θ: a causal language model of `transformers` with Adam, updated by micro-batches.

N sequences, T tokens, R response tokens of a micro-batch, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from twogrpo import records
from twogrpo.core.logprobs import chunked_token_logps
from twogrpo.core.surrogates import SurrogateFunction
from twogrpo.data.packing import pack
from twogrpo.engines.protocols import UpdateMetrics


@dataclass(frozen=True)
class Objective:
    """The surrogate, its clip bounds and the temperature at which the rollouts were drawn."""

    surrogate: SurrogateFunction
    clip_low: float
    clip_high: float
    temperature: float


@dataclass(frozen=True)
class Adam:
    """Adam with a linear warm-up to a constant learning rate; `None` clips nothing."""

    learning_rate: float
    warmup_updates: int
    betas: tuple[float, float]
    epsilon: float
    gradient_clip_norm: float | None


@dataclass(frozen=True)
class Knobs:
    """What must not change a number beyond rounding (conf/hardware/)."""

    device: str
    dtype: torch.dtype
    tokens_per_microbatch: int
    logits_chunk_tokens: int


class NonFiniteError(RuntimeError):
    """The gradient is not finite; the optimiser step was not taken."""


class ScoringModel(nn.Module):
    """A causal language model that returns log-probabilities of given tokens, not logits."""

    def __init__(self, model: PreTrainedModel, *, temperature: float, knobs: Knobs) -> None:
        super().__init__()
        self.model = model.to(knobs.device)
        self.temperature = temperature
        self.knobs = knobs

    def forward(self, batch: records.MicroBatch) -> Tensor:
        """Log-probabilities of the response tokens, [R] in row order, float32."""
        is_mixed_precision = self.knobs.dtype != torch.float32
        with torch.autocast(self.knobs.device, dtype=self.knobs.dtype, enabled=is_mixed_precision):
            hidden_NTD = self.model.base_model(batch.token_ids_NT, use_cache=False)[0]
            return chunked_token_logps(
                hidden_NTD[batch.response_mask_NT],
                self.model.get_output_embeddings().weight,
                batch.target_ids_NT[batch.response_mask_NT],
                temperature=self.temperature,
                chunk_tokens=self.knobs.logits_chunk_tokens,
            )

    @torch.no_grad()
    def token_logps(self, sequences: Sequence[records.Sequence]) -> list[Tensor]:
        """Log-probabilities of each sequence's response tokens, on the CPU."""
        logps: list[Tensor] = [torch.empty(0)] * len(sequences)
        for rows, batch in self.pack(sequences):
            lengths = [len(sequences[row].response_token_ids) for row in rows]
            for row, row_logps in zip(rows, self(batch).cpu().split(lengths), strict=True):
                logps[row] = row_logps
        return logps

    def pack(
        self, sequences: Sequence[records.Sequence]
    ) -> Iterator[tuple[list[int], records.MicroBatch]]:
        """Micro-batches of the size that the knobs allow."""
        return pack(
            sequences,
            tokens_per_microbatch=self.knobs.tokens_per_microbatch,
            device=self.knobs.device,
        )


class TransformersPolicy:
    """π_θ on one device; see `twogrpo.engines.protocols.Policy`."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        objective: Objective,
        adam: Adam,
        knobs: Knobs,
    ) -> None:
        self.scoring = ScoringModel(model, temperature=objective.temperature, knobs=knobs)
        self.tokenizer = tokenizer
        self.objective = objective
        self.adam = adam
        self.optimiser = torch.optim.Adam(
            model.parameters(), lr=0.0, betas=adam.betas, eps=adam.epsilon, fused=True
        )
        self.num_updates = 0

    def token_logps(self, sequences: Sequence[records.Sequence]) -> list[Tensor]:
        """Of each sequence's response tokens; no gradient."""
        return self.scoring.token_logps(sequences)

    def update(self, sequences: Sequence[records.Sequence]) -> UpdateMetrics:
        """One step of Adam up the objective.

        A sequence of advantage 0 adds exactly nothing to the gradient, so it is left out of both
        passes; its place in the normaliser is in the other sequences' weights already. Where all
        are left out the step is still taken, with gradient zero: Adam's moments decay.
        """
        alive = [sequence for sequence in sequences if sequence.advantage != 0]
        self._zero_gradient()
        clipped_low = clipped_high = num_tokens = 0
        for _, batch in self.scoring.pack(alive):
            low, high = self._accumulate(batch, self.objective.surrogate)
            clipped_low, clipped_high = clipped_low + low, clipped_high + high
            num_tokens += int(batch.response_mask_NT.sum())
        gradient_norm, learning_rate = self._step()
        return UpdateMetrics(
            gradient_norm=gradient_norm,
            learning_rate=learning_rate,
            clip_fraction_low=clipped_low / max(num_tokens, 1),
            clip_fraction_high=clipped_high / max(num_tokens, 1),
            num_sequences=len(alive),
            num_tokens=num_tokens,
        )

    def gradient(
        self, sequences: Sequence[records.Sequence], *, surrogate: SurrogateFunction
    ) -> Tensor:
        """Of the weighted sum of the surrogate over tokens, flat, on the CPU; no step is taken."""
        self._zero_gradient()
        for _, batch in self.scoring.pack([s for s in sequences if s.advantage != 0]):
            self._accumulate(batch, surrogate)
        gradients = [p.grad for p in self.scoring.parameters() if p.grad is not None]
        return torch.cat([-gradient.flatten().cpu() for gradient in gradients])

    def _zero_gradient(self) -> None:
        # Zeroed, not None: Adam passes over parameters without a gradient.
        for parameter in self.scoring.parameters():
            parameter.grad = torch.zeros_like(parameter)

    def _accumulate(
        self, batch: records.MicroBatch, surrogate: SurrogateFunction
    ) -> tuple[int, int]:
        """Adds the micro-batch's gradient; the numbers of tokens clipped below and above."""
        mask_NT = batch.response_mask_NT
        policy_logps_NT = torch.zeros(mask_NT.shape, device=mask_NT.device)
        policy_logps_NT = policy_logps_NT.masked_scatter(mask_NT, self.scoring(batch))
        # Off the mask the value does not matter; on it, NaN says that π_old is the policy itself.
        old_logps_NT = batch.old_logps_NT.where(
            batch.old_logps_NT.isfinite(), policy_logps_NT.detach()
        )
        surrogate_NT = surrogate(
            policy_logps_NT,
            old_logps_NT,
            advantages_N=batch.advantages_N,
            response_mask_NT=mask_NT,
            clip_low=self.objective.clip_low,
            clip_high=self.objective.clip_high,
        )
        objective = (surrogate_NT * mask_NT * batch.token_weights_N[:, None]).sum()
        is_cut_NT = _is_cut(surrogate_NT, policy_logps_NT) & mask_NT
        (-objective).backward()
        advantages_N1 = batch.advantages_N[:, None]
        return int((is_cut_NT & (advantages_N1 < 0)).sum()), int(
            (is_cut_NT & (advantages_N1 > 0)).sum()
        )

    def _step(self) -> tuple[float, float]:
        bound = self.adam.gradient_clip_norm
        norm = nn.utils.clip_grad_norm_(
            self.scoring.parameters(), torch.inf if bound is None else bound
        ).item()
        if not torch.isfinite(torch.tensor(norm)):
            raise NonFiniteError(f"gradient norm {norm} at update {self.num_updates + 1}")
        warmup = min(1.0, (self.num_updates + 1) / max(self.adam.warmup_updates, 1))
        learning_rate = self.adam.learning_rate * warmup
        self.optimiser.param_groups[0]["lr"] = learning_rate
        self.optimiser.step()
        self.num_updates += 1
        return norm, learning_rate

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """By Hugging Face names, tied ones under each of theirs."""
        yield from self.scoring.model.state_dict().items()

    def state(self) -> dict[str, Tensor]:
        """Parameters and Adam's two moments by parameter name; tied weights once."""
        tensors = {}
        for name, parameter in self.scoring.model.named_parameters():
            moments = self.optimiser.state.get(parameter, {})
            tensors[f"weight/{name}"] = parameter.detach()
            for key in ("exp_avg", "exp_avg_sq"):
                tensors[f"{key}/{name}"] = moments.get(key, torch.zeros_like(parameter)).detach()
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor], num_updates: int) -> None:
        """Continues bit for bit from `state()`."""
        for name, parameter in self.scoring.model.named_parameters():
            parameter.copy_(tensors[f"weight/{name}"])
            self.optimiser.state[parameter] = {
                "step": torch.tensor(float(num_updates)),
                "exp_avg": tensors[f"exp_avg/{name}"].to(parameter.device).clone(),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(parameter.device).clone(),
            }
        self.num_updates = num_updates

    def export(self, folder: Path) -> None:
        """A folder of safetensors, config and tokenizer."""
        self.scoring.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def _is_cut(surrogate_NT: Tensor, policy_logps_NT: Tensor) -> Tensor:
    """Tokens whose gradient the clip cuts, whatever the surrogate's ratio is of.

    It is the ratio too low where A < 0 and the ratio too high where A > 0.
    """
    (gradient_NT,) = torch.autograd.grad(surrogate_NT.sum(), policy_logps_NT, retain_graph=True)
    return gradient_NT == 0
