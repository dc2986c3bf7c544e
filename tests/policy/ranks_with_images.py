"""A rank of test_ranks_with_images.py: `torchrun ranks_with_images.py FOLDER` makes two updates."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests import tiny_vision
from tests.conftest import parse_config
from tests.tiny_vision import ID, image
from twogrpo.data.images import ImageProcessor
from twogrpo.distributed import process_group
from twogrpo.distributed.process_group import Ranks
from twogrpo.policy.policy import TransformersPolicy
from twogrpo.types import TrainingSample

PICTURES = ImageProcessor(tiny_vision.processor(), ID["<|image_pad|>"])


def sequence(number: int, *images: bytes) -> TrainingSample:
    marks = [ID[t] for t in ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")]
    prompt = PICTURES.expanded([*marks * len(images), 20 + number, 30], images)
    return TrainingSample(
        tuple(prompt), (40 + number, 41, 42), (-1.0) ** number, 0.1, torch.zeros(3), images=images
    )


# Five, so that one of two ranks comes to its last micro-batch with nothing.
SEQUENCES = [
    sequence(0, image("red", (84, 84))),
    sequence(1, image("red", (84, 84))),
    sequence(2, image("blue"), image("green", (56, 28))),
    sequence(3),
    sequence(4, image("black", (56, 56))),
]


# Adam's epsilon is large, so that it does not divide the noise of a zero gradient by itself.
CONFIG = parse_config(
    "training.learning_rate=1e-2",
    "training.warmup_updates=2",
    "training.adam_epsilon=1e-3",
    "training.gradient_clip_norm=null",
    "hardware.tokens_per_microbatch=16",
    "hardware.logits_chunk_tokens=8",
)


def build(group: Ranks, *, activation_checkpointing: bool) -> TransformersPolicy:
    return TransformersPolicy(
        tiny_vision.model(),
        tiny_vision.tokenizer(),
        algorithm=CONFIG.algorithm,
        training=CONFIG.training,
        hardware=replace(CONFIG.hardware, activation_checkpointing=activation_checkpointing),
        temperature=1.0,
        ranks=group,
        image_processor=PICTURES,
    )


def main(folder: Path) -> None:
    group = process_group.init_process_group(CONFIG.hardware)
    policy = build(group, activation_checkpointing=True)
    for _ in range(2):
        policy.update(SEQUENCES)
    policy.export(folder)
    process_group.shutdown(group)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
