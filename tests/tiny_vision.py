"""A tiny random Qwen2.5-VL over the bytes of text, its image processor, and images for it."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

SPECIAL = ["<pad>", "<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|image_pad|>"]
SPECIAL += ["<|vision_end|>", "<|video_pad|>"]
ID = {token: place for place, token in enumerate(SPECIAL)}
# Like the family's own: each image between a mark of its begin and one of its end.
CHAT_TEMPLATE = """
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""


def image(colour: str, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """An encoded image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def tokenizer(special: Sequence[str] = SPECIAL, **named: Any) -> PreTrainedTokenizerFast:
    """A token for each byte, and before them the special ones; `named` says what they are."""
    symbols = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(symbols)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True) for token in special])
    named = named or {"eos_token": "<|im_end|>", "pad_token": "<pad>"}
    named = {"chat_template": CHAT_TEMPLATE} | named
    return PreTrainedTokenizerFast(tokenizer_object=core, **named)


def processor() -> Qwen2VLImageProcessorPil:
    """Images of 28 × 28 to 84 × 84 pixels: 1 to 9 vectors each."""
    return Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=9 * 28 * 28)


def model(seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """Hidden size 64, 2 layers; 2 layers of vision, one of which attends within windows."""
    text = {
        "vocab_size": len(SPECIAL) + 256, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 1024, "initializer_range": 0.15, "bos_token_id": None,
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6]},
        "eos_token_id": ID["<|im_end|>"], "pad_token_id": ID["<pad>"],
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
        "out_hidden_size": 64, "window_size": 56, "fullatt_block_indexes": [1],
        "initializer_range": 0.15,
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ID["<|image_pad|>"],
        video_token_id=ID["<|video_pad|>"],
        vision_start_token_id=ID["<|vision_start|>"],
        vision_end_token_id=ID["<|vision_end|>"],
        initializer_range=0.15,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Qwen2_5_VLForConditionalGeneration(config)


def save(folder: Path) -> Path:
    """Writes a folder for `model.path`."""
    model().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder
