"""The shapes of a model: its parameters and its key-value cache.

Known without a network, from a table of published `config.json` files; a model folder takes
precedence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twogrpo.config.schema import ModelConfig
from twogrpo.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent
# Numbers of experts in a layer, by family (Qwen, DeepSeek, Mixtral).
MIXTURES = ("num_experts", "n_routed_experts", "num_local_experts")


@dataclass(frozen=True)
class Architecture:
    """A dense decoder of the Llama family (RMS norms, gated MLP, grouped queries); the
    `other_parameters` are outside of it (a vision tower)."""

    source: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    positions: int
    head_dim: int
    is_tied: bool
    has_qkv_bias: bool
    other_parameters: int = 0

    @property
    def layer_parameters(self) -> int:
        """Parameters of one decoder layer: q, k, v, o, the three matrices of the MLP, two norms."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (2 * queries + 2 * keys)
        bias = queries + 2 * keys if self.has_qkv_bias else 0
        return attention + bias + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token embedding, and of the output head unless they are tied."""
        return self.vocabulary * self.hidden * (1 if self.is_tied else 2)

    @property
    def parameters(self) -> int:
        """All parameters."""
        decoder = self.layers * self.layer_parameters + self.hidden
        return decoder + self.embedding_parameters + self.other_parameters

    @property
    def active_parameters(self) -> int:
        """Parameters that multiply each token; looking up an embedding is no product."""
        return self.layers * self.layer_parameters + self.vocabulary * self.hidden

    def cache_bytes_per_token(self, bytes_per_value: int) -> int:
        """Bytes of a token in the key-value cache: 2 · layers · KV heads · head size · bytes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * bytes_per_value


_QWEN_1_5B = Architecture(
    "Qwen/Qwen2.5-Math-1.5B (2409.12122)", layers=28, hidden=1536, heads=12, kv_heads=2,
    intermediate=8960, vocabulary=151_936, positions=4096, head_dim=128, is_tied=True,
    has_qkv_bias=True,
)  # fmt: skip
_QWEN_7B = replace(
    _QWEN_1_5B, source="Qwen/Qwen2.5-Math-7B (2409.12122)", hidden=3584, heads=28, kv_heads=4,
    intermediate=18_944, vocabulary=152_064, is_tied=False,
)  # fmt: skip

# From the published config.json files, by the `name` of conf/model/.
PUBLISHED: dict[str, Architecture] = {
    "qwen25_math_1_5b": _QWEN_1_5B,
    "r1_distill_qwen_1_5b": replace(
        _QWEN_1_5B, source="deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B (2501.12948)",
        positions=131_072, is_tied=False,
    ),
    "qwen25_math_7b": _QWEN_7B,
    "qwen25_7b_instruct_1m": replace(
        _QWEN_7B, source="Qwen/Qwen2.5-7B-Instruct-1M (2501.15383)", positions=1_010_000
    ),
    "qwen25_vl_7b": replace(
        _QWEN_7B, source="Qwen/Qwen2.5-VL-7B-Instruct (2502.13923), 8.29 B with its tower",
        positions=128_000, other_parameters=676_550_144,
    ),
    "smollm2_135m": Architecture(
        "HuggingFaceTB/SmolLM2-135M-Instruct (2502.02737)", layers=30, hidden=576, heads=9,
        kv_heads=3, intermediate=1536, vocabulary=49_152, positions=8192, head_dim=64,
        is_tied=True, has_qkv_bias=False,
    ),
}  # fmt: skip


def config_file(model: ModelConfig) -> Path | None:
    """The `config.json` of the folder `model.path` (relative to the repository), or None."""
    file = ROOT / model.path / "config.json"
    return file if file.is_file() else None


def architecture_of(model: ModelConfig) -> Architecture:
    """The architecture of the folder `model.path`, else that of the table, by `model.name`; a model
    that is in neither is a ConfigError."""
    file = config_file(model)
    if file is not None:
        return from_config_file(file)
    if model.name not in PUBLISHED:
        raise ConfigError(
            f"model.path={model.path} is no folder here and model.name={model.name} is in no table "
            f"of twogrpo/preflight/model_shapes.py ({', '.join(PUBLISHED)}): give a folder"
        )
    return PUBLISHED[model.name]


def from_config_file(file: Path) -> Architecture:
    """The architecture in a dense model's `config.json`, a vision tower counted; raises ConfigError
    where a size is missing or wrong."""
    values = _read_config(file)
    heads, hidden = _size(values, "num_attention_heads", file), _size(values, "hidden_size", file)
    decoder = Architecture(
        source=file.parent.name + "/config.json",
        layers=_size(values, "num_hidden_layers", file),
        hidden=hidden,
        heads=heads,
        kv_heads=_size(values, "num_key_value_heads", file, default=heads),
        intermediate=_size(values, "intermediate_size", file),
        vocabulary=_size(values, "vocab_size", file),
        positions=_size(values, "max_position_embeddings", file),
        head_dim=_size(values, "head_dim", file, default=max(hidden // heads, 1)),
        is_tied=bool(values.get("tie_word_embeddings")),
        has_qkv_bias=str(values.get("model_type")).startswith("qwen2"),
    )
    if not values.get("vision_config"):
        return decoder
    other = _count_parameters(file.parent) - decoder.parameters
    return replace(decoder, other_parameters=other)


def _read_config(file: Path) -> dict[str, Any]:
    """The file's values; those of a `text_config` take precedence."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        values = {**values, **(values.get("text_config") or {})}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{file} is no model's config.json ({error}): give a folder as save_pretrained writes"
        ) from error
    for key in MIXTURES:
        if isinstance(values.get(key), int) and values[key] > 1:
            raise ConfigError(
                f"{file}: {key}={values[key]} is a mixture of experts, and only dense models are "
                "planned: give the folder of a dense model"
            )
    return values


def _size(values: dict[str, Any], key: str, file: Path, *, default: int | None = None) -> int:
    """A size, or its default where it is null or missing."""
    value = default if values.get(key) is None else values[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{file}: {key}={value!r} is no size: use a whole number of 1 or more")
    return value


def _count_parameters(folder: Path) -> int:
    """All parameters of a vision-language model, counted on its class without taking memory."""
    import torch  # with the next line a few seconds, and most models have no tower
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{folder}/config.json has a vision_config that cannot be built ({reason}): give the "
            "folder of a vision-language model that transformers knows"
        ) from error
    return sum(parameter.numel() for parameter in model.parameters())
