"""What a model is made of, in numbers: parameters, key-value cache, floating-point operations.

Known without a network: a table of published `config.json` files. A model folder at hand wins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from twogrpo.config.schema import ModelConfig
from twogrpo.errors import ConfigError
from twogrpo.preflight.model_config import count_parameters, read_config, size

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Experts:
    """The routed experts of a mixture: in how many layers, E of a layer, k that a token meets, and
    the parameters of one."""

    layers: int
    in_layer: int
    met: int
    parameters: int

    def read(self, num_tokens: float) -> float:
        """Parameters of the distinct ones that n tokens meet: E·(1 − (1 − k/E)^n) of each layer,
        as if every token chose at random (routers are trained to balance)."""
        missed = (1 - self.met / self.in_layer) ** num_tokens
        return self.layers * self.in_layer * (1 - missed) * self.parameters


@dataclass(frozen=True)
class Architecture:
    """A decoder of the Llama family (RMS norms, gated MLP, grouped queries) and what is beside it.

    `other_parameters` lie outside the decoder (a vision tower). Of a mixture of `experts` the sum
    is `published_total`, and `cache_values` stand in place of two values a key-value head
    (multi-head latent attention).
    """

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
    published_total: int | None = None
    experts: Experts | None = None
    cache_values: int | None = None

    @property
    def layer_parameters(self) -> int:
        """Of one decoder layer: q, k, v, o, the three matrices of the MLP, two norms."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (2 * queries + 2 * keys)
        bias = queries + 2 * keys if self.has_qkv_bias else 0
        return attention + bias + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Of the token embedding, and of the output head unless they are one."""
        return self.vocabulary * self.hidden * (1 if self.is_tied else 2)

    @property
    def parameters(self) -> int:
        """All of them: what lies in memory."""
        if self.published_total is not None:
            return self.published_total
        decoder = self.layers * self.layer_parameters + self.hidden
        return decoder + self.embedding_parameters + self.other_parameters

    @property
    def active_parameters(self) -> int:
        """Those that each token is multiplied with; looking up an embedding is no product."""
        if self.experts is not None:
            return round(self.parameters_read(1))
        return self.layers * self.layer_parameters + self.vocabulary * self.hidden

    def parameters_read(self, num_tokens: float) -> float:
        """From memory for one step over that many tokens: all that multiply; of a mixture what all
        tokens share and the experts that they meet."""
        if self.experts is None:
            return self.active_parameters
        routed = self.experts.layers * self.experts.in_layer * self.experts.parameters
        shared = self.parameters - routed - self.vocabulary * self.hidden
        return shared + self.experts.read(num_tokens)

    def cache_bytes_per_token(self, bytes_per_value: int) -> int:
        """Of the key-value cache: 2 · layers · KV heads · head size · bytes (or `cache_values`)."""
        values = self.cache_values or 2 * self.kv_heads * self.head_dim
        return self.layers * values * bytes_per_value

    def forward_flops(self, num_tokens: float, context: float) -> float:
        """Of a forward pass: 2 a parameter and token, and 4 · layers · heads · head size a token
        and position of the context for q·k and attention·v (Kaplan et al. 2020, 2001.08361, §2.1).

        `context` is the mean number of positions that a token attends to.
        """
        attention = 4 * self.layers * self.heads * self.head_dim * context
        return num_tokens * (2 * self.active_parameters + attention)


_QWEN_1_5B = Architecture(
    "config.json of Qwen/Qwen2.5-Math-1.5B (2409.12122)",
    layers=28,
    hidden=1536,
    heads=12,
    kv_heads=2,
    intermediate=8960,
    vocabulary=151_936,
    positions=4096,
    head_dim=128,
    is_tied=True,
    has_qkv_bias=True,
)
_QWEN_7B = replace(
    _QWEN_1_5B,
    source="config.json of Qwen/Qwen2.5-Math-7B (2409.12122)",
    hidden=3584,
    heads=28,
    kv_heads=4,
    intermediate=18_944,
    vocabulary=152_064,
    is_tied=False,
)

# By the `name` of conf/model/, and two larger ones for docs/scaling.md.
PUBLISHED: dict[str, Architecture] = {
    "qwen25_math_1_5b": _QWEN_1_5B,
    "r1_distill_qwen_1_5b": replace(
        _QWEN_1_5B,
        source="config.json of deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B (2501.12948)",
        positions=131_072,
        is_tied=False,
    ),
    "qwen25_math_7b": _QWEN_7B,
    "qwen25_7b_instruct_1m": replace(
        _QWEN_7B,
        source="config.json of Qwen/Qwen2.5-7B-Instruct-1M (2501.15383)",
        positions=1_010_000,
    ),
    "qwen25_vl_7b": replace(
        _QWEN_7B,
        source="config.json of Qwen/Qwen2.5-VL-7B-Instruct (2502.13923), 8.29 B with its tower",
        positions=128_000,
        other_parameters=676_550_144,
    ),
    "smollm2_135m": Architecture(
        "config.json of HuggingFaceTB/SmolLM2-135M-Instruct (2502.02737)",
        layers=30,
        hidden=576,
        heads=9,
        kv_heads=3,
        intermediate=1536,
        vocabulary=49_152,
        positions=8192,
        head_dim=64,
        is_tied=True,
        has_qkv_bias=False,
    ),
    "qwen25_32b": replace(
        _QWEN_7B,
        source="config.json of Qwen/Qwen2.5-32B (2412.15115)",
        layers=64,
        hidden=5120,
        heads=40,
        kv_heads=8,
        intermediate=27_648,
        positions=131_072,
    ),
    # Attention of 128 queries (128 + 64 values, from 1,536) over latents of 512 + 64 values, which
    # are all its cache; 3 dense layers, then 58 of 1 shared and 256 routed experts.
    "deepseek_v3_671b": Architecture(
        "config.json of deepseek-ai/DeepSeek-V3 (2412.19437, section 4.2)",
        layers=61,
        hidden=7168,
        heads=128,
        kv_heads=128,
        intermediate=2048,
        vocabulary=129_280,
        positions=163_840,
        head_dim=128,
        is_tied=False,
        has_qkv_bias=False,
        published_total=671_026_404_352,
        experts=Experts(layers=58, in_layer=256, met=8, parameters=3 * 7168 * 2048),
        cache_values=512 + 64,
    ),
}


def config_file(model: ModelConfig) -> Path | None:
    """The `config.json` of the folder `model.path`, from the repository's root if relative; None
    where there is none."""
    file = ROOT / model.path / "config.json"
    return file if file.is_file() else None


def architecture_of(model: ModelConfig) -> Architecture:
    """Of the folder `model.path` if it is one, else of the table, by `model.name`.

    Raises:
        ConfigError: neither is there.
    """
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
    """Of a dense model's `config.json` as `transformers` writes it; a vision tower is counted.

    Raises:
        ConfigError: it lacks a size, or has one that is none, or is a mixture of experts.
    """
    values = read_config(file)
    heads, hidden = size(values, "num_attention_heads", file), size(values, "hidden_size", file)
    decoder = Architecture(
        source=file.parent.name + "/config.json",
        layers=size(values, "num_hidden_layers", file),
        hidden=hidden,
        heads=heads,
        kv_heads=size(values, "num_key_value_heads", file, default=heads),
        intermediate=size(values, "intermediate_size", file),
        vocabulary=size(values, "vocab_size", file),
        positions=size(values, "max_position_embeddings", file),
        head_dim=size(values, "head_dim", file, default=max(hidden // heads, 1)),
        is_tied=bool(values.get("tie_word_embeddings")),
        has_qkv_bias=str(values.get("model_type")).startswith("qwen2"),
    )
    if not values.get("vision_config"):
        return decoder
    beside = count_parameters(file.parent) - decoder.parameters
    return replace(decoder, other_parameters=beside)
