"""A causal language model that returns log-probabilities of given tokens, sharded under torchrun.

N sequences with T tokens in all, R of them response tokens; D hidden size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from twogrpo.config.schema import HardwareConfig
from twogrpo.core.logprobs import chunked_token_logps
from twogrpo.data.images import ImageProcessor
from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.models.image_inputs import packed_inputs
from twogrpo.models.load import DTYPES
from twogrpo.policy.family_check import check_logprob_parity, model_logps
from twogrpo.policy.lora import cast_frozen
from twogrpo.policy.packed_attention import PACKED
from twogrpo.policy.packing import pack
from twogrpo.types import MicroBatch, TrainingSample


class LogprobModel(nn.Module):
    """Returns log-probabilities of given tokens, never logits.

    In one process it is a plain module whose passes run under autocast. Started by `torchrun` it is
    sharded by FSDP2, layer by layer: parameters in float32, passes in `hardware.dtype`, gradients
    *summed* over ranks in float32, because token weights already count the whole optimiser step.
    Frozen parameters are kept in `hardware.dtype`.
    `image_processor` is that of a vision-language model.

    Raises:
        ConfigError: the log-probabilities of this family of models cannot be computed like this.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        hardware: HardwareConfig,
        temperature: float,
        ranks: Ranks = SINGLE_PROCESS,
        image_processor: ImageProcessor | None = None,
    ) -> None:
        super().__init__()
        self.image_processor = image_processor
        self.model = model if ranks.is_sharded else model.to(hardware.device)
        self.temperature = temperature
        self.hardware = hardware
        self.dtype = DTYPES[hardware.dtype]
        self.ranks = ranks
        model_logps_R = model_logps(model, temperature=temperature)
        # Only the text model's: a vision tower separates its images by itself.
        model.set_attn_implementation({"": PACKED, "text_config": PACKED})
        check_logprob_parity(model, self._score, model_logps_R)
        cast_frozen(model, self.dtype)
        layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
        if hardware.activation_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()  # without it checkpointing is off; these models have no dropout
        if ranks.is_sharded:
            _shard([*layers, self], hardware, ranks)
        if hardware.compile:
            for layer in layers:
                layer.compile()

    def forward(self, batch: MicroBatch) -> Tensor:
        """Log-probabilities of the response tokens, [R] in order, float32."""
        uses_autocast = self.dtype != torch.float32 and not self.ranks.is_sharded
        with torch.autocast(self.hardware.device, dtype=self.dtype, enabled=uses_autocast):
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
            chunk_tokens=self.hardware.logits_chunk_tokens,
        )

    def _inputs(self, batch: MicroBatch) -> dict[str, Tensor]:
        if self.image_processor is not None:
            return packed_inputs(self.model, batch, self.image_processor)
        return {"input_ids": batch.token_ids_T[None], "position_ids": batch.position_ids_T[None]}

    @torch.no_grad()
    def token_logps(self, sequences: Sequence[TrainingSample]) -> list[Tensor]:
        """Log-probabilities of each sequence's response tokens, on the CPU of every rank."""
        # Split after the gathering: a view is sent with the whole tensor that it is of.
        mine = [(places, self(batch).cpu()) for places, batch in self.pack(sequences)]
        if isinstance(self, FSDPModule):
            self.reshard()  # a gradient set on gathered parameters would be lost
        by_place: dict[int, Tensor] = {}
        for places, logps_R in itertools.chain(*self.ranks.all_gather(mine)):
            lengths = [len(sequences[place].response_token_ids) for place in places]
            by_place.update(zip(places, logps_R.split(lengths) if places else (), strict=True))
        return [by_place[place] for place in range(len(sequences))]

    def pack(self, sequences: Sequence[TrainingSample]) -> Iterator[tuple[list[int], MicroBatch]]:
        """Packs this rank's share into micro-batches of `hardware.tokens_per_microbatch`."""
        return pack(
            sequences,
            tokens_per_microbatch=self.hardware.tokens_per_microbatch,
            device=self.hardware.device,
            rank=self.ranks.rank,
            num_ranks=self.ranks.size,
        )


def _shard(modules: Sequence[nn.Module], hardware: HardwareConfig, ranks: Ranks) -> None:
    """Shards the modules in order; the root comes last."""
    mesh = init_device_mesh(hardware.device, (ranks.size,))
    precision = MixedPrecisionPolicy(param_dtype=DTYPES[hardware.dtype], reduce_dtype=torch.float32)
    for module in modules:
        fully_shard(module, mesh=mesh, mp_policy=precision)
    for module in modules:
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo has no sum with a factor
