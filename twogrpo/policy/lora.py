"""LoRA: low-rank adapters beside frozen linear layers (Hu et al. 2021, arXiv 2106.09685).

W x + (alpha / rank) · B A x with W frozen. A is drawn, B starts at zero, so the first policy is the
base. The layers are those of the library `peft`; the model around them stays as it was loaded.

Updates are small: in bfloat16 most of B A x is under half a unit in the last place of W x, and of
B A in W. So the product is added before W x is rounded, and merged weights are rounded at random.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from twogrpo.config.schema import ModelConfig
from twogrpo.distributed.process_group import full_tensor
from twogrpo.errors import ConfigError
from twogrpo.policy.protocol import TokenLogprobs
from twogrpo.types import TrainingSample

ALL = "all-linear"  # peft's word for every linear layer but the output head
ADAPTER = "default"  # peft's name of an adapter that has none


def add_adapters(model: PreTrainedModel, config: ModelConfig, *, seed: int) -> None:
    """Freezes the model and adds the trainable adapters of `config.lora`, if any; in place.

    `seed` draws each A, uniform in ±1/√(its inputs), peft's default.

    Raises:
        ConfigError: a target is not among the model's linear layers.
    """
    if config.lora is None:
        return
    from peft import LoraConfig, inject_adapter_in_model  # a second to import

    settings = LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        target_modules=_targets(model, config.lora.target_modules),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        base_model_name_or_path=config.path,
        revision=config.revision,
    )
    with torch.random.fork_rng([]):  # the adapters begin on the CPU
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, model)
    for layer in _adapted(model):
        layer.forward = MethodType(_forward, layer)


def cast_frozen(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Keeps what is not trained in this dtype; in place."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def _adapted(model: PreTrainedModel) -> list[Any]:
    """The linear layers with adapters: peft's, with `base_layer`, `lora_A` and `lora_B`."""
    return [module for module in model.modules() if hasattr(module, "lora_A")]


def _forward(layer: Any, x: Tensor) -> Tensor:
    """peft adds B A x to what W x was rounded to. Here one product rounds their sum, once;
    a bias is added after and rounds once more."""
    base = layer.base_layer
    if layer.disable_adapters:
        return base(x)
    adapter = layer.lora_B[ADAPTER](layer.lora_A[ADAPTER](x)) * layer.scaling[ADAPTER]
    outputs = torch.addmm(adapter.flatten(0, -2), x.flatten(0, -2), base.weight.T)
    outputs = outputs.view(*x.shape[:-1], -1)
    return outputs if base.bias is None else outputs + base.bias


def _targets(model: PreTrainedModel, given: object) -> str | list[str]:
    head = model.get_output_embeddings()
    linear = (n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head)
    known = sorted({name.rpartition(".")[2] for name in linear})
    if given == ALL:
        return ALL
    names = given if isinstance(given, list) else [given]
    if names and all(name in known for name in names):
        return [*map(str, names)]
    odd = next((name for name in names if name not in known), given)
    near = difflib.get_close_matches(str(odd), [*known, ALL], n=1)
    hint = f"did you mean {near[0]}? It has" if near else "it has"
    raise ConfigError(
        f"model.lora.target_modules={given}: {odd} is no linear layer of this model, {hint} "
        f"{', '.join(known)}: give a list of these or {ALL}"
    )


def full_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Full tensors by Hugging Face names, adapters merged; a tied one under each of its names.

    One at a time; sharded tensors are gathered by all ranks together. All keep their dtype.
    """
    state = model.state_dict()
    for name, stored in state.items():
        layer, is_base, kind = name.partition(".base_layer.")
        if ".lora_" in name:
            continue
        tensor = full_tensor(stored)
        if is_base and kind == "weight":
            a, b = (full_tensor(state[f"{layer}.lora_{m}.{ADAPTER}.weight"]) for m in "AB")
            merged = tensor.float() + (b @ a) * model.get_submodule(layer).scaling[ADAPTER]
            tensor = _rounded(merged, name) if tensor.dtype == torch.bfloat16 else merged
        yield name.replace(".base_layer.", "."), tensor


def _rounded(tensor: Tensor, name: str) -> Tensor:
    """The tensor in bfloat16, the nearer neighbour the likelier, so that the mean stays; the draws
    are the same every time, by the name. (W is a bfloat16: the nearest to W + a little is W.)
    """
    generator = torch.Generator(tensor.device).manual_seed(zlib.crc32(name.encode()))
    lower = 1 << 16  # bfloat16 is the upper half of float32's bits
    draws = torch.empty_like(tensor, dtype=torch.int32).random_(lower, generator=generator)
    return ((tensor.view(torch.int32) + draws) & -lower).view(torch.float32).bfloat16()


class BasePolicy:
    """The policy without its adapters: the initial policy, with no second copy of the weights."""

    def __init__(self, policy: TokenLogprobs, model: PreTrainedModel) -> None:
        self.policy, self.layers = policy, _adapted(model)

    def token_logps(self, sequences: Sequence[TrainingSample]) -> list[Tensor]:
        """The log-probabilities of each sequence's response tokens, in order; no gradient."""
        try:
            for layer in self.layers:  # peft's own switch also freezes: sharding cannot follow
                layer._disable_adapters = True
            return self.policy.token_logps(sequences)
        finally:
            for layer in self.layers:
                layer._disable_adapters = False


def save_adapter(model: PreTrainedModel, weights: dict[str, Tensor], folder: Path) -> None:
    """Writes the adapters as `PeftModel.from_pretrained` loads them; `weights` are full tensors."""
    folder.mkdir(parents=True)
    names = {f"base_model.model.{n.replace(f'.{ADAPTER}.', '.')}": t for n, t in weights.items()}
    save_file(names, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    model.peft_config[ADAPTER].save_pretrained(str(folder))
