"""Pictures between a data set and a vision-language model: opened with care, cut into patches.

Written for the Qwen2-VL family (2409.12191, 2502.13923): an image becomes patches; its vision
tower makes one vector of every `merge_size`² of them, and the prompt holds as many image tokens.
L prompt or sequence tokens.
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

FORMATS = ("PNG", "JPEG", "WEBP")
# What is kept at a time: an image's patches are some megabytes.
CACHED_PROMPTS = 64


def open_image(content: bytes) -> Image:
    """The image in RGB, upright, on white where it is transparent: diagrams are black on nothing.

    Raises:
        ValueError: it is broken, of another format than PNG, JPEG and WebP, or has more pixels
            than `PIL.Image.MAX_IMAGE_PIXELS` (89 million).
    """
    from PIL import Image, ImageOps  # only where there are images

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of an image that may be a bomb
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(content), formats=FORMATS))
            image = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise ValueError(f"an image cannot be used ({error})") from error
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


@dataclass(frozen=True)
class ImageProcessor:
    """How one model takes images: its image processor, and the token that stands for them.

    `files` are the processor's own, by name, so that an exported policy takes images too.
    """

    processor: Any
    image_token_id: int
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        cached = lru_cache(maxsize=CACHED_PROMPTS)(self._cut)
        object.__setattr__(self, "_cached_patches", cached)

    def patches(self, images: tuple[bytes, ...]) -> tuple[Tensor, Tensor]:
        """Patches [num_patches, patch_size] of all images, and each one's grid (t, h, w)."""
        found: tuple[Tensor, Tensor] = self._cached_patches(images)  # type: ignore[attr-defined]
        return found

    def expanded(self, token_ids: Sequence[int], images: Sequence[bytes]) -> list[int]:
        """The prompt with each image's image token repeated as often as it has vectors.

        Raises:
            ValueError: there are more or fewer image tokens than images, or an image is broken.
        """
        num_tokens = [self._num_tokens(image) for image in images]
        num_places = list(token_ids).count(self.image_token_id)
        if num_places != len(images):
            raise ValueError(f"{len(images)} images but {num_places} places for them")
        counts = iter(num_tokens)
        return [
            token
            for place in token_ids
            for token in [place] * (next(counts) if place == self.image_token_id else 1)
        ]

    def collapsed(self, token_ids: Sequence[int]) -> list[int]:
        """The inverse of `expanded`, for an engine that expands by itself.

        Two images are never neighbours: the family's chat template marks where each begins.
        """
        runs = [(token, len(list(run))) for token, run in groupby(token_ids)]
        return [
            token
            for token, length in runs
            for _ in range(1 if token == self.image_token_id else length)
        ]

    def places(self, token_ids: Sequence[int], images: Sequence[bytes]) -> Tensor:
        """Where in a prompt its images' vectors go, bool [L]; nowhere without images."""
        if not images:
            return torch.zeros(len(token_ids), dtype=torch.bool)
        return torch.tensor(token_ids) == self.image_token_id

    def positions(self, places_L: Tensor, images: tuple[bytes, ...]) -> Tensor:
        """The rotary positions [3, L] of a sequence whose images stand at `places_L`."""
        grids = self.patches(images)[1].tolist() if images else []
        return rope_positions(places_L, grids, merge_size=self.processor.merge_size)

    def blank(self) -> tuple[Tensor, Tensor]:
        """`patches` of one small white image."""
        from PIL import Image

        side = self.processor.patch_size * self.processor.merge_size
        return self._processed([Image.new("RGB", (side, side), "white")])

    def _num_tokens(self, image: bytes) -> int:
        width, height = open_image(image).size
        num_patches: int = self.processor.get_number_of_image_patches(height, width, {})
        return num_patches // self.processor.merge_size**2

    def _cut(self, images: tuple[bytes, ...]) -> tuple[Tensor, Tensor]:
        return self._processed([open_image(image) for image in images])

    def _processed(self, opened: list[Image]) -> tuple[Tensor, Tensor]:
        features = self.processor(images=opened, return_tensors="pt")
        return features["pixel_values"], features["image_grid_thw"]


def rope_positions(
    places_L: Tensor, grids: Sequence[tuple[int, int, int]], *, merge_size: int
) -> Tensor:
    """Time, height and width [3, L] of every token (M-RoPE: Wang et al. 2024, 2409.12191, 2.1).

    Text counts up in all three alike. An image of h × w vectors stands still in time and counts
    its rows and columns from the position it begins at; the text after it goes on max(h, w) later.
    Without images all three are 0 … L − 1.
    """
    columns: list[Tensor] = []
    left = iter(grids)
    position = place = 0
    for is_image, run in groupby(places_L.tolist()):
        end = place + len(list(run))
        while place < end:
            if is_image:  # perhaps the first of several that stand side by side
                _, height, width = next(left)
                block = _block(height // merge_size, width // merge_size)
            else:
                block = torch.arange(end - place).expand(3, -1)
            columns.append(block + position)
            position, place = position + int(block.max()) + 1, place + block.shape[1]
    return torch.cat(columns, dim=1)


def _block(height: int, width: int) -> Tensor:
    rows, columns = torch.arange(height), torch.arange(width)
    return torch.cartesian_prod(torch.zeros(1, dtype=torch.long), rows, columns).T
