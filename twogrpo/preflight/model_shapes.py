"""The shapes of a model: its parameters and its key-value cache.

Known without a network, from a table of published `config.json` files; a model folder takes
precedence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twogrpo.config.annotations import OneOf
from twogrpo.config.schema import LoraConfig, ModelConfig
from twogrpo.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent
MOST = 10**8  # of anything in a config.json: more is a slip
# The values of `model_type` whose decoder is the one below.
ALL = "all-linear"  # of model.lora.target_modules
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "qwen2_vl", "qwen2_5_vl")


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
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each product in a decoder layer, by the name of its module."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    def adapters(self, lora: LoraConfig | None) -> list[int]:
        """Parameters of each adapter of a layer; raises ConfigError where a target is no layer."""
        if lora is None:
            return []
        targets, known = lora.target_modules, self.linear_layers
        names = [*known] if targets == ALL else targets if isinstance(targets, list) else [targets]
        for name in names or [targets]:
            OneOf(tuple(known)).check("model.lora.target_modules", name)
        return [lora.rank * sum(known[name]) for name in names]

    def trained_parameters(self, lora: LoraConfig | None) -> int:
        """Parameters that an update changes: the adapters', else all."""
        return self.parameters if lora is None else self.layers * sum(self.adapters(lora))

    @property
    def layer_parameters(self) -> int:
        """Parameters of one decoder layer: its products, the biases of three, two norms."""
        bias = sum(self.linear_layers[f"{x}_proj"][1] for x in "qkv") if self.has_qkv_bias else 0
        products = sum(inputs * outputs for inputs, outputs in self.linear_layers.values())
        return products + bias + 2 * self.hidden

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
    "qwen25_0_5b_instruct": Architecture(
        "Qwen/Qwen2.5-0.5B-Instruct (2412.15115)", layers=24, hidden=896, heads=14, kv_heads=2,
        intermediate=4864, vocabulary=151_936, positions=32_768, head_dim=64, is_tied=True,
        has_qkv_bias=True,
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
    """The architecture of the folder `model.path`, else that of the table, by `model.name`; raises
    ConfigError where the sizes are not known."""
    file, published = config_file(model), PUBLISHED.get(model.name)
    if file is not None:
        return from_config_file(file, tower=published.other_parameters if published else 0)
    if published is None:
        raise ConfigError(
            f"model.path={model.path} is no folder here and model.name={model.name} is in no table "
            f"of twogrpo/preflight/model_shapes.py ({', '.join(PUBLISHED)}): give a folder"
        )
    return published


def from_config_file(file: Path, *, tower: int = 0) -> Architecture:
    """The architecture in a `config.json`; raises ConfigError where it gives no sizes.

    `tower` are the parameters of the vision tower that such a model has.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        family, has_tower = values.get("model_type"), bool(values.get("vision_config"))
        values |= values.get("text_config") or {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{file} is no model's config.json ({error}): give a folder as save_pretrained writes"
        ) from error
    if family not in FAMILIES or (has_tower and not tower):
        raise ConfigError(
            f"{file}: the sizes of model_type={family} under this model.name are not known: give a "
            f"dense model of {', '.join(FAMILIES)}, or model=qwen25_vl_7b with its folder"
        )
    heads, hidden = _size(values, "num_attention_heads", file), _size(values, "hidden_size", file)
    return Architecture(
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
        has_qkv_bias=family.startswith("qwen2"),
        other_parameters=tower if has_tower else 0,
    )


def _size(values: dict[str, Any], key: str, file: Path, *, default: int | None = None) -> int:
    """A size, or its default where it is null or missing."""
    value = default if values.get(key) is None else values[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
        raise ConfigError(
            f"{file}: {key}={value!r} is no size: use a whole number from 1 to {MOST}"
        )
    return value
