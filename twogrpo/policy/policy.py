"""The policy π_θ: a causal language model of `transformers` with Adam, updated by micro-batches.

N sequences in a micro-batch, L tokens in its longest response.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from twogrpo.config.schema import AlgorithmConfig, HardwareConfig, LoraConfig, TrainingConfig
from twogrpo.core.surrogates import SURROGATES, SurrogateFunction, truncated_importance_weights
from twogrpo.data.images import ImageProcessor
from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks, full_tensor
from twogrpo.policy.checkpoint import disk_fault
from twogrpo.policy.logprob_model import LogprobModel
from twogrpo.policy.lora import full_weights, save_adapter
from twogrpo.policy.protocol import UpdateMetrics
from twogrpo.types import MicroBatch, TrainingSample

MOMENTS = ("exp_avg", "exp_avg_sq")  # the names of Adam's state in torch


class NonFiniteError(RuntimeError):
    """The loss or its gradient is not finite; the optimiser step was not taken."""


class TransformersPolicy:
    """π_θ with Adam, on one device or sharded over ranks; see `twogrpo.policy.protocol.Policy`.

    `temperature` is the one that the rollouts were sampled at. With `lora` the model has adapters
    (twogrpo/policy/lora.py): they alone are updated and saved.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        algorithm: AlgorithmConfig,
        training: TrainingConfig,
        hardware: HardwareConfig,
        temperature: float,
        ranks: Ranks = SINGLE_PROCESS,
        image_processor: ImageProcessor | None = None,
        lora: LoraConfig | None = None,
    ) -> None:
        self.logprob_model = LogprobModel(
            model,
            hardware=hardware,
            temperature=temperature,
            ranks=ranks,
            image_processor=image_processor,
        )
        self.image_processor = image_processor
        self.ranks = ranks
        self.tokenizer = tokenizer
        self.algorithm = algorithm
        self.training = training
        self.lora = lora
        self.surrogate = SURROGATES[algorithm.surrogate].function
        self.optimiser = torch.optim.Adam(
            self._trainable().values(),
            lr=0.0,
            betas=(training.adam_beta1, training.adam_beta2),
            eps=training.adam_epsilon,
            fused=True,
        )
        self.num_updates = 0

    def token_logps(self, sequences: Sequence[TrainingSample]) -> list[Tensor]:
        """The log-probabilities of each sequence's response tokens; no gradient."""
        return self.logprob_model.token_logps(sequences)

    def update(self, sequences: Sequence[TrainingSample]) -> UpdateMetrics:
        """Takes one step of Adam up the objective.

        A sequence of advantage 0 adds exactly nothing to the gradient, so it is left out of both
        passes; the other sequences' weights already count it in the normaliser. If all are left
        out the step is still taken, with gradient zero: Adam's moments decay.
        """
        with_signal = [sequence for sequence in sequences if sequence.advantage != 0]
        for sequence in with_signal:
            if sequence.old_logps is not None and not sequence.old_logps.isfinite().all():
                raise NonFiniteError(f"π_old of a response at update {self.num_updates + 1}")
        self._zero_gradient()
        mine = torch.zeros(4, dtype=torch.float64)
        for places, batch in self.logprob_model.pack(with_signal):
            num_tokens = sum(len(with_signal[place].response_token_ids) for place in places)
            mine += torch.tensor([*self._accumulate_gradient(batch, self.surrogate), num_tokens])
        low, high, objective, num_tokens = sum(self.ranks.all_gather(mine)).tolist()  # type: ignore[union-attr]
        if not math.isfinite(objective):
            raise NonFiniteError(f"loss {-objective} at update {self.num_updates + 1}")
        gradient_norm, learning_rate = self._step()
        return UpdateMetrics(
            gradient_norm=gradient_norm,
            learning_rate=learning_rate,
            clip_fraction_low=low / max(num_tokens, 1),
            clip_fraction_high=high / max(num_tokens, 1),
            num_sequences=len(with_signal),
            num_tokens=int(num_tokens),
        )

    def gradient(
        self, sequences: Sequence[TrainingSample], *, surrogate: SurrogateFunction
    ) -> Tensor:
        """The gradient of the weighted sum of the surrogate over tokens, flat, on the CPU."""
        self._zero_gradient()
        for _, batch in self.logprob_model.pack([s for s in sequences if s.advantage != 0]):
            self._accumulate_gradient(batch, surrogate)
        gradients = [p.grad for p in self.logprob_model.parameters() if p.grad is not None]
        return torch.cat([-full_tensor(gradient).flatten().cpu() for gradient in gradients])

    def _zero_gradient(self) -> None:
        # Zeros, not None: Adam skips parameters without a gradient.
        for parameter in self._trainable().values():
            parameter.grad = torch.zeros_like(parameter)

    def _accumulate_gradient(
        self, batch: MicroBatch, surrogate: SurrogateFunction
    ) -> tuple[int, int, float]:
        """Adds to the gradient; returns tokens clipped below and above, and the objective."""
        mask_NL = batch.response_mask_NL
        policy_logps_NL = torch.zeros(mask_NL.shape, device=mask_NL.device)
        policy_logps_NL = policy_logps_NL.masked_scatter(mask_NL, self.logprob_model(batch))
        # Off the mask the value does not matter; on it, NaN means that π_old is the policy itself.
        old_logps_NL = batch.old_logps_NL.where(
            batch.old_logps_NL.isfinite(), policy_logps_NL.detach()
        )
        surrogate_NL = surrogate(
            policy_logps_NL,
            old_logps_NL,
            advantages_N=batch.advantages_N,
            response_mask_NT=mask_NL,
            clip_low=self.algorithm.clip_low,
            clip_high=self.algorithm.clip_high,
        )
        weights_NL = mask_NL * batch.token_weights_N[:, None]
        if (cap := self.algorithm.importance_sampling_cap) is not None:
            weights_NL = weights_NL * truncated_importance_weights(
                old_logps_NL, batch.sampler_logps_NL, response_mask_NT=mask_NL, cap=cap
            )
        is_clipped_NL = _is_clipped(surrogate_NL, policy_logps_NL) & mask_NL
        objective = (surrogate_NL * weights_NL).sum()
        (-objective).backward()
        advantages_N1 = batch.advantages_N[:, None]
        low = int((is_clipped_NL & (advantages_N1 < 0)).sum())
        high = int((is_clipped_NL & (advantages_N1 > 0)).sum())
        return low, high, objective.item()

    def _step(self) -> tuple[float, float]:
        bound = self.training.gradient_clip_norm
        clipped = nn.utils.clip_grad_norm_(
            self._trainable().values(), torch.inf if bound is None else bound
        )
        norm = full_tensor(clipped).item()
        if not math.isfinite(norm):
            raise NonFiniteError(f"gradient norm {norm} at update {self.num_updates + 1}")
        warmup = min(1.0, (self.num_updates + 1) / max(self.training.warmup_updates, 1))
        learning_rate = self.algorithm.scaled(self.training.learning_rate) * warmup
        learning_rate *= self.lora.learning_rate_scale if self.lora else 1.0
        self.optimiser.param_groups[0]["lr"] = learning_rate
        self.optimiser.step()
        self.num_updates += 1
        return norm, learning_rate

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Full tensors by Hugging Face names, adapters merged; a tied one under each name."""
        return full_weights(self.logprob_model.model)

    def _trainable(self) -> dict[str, nn.Parameter]:
        named = self.logprob_model.model.named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """What is trained and Adam's two moments, by parameter name; tied weights once."""
        tensors = {}
        for name, parameter in self._trainable().items():
            moments = self.optimiser.state.get(parameter, {})
            tensors[f"weight/{name}"] = parameter.detach()
            for key in MOMENTS:
                moment = moments[key] if moments else torch.zeros_like(parameter)
                tensors[f"{key}/{name}"] = moment.detach()
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor], num_updates: int) -> None:
        """Restores `state()`; the policy then continues bit for bit.

        Takes the tensors out of the dictionary: Adam's moments are in memory once.
        """
        for name, parameter in self._trainable().items():
            parameter.copy_(tensors.pop(f"weight/{name}"))
            self.optimiser.state[parameter] = {
                "step": torch.tensor(float(num_updates), device=parameter.device),
                **{key: tensors.pop(f"{key}/{name}").to(parameter.device) for key in MOMENTS},
            }
        self.num_updates = num_updates

    def export(self, folder: Path) -> None:
        """Writes a folder of safetensors, config and tokenizer, on the first rank.

        With adapters they are merged there, and `{folder}_adapter` beside it has them alone, as
        `peft` loads them.

        Raises:
            CheckpointFault: the disk is full or not writable; `folder` is unchanged.
        """
        model, weights = self.logprob_model.model, dict[str, Tensor]()
        tied = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        tied -= {name for name, _ in model.named_parameters()}
        for name, tensor in self.weights():  # all ranks gather, the first keeps
            if self.ranks.is_first and name not in tied:
                weights[name] = tensor.detach().cpu()
        trained = self._trainable() if self.lora else {}
        adapters = {name: full_tensor(p.detach()).cpu() for name, p in trained.items()}
        if self.ranks.is_first:
            self._write(folder, weights, adapters)
        self.ranks.barrier()

    def _write(self, folder: Path, weights: dict[str, Tensor], adapters: dict[str, Tensor]) -> None:
        model = self.logprob_model.model
        if adapters:
            with _replacing(folder.with_name(f"{folder.name}_adapter")) as new:
                save_adapter(model, adapters, new)
        with _replacing(folder) as new:
            model.save_pretrained(new, state_dict=weights)
            self.tokenizer.save_pretrained(new)
            files = self.image_processor.files if self.image_processor else {}
            for name, content in files.items():
                (new / name).write_bytes(content)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A folder that takes the place of `folder`: after a kill that is complete or absent."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise disk_fault(str(folder), error, intact="the checkpoints") from error


def _is_clipped(surrogate_NL: Tensor, policy_logps_NL: Tensor) -> Tensor:
    """Tokens whose gradient the clip cuts, whether the ratio is a token's or a sequence's.

    The ratio is too low where A < 0 and too high where A > 0.
    """
    (gradient_NL,) = torch.autograd.grad(surrogate_NL.sum(), policy_logps_NL, retain_graph=True)
    return gradient_NL == 0
