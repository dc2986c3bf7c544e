"""Configurations and random models of known sizes.

python -m benchmarks.gpu.models FOLDER TOKENIZER    a model of 1.5B with a folder's tokenizer
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from hydra import compose, initialize_config_dir
from transformers import AutoTokenizer, PreTrainedModel, Qwen2Config
from transformers import Qwen2ForCausalLM as Qwen2

from twogrpo.config.cli import CONF
from twogrpo.config.schema import Config, parse
from twogrpo.preflight.model_shapes import PUBLISHED, Architecture

QWEN_1_5B = PUBLISHED["qwen25_math_1_5b"]
TINY = replace(
    QWEN_1_5B, layers=2, hidden=64, heads=2, kv_heads=1, head_dim=32, intermediate=128,
    vocabulary=512, positions=256,
)  # fmt: skip
HARDWARE = {"cuda": "hardware=one_gpu", "cpu": "hardware=cpu"}


def configured(*overrides: str) -> Config:
    """The configuration of `python scripts/train.py {overrides}`."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return parse(compose("train", overrides=list(overrides)), Config)


def random_qwen2(sizes: Architecture, device: str) -> PreTrainedModel:
    """A model of these sizes in float32; speed and memory do not depend on the weights."""
    config = Qwen2Config(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        intermediate_size=sizes.intermediate,
        max_position_embeddings=sizes.positions,
        tie_word_embeddings=sizes.is_tied,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return Qwen2(config)


def save(sizes: Architecture, device: str, folder: str, tokenizer: str) -> None:
    """Saves a random model in bfloat16, as published ones are, with the tokenizer of a folder."""
    random_qwen2(sizes, device).bfloat16().save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)


if __name__ == "__main__":
    is_cuda = torch.cuda.is_available()
    save(QWEN_1_5B if is_cuda else TINY, "cuda" if is_cuda else "cpu", *sys.argv[1:])
