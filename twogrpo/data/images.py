"""Images for a vision-language model: opened safely and cut into patches.

Written for the Qwen2-VL family (2409.12191, 2502.13923): an image becomes patches; the vision
tower merges every `merge_size`² of them into one vector, and the prompt has one image token per
vector. L is the number of prompt or sequence tokens.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

# The cache is bounded because an image's patches take a few megabytes.
CACHED_PROMPTS = 64


def open_image(content: bytes) -> Image:
    """The image in RGB, upright; transparent areas become white, for diagrams are drawn in black.

    Raises:
        ValueError: it is broken, is not PNG, JPEG or WebP, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS` (89 million).
    """
    from PIL import Image, ImageOps  # imported only for tasks with images

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of a possible decompression bomb
            opened = Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP"))
            image = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise ValueError(f"an image cannot be used ({error})") from error
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


@dataclass(frozen=True)
class ImageProcessor:
    """A model's image processor and its image token.

    `files` are the processor's own files by name, so that an exported policy can load images too.
    """

    processor: Any
    image_token_id: int
    files: Mapping[str, bytes] = field(default_factory=dict)

    def patches(self, images: tuple[bytes, ...]) -> tuple[Tensor, Tensor]:
        """The patches [num_patches, patch_size] of all images, and each image's grid (t, h, w)."""
        return _cut(self.processor, images)

    def expanded(self, token_ids: Sequence[int], images: Sequence[bytes]) -> list[int]:
        """The prompt with each image token repeated once per vector of its image.

        Raises:
            ValueError: the numbers of image tokens and images differ, or an image is broken.
        """
        num_tokens = [self._num_tokens(image) for image in images]
        num_places = list(token_ids).count(self.image_token_id)
        if num_places != len(images):
            raise ValueError(f"{len(images)} images but {num_places} places for them")
        counts = iter(num_tokens)
        expanded: list[int] = []
        for token in token_ids:
            expanded += [token] * (next(counts) if token == self.image_token_id else 1)
        return expanded

    def collapsed(self, token_ids: Sequence[int]) -> list[int]:
        """The inverse of `expanded`, for a sampler that expands image tokens itself.

        Two images are never adjacent: the family's chat template marks where each begins.
        """
        collapsed: list[int] = []
        for token, run in groupby(token_ids):
            collapsed += [token] if token == self.image_token_id else run
        return collapsed

    def places(self, token_ids: Sequence[int], images: Sequence[bytes]) -> Tensor:
        """The positions of image vectors in a prompt, bool [L]; all false without images."""
        return (torch.tensor(token_ids) == self.image_token_id) & bool(images)

    def positions(self, places_L: Tensor, images: tuple[bytes, ...]) -> Tensor:
        """The rotary positions [3, L] of a sequence with images at `places_L`."""
        grids = self.patches(images)[1].tolist() if images else []
        return rope_positions(places_L, grids, merge_size=self.processor.merge_size)

    def blank(self) -> tuple[Tensor, Tensor]:
        """The `patches` of one small white image."""
        from PIL import Image

        side = self.processor.patch_size * self.processor.merge_size
        return _processed(self.processor, [Image.new("RGB", (side, side), "white")])

    def _num_tokens(self, image: bytes) -> int:
        width, height = open_image(image).size
        num_patches: int = self.processor.get_number_of_image_patches(height, width, {})
        return num_patches // self.processor.merge_size**2


def rope_positions(
    places_L: Tensor, grids: Sequence[tuple[int, int, int]], *, merge_size: int
) -> Tensor:
    """Time, height and width [3, L] of every token (M-RoPE: Wang et al. 2024, 2409.12191, 2.1).

    Text tokens advance all three together. An image of h × w vectors has constant time and counts
    rows and columns from its start position; the text after it continues max(h, w) later.
    Without images all three are 0 … L − 1.
    """
    columns: list[Tensor] = []
    left = iter(grids)
    position = place = 0
    for is_image, run in groupby(places_L.tolist()):
        end = place + len(list(run))
        while place < end:
            if is_image:  # possibly the first of several adjacent images
                _, height, width = next(left)
                sides = torch.arange(height // merge_size), torch.arange(width // merge_size)
                block = torch.cartesian_prod(torch.arange(1), *sides).T
            else:
                block = torch.arange(end - place).expand(3, -1)
            columns.append(block + position)
            position, place = position + int(block.max()) + 1, place + block.shape[1]
    return torch.cat(columns, dim=1)


@lru_cache(maxsize=CACHED_PROMPTS)
def _cut(processor: Any, images: tuple[bytes, ...]) -> tuple[Tensor, Tensor]:
    return _processed(processor, [open_image(image) for image in images])


def _processed(processor: Any, opened: list[Image]) -> tuple[Tensor, Tensor]:
    features = processor(images=opened, return_tensors="pt")
    return features["pixel_values"], features["image_grid_thw"]
