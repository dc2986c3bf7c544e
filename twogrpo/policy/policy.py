"""The policy π_θ: a causal language model of `transformers` with Adam, updated by micro-batches.

N sequences of a micro-batch, L tokens of its longest response.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from twogrpo.core.surrogates import SurrogateFunction, truncated_importance_weights
from twogrpo.data.images import ImageProcessor
from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.policy.checkpoint import disk_fault
from twogrpo.policy.logprob_model import Knobs, LogprobModel, full_tensor
from twogrpo.policy.protocol import UpdateMetrics
from twogrpo.types import MicroBatch, TrainingSample


@dataclass(frozen=True)
class Objective:
    """The surrogate, its clip bounds and the temperature at which the rollouts were drawn.

    `importance_sampling_cap` bounds the weight π_old/π_sampler of a token; None weighs none.
    """

    surrogate: SurrogateFunction
    clip_low: float
    clip_high: float
    temperature: float
    importance_sampling_cap: float | None = None


@dataclass(frozen=True)
class Adam:
    """Adam with a linear warm-up to a constant learning rate; `None` clips nothing."""

    learning_rate: float
    warmup_updates: int
    betas: tuple[float, float]
    epsilon: float
    gradient_clip_norm: float | None


class NonFiniteError(RuntimeError):
    """The loss or its gradient is not finite; the optimiser step was not taken."""


class TransformersPolicy:
    """π_θ on one device or sharded over ranks; see `twogrpo.rollout.protocol.Policy`."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        objective: Objective,
        adam: Adam,
        knobs: Knobs,
        ranks: Ranks = SINGLE_PROCESS,
        image_processor: ImageProcessor | None = None,
    ) -> None:
        self.scoring = LogprobModel(
            model,
            temperature=objective.temperature,
            knobs=knobs,
            ranks=ranks,
            image_processor=image_processor,
        )
        self.image_processor = image_processor
        self.ranks = ranks
        self.tokenizer = tokenizer
        self.objective = objective
        self.adam = adam
        self.optimiser = torch.optim.Adam(
            self.scoring.parameters(), lr=0.0, betas=adam.betas, eps=adam.epsilon, fused=True
        )
        self.num_updates = 0

    def token_logps(self, sequences: Sequence[TrainingSample]) -> list[Tensor]:
        """Of each sequence's response tokens; no gradient."""
        return self.scoring.token_logps(sequences)

    def update(self, sequences: Sequence[TrainingSample]) -> UpdateMetrics:
        """One step of Adam up the objective.

        A sequence of advantage 0 adds exactly nothing to the gradient, so it is left out of both
        passes; its place in the normaliser is in the other sequences' weights already. Where all
        are left out the step is still taken, with gradient zero: Adam's moments decay.
        """
        alive = [sequence for sequence in sequences if sequence.advantage != 0]
        for sequence in alive:
            if sequence.old_logps is not None and not sequence.old_logps.isfinite().all():
                raise NonFiniteError(f"π_old of a response at update {self.num_updates + 1}")
        self._zero_gradient()
        mine = torch.zeros(4, dtype=torch.float64)
        for places, batch in self.scoring.pack(alive):
            num_tokens = sum(len(alive[place].response_token_ids) for place in places)
            mine += torch.tensor([*self._accumulate(batch, self.objective.surrogate), num_tokens])
        low, high, objective, num_tokens = sum(self.ranks.all_gather(mine)).tolist()  # type: ignore[union-attr]
        if not math.isfinite(objective):
            raise NonFiniteError(f"loss {-objective} at update {self.num_updates + 1}")
        gradient_norm, learning_rate = self._step()
        return UpdateMetrics(
            gradient_norm=gradient_norm,
            learning_rate=learning_rate,
            clip_fraction_low=low / max(num_tokens, 1),
            clip_fraction_high=high / max(num_tokens, 1),
            num_sequences=len(alive),
            num_tokens=int(num_tokens),
        )

    def gradient(
        self, sequences: Sequence[TrainingSample], *, surrogate: SurrogateFunction
    ) -> Tensor:
        """Of the weighted sum of the surrogate over tokens, flat, on the CPU; no step is taken."""
        self._zero_gradient()
        for _, batch in self.scoring.pack([s for s in sequences if s.advantage != 0]):
            self._accumulate(batch, surrogate)
        gradients = [p.grad for p in self.scoring.parameters() if p.grad is not None]
        return torch.cat([-full_tensor(gradient).flatten().cpu() for gradient in gradients])

    def _zero_gradient(self) -> None:
        # Zeroed, not None: Adam passes over parameters without a gradient.
        for parameter in self.scoring.parameters():
            parameter.grad = torch.zeros_like(parameter)

    def _accumulate(
        self, batch: MicroBatch, surrogate: SurrogateFunction
    ) -> tuple[int, int, float]:
        """Adds the micro-batch's gradient; tokens clipped below and above, and the objective."""
        mask_NL = batch.response_mask_NL
        policy_logps_NL = torch.zeros(mask_NL.shape, device=mask_NL.device)
        policy_logps_NL = policy_logps_NL.masked_scatter(mask_NL, self.scoring(batch))
        # Off the mask the value does not matter; on it, NaN says that π_old is the policy itself.
        old_logps_NL = batch.old_logps_NL.where(
            batch.old_logps_NL.isfinite(), policy_logps_NL.detach()
        )
        surrogate_NL = surrogate(
            policy_logps_NL,
            old_logps_NL,
            advantages_N=batch.advantages_N,
            response_mask_NT=mask_NL,
            clip_low=self.objective.clip_low,
            clip_high=self.objective.clip_high,
        )
        weights_NL = mask_NL * batch.token_weights_N[:, None]
        if (cap := self.objective.importance_sampling_cap) is not None:
            weights_NL = weights_NL * truncated_importance_weights(
                old_logps_NL, batch.sampler_logps_NL, response_mask_NT=mask_NL, cap=cap
            )
        is_cut_NL = _is_clipped(surrogate_NL, policy_logps_NL) & mask_NL
        objective = (surrogate_NL * weights_NL).sum()
        (-objective).backward()
        advantages_N1 = batch.advantages_N[:, None]
        low, high = (is_cut_NL & (advantages_N1 < 0)).sum(), (is_cut_NL & (advantages_N1 > 0)).sum()
        return int(low), int(high), objective.item()

    def _step(self) -> tuple[float, float]:
        bound = self.adam.gradient_clip_norm
        clipped = nn.utils.clip_grad_norm_(
            self.scoring.parameters(), torch.inf if bound is None else bound
        )
        norm = full_tensor(clipped).item()
        if not torch.isfinite(torch.tensor(norm)):
            raise NonFiniteError(f"gradient norm {norm} at update {self.num_updates + 1}")
        warmup = min(1.0, (self.num_updates + 1) / max(self.adam.warmup_updates, 1))
        learning_rate = self.adam.learning_rate * warmup
        self.optimiser.param_groups[0]["lr"] = learning_rate
        self.optimiser.step()
        self.num_updates += 1
        return norm, learning_rate

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Whole tensors by Hugging Face names, tied ones under each of theirs."""
        return self.scoring.weights()

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
                "step": torch.tensor(float(num_updates), device=parameter.device),
                "exp_avg": tensors[f"exp_avg/{name}"].to(parameter.device).clone(),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(parameter.device).clone(),
            }
        self.num_updates = num_updates

    def export(self, folder: Path) -> None:
        """A folder of safetensors, config and tokenizer; the first rank writes it.

        Raises:
            CheckpointFault: the disk is full or not writable; what `folder` held is as it was.
        """
        model, weights = self.scoring.model, dict[str, Tensor]()
        tied = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        tied -= {name for name, _ in model.named_parameters()}
        for name, tensor in self.weights():  # all ranks gather, one keeps
            if self.ranks.is_first and name not in tied:
                weights[name] = tensor.detach().cpu()
        if self.ranks.is_first:
            self._write(folder, weights)
        self.ranks.barrier()

    def _write(self, folder: Path, weights: dict[str, Tensor]) -> None:
        temporary = folder.with_name(f".{folder.name}.tmp")  # a kill leaves all or nothing
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            self.scoring.model.save_pretrained(temporary, state_dict=weights)
            self.tokenizer.save_pretrained(temporary)
            for name, content in (
                self.image_processor.files if self.image_processor else {}
            ).items():
                (temporary / name).write_bytes(content)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.replace(folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise disk_fault(str(folder), error, whole="the checkpoints") from error


def _is_clipped(surrogate_NL: Tensor, policy_logps_NL: Tensor) -> Tensor:
    """Tokens whose gradient the clip cuts, whatever the surrogate's ratio is of.

    It is the ratio too low where A < 0 and the ratio too high where A > 0.
    """
    (gradient_NL,) = torch.autograd.grad(surrogate_NL.sum(), policy_logps_NL, retain_graph=True)
    return gradient_NL == 0
