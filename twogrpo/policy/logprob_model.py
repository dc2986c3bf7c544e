"""A causal language model that scores given tokens, sharded over ranks where there are several.

N sequences, T tokens of all of them, R response tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from twogrpo.core.logprobs import chunked_token_logps
from twogrpo.data.images import ImageProcessor
from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.models.image_inputs import packed_inputs
from twogrpo.policy.family_check import check_logprob_parity, model_logps
from twogrpo.policy.packed_attention import PACKED
from twogrpo.policy.packing import pack
from twogrpo.types import MicroBatch, TrainingSample


@dataclass(frozen=True)
class Knobs:
    """What must not change a number beyond rounding (conf/hardware/)."""

    device: str
    dtype: torch.dtype
    tokens_per_microbatch: int
    logits_chunk_tokens: int
    activation_checkpointing: bool = False
    cpu_offload: bool = False
    compile: bool = False


class LogprobModel(nn.Module):
    """Returns log-probabilities of given tokens, never logits.

    Alone it is a plain module whose passes run under autocast; started by `torchrun` it is sharded
    by FSDP2, layer by layer, with parameters in float32, passes in `knobs.dtype`, and gradients
    *summed* over ranks in float32, since token weights count the whole optimiser step already.
    `image_processor` is how a vision-language model takes them.

    Raises:
        ConfigError: the model is of a family that cannot be scored like this.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        temperature: float,
        knobs: Knobs,
        ranks: Ranks = SINGLE_PROCESS,
        image_processor: ImageProcessor | None = None,
    ) -> None:
        super().__init__()
        self.image_processor = image_processor
        self.model = model if ranks.is_sharded else model.to(knobs.device)
        self.temperature = temperature
        self.knobs = knobs
        self.ranks = ranks
        model_logps_R = model_logps(model, temperature=temperature)
        # Of the text: a vision tower knows its own images' bounds.
        model.set_attn_implementation({"": PACKED, "text_config": PACKED})
        check_logprob_parity(model, self._score, model_logps_R)
        layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
        if knobs.activation_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()  # or it is not used; dropout is no part of these models
        if ranks.is_sharded:
            _shard([*layers, self], knobs, ranks)
        if knobs.compile:
            for layer in layers:
                layer.compile()

    def forward(self, batch: MicroBatch) -> Tensor:
        """Log-probabilities of the response tokens, [R] in order, float32."""
        uses_autocast = self.knobs.dtype != torch.float32 and not self.ranks.is_sharded
        with torch.autocast(self.knobs.device, dtype=self.knobs.dtype, enabled=uses_autocast):
            return self._score(batch)

    def _score(self, batch: MicroBatch) -> Tensor:
        hidden_1TD = self.model.base_model(
            **self._inputs(batch),
            use_cache=False,
            lengths_N=batch.lengths_N,
            unpack_index_F=batch.unpack_index_F,
            pack_index_T=batch.pack_index_T,
        )[0]
        return chunked_token_logps(
            hidden_1TD[0, batch.logit_index_R],
            self.model.get_output_embeddings().weight,
            batch.target_ids_R,
            temperature=self.temperature,
            chunk_tokens=self.knobs.logits_chunk_tokens,
        )

    def _inputs(self, batch: MicroBatch) -> dict[str, Tensor]:
        if self.image_processor is not None:
            return packed_inputs(self.model, batch, self.image_processor)
        return {"input_ids": batch.token_ids_T[None], "position_ids": batch.position_ids_T[None]}

    @torch.no_grad()
    def token_logps(self, sequences: Sequence[TrainingSample]) -> list[Tensor]:
        """Log-probabilities of each sequence's response tokens, on the CPU of every rank."""
        mine: list[tuple[int, Tensor]] = []
        for places, batch in self.pack(sequences):
            lengths = [len(sequences[place].response_token_ids) for place in places]
            logps_R = self(batch).cpu()
            mine += zip(places, logps_R.split(lengths) if places else (), strict=True)
        if isinstance(self, FSDPModule):
            self.reshard()  # or its parameters stay whole, and a gradient set on them is lost
        by_place = dict(pair for share in self.ranks.all_gather(mine) for pair in share)
        return [by_place[place] for place in range(len(sequences))]

    def pack(self, sequences: Sequence[TrainingSample]) -> Iterator[tuple[list[int], MicroBatch]]:
        """This rank's micro-batches, of the size that the knobs allow."""
        return pack(
            sequences,
            tokens_per_microbatch=self.knobs.tokens_per_microbatch,
            device=self.knobs.device,
            rank=self.ranks.rank,
            num_ranks=self.ranks.size,
        )

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Whole tensors by Hugging Face names, tied ones under each of theirs.

        Sharded ones are gathered one at a time, by all ranks together.
        """
        for name, tensor in self.model.state_dict().items():
            yield name, full_tensor(tensor)


def full_tensor(tensor: Tensor) -> Tensor:
    """The tensor of which a sharded one is this rank's part; all ranks must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _shard(modules: Sequence[nn.Module], knobs: Knobs, ranks: Ranks) -> None:
    """`fully_shard`s the modules in order, the root last."""
    mesh = init_device_mesh(knobs.device, (ranks.size,))
    precision = MixedPrecisionPolicy(param_dtype=knobs.dtype, reduce_dtype=torch.float32)
    offload = CPUOffloadPolicy() if knobs.cpu_offload else OffloadPolicy()
    for module in modules:
        fully_shard(module, mesh=mesh, mp_policy=precision, offload_policy=offload)
    for module in modules:
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo knows no sum with a factor
