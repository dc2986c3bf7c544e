"""The inputs of a vision-language model of `transformers`: embeddings in the place of token ids.

The images' features are inserted into the embeddings here and not by the model's own forward pass,
which would take an image token that the policy *sampled* for one more image.
P prompts, T tokens (of a padded row, or of all sequences, as in `types.MicroBatch`), D hidden
size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twogrpo.data.images import ImageProcessor, open_image
from twogrpo.types import MicroBatch, Prompt


def padded_inputs(
    model: PreTrainedModel, prompts: Sequence[Prompt], width: int, image_processor: ImageProcessor
) -> dict[str, Tensor]:
    """Embeddings [P, T, D] and positions [3, P, T] of prompts padded on the left to `width`."""
    token_ids_PT = torch.zeros(len(prompts), width, dtype=torch.long)
    places_PT = torch.zeros(len(prompts), width, dtype=torch.bool)
    positions_3PT = torch.zeros(3, len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        start = width - len(prompt.token_ids)
        places_L = image_processor.places(prompt.token_ids, prompt.images)
        token_ids_PT[row, start:] = torch.tensor(prompt.token_ids)
        places_PT[row, start:] = places_L
        positions_3PT[:, row, start:] = image_processor.positions(places_L, prompt.images)
    images = [prompt.images for prompt in prompts]
    return {
        "inputs_embeds": embed(model, token_ids_PT, places_PT, images, image_processor),
        "position_ids": positions_3PT.to(model.device),
    }


def packed_inputs(
    model: PreTrainedModel, batch: MicroBatch, image_processor: ImageProcessor
) -> dict[str, Tensor]:
    """Embeddings [1, T, D] and positions [3, 1, T] of packed sequences.

    A prompt that several of them share is there once, and so are its images.
    """
    lengths = batch.lengths_N.tolist()
    responses = batch.response_mask_NL.sum(dim=1).tolist()
    unpack_index_F, pack_index_T = batch.unpack_index_F.cpu(), batch.pack_index_T.cpu()
    with_images, positions = list[Tensor](), list[Tensor]()
    images_of_prompt: dict[int, tuple[bytes, ...]] = {}  # by its first place in T, in order
    for number, place_L in enumerate(unpack_index_F.split(lengths)):
        images, token_ids_L = batch.images_N[number], batch.token_ids_T.cpu()[place_L]
        is_image_L = image_processor.places(token_ids_L.tolist(), images)
        is_image_L[lengths[number] - responses[number] :] = False
        with_images.append(is_image_L)
        positions.append(image_processor.positions(is_image_L, images))
        images_of_prompt.setdefault(int(place_L[0]), images)
    token_ids_T, is_image_T = batch.token_ids_T, torch.cat(with_images)[pack_index_T]
    images_P = list(images_of_prompt.values())
    return {
        "inputs_embeds": embed(model, token_ids_T, is_image_T, images_P, image_processor)[None],
        "position_ids": torch.cat(positions, dim=1)[:, pack_index_T][:, None].to(
            token_ids_T.device
        ),
    }


def embed(
    model: PreTrainedModel,
    token_ids: Tensor,
    places: Tensor,
    images_P: Sequence[tuple[bytes, ...]],
    image_processor: ImageProcessor,
) -> Tensor:
    """The tokens' embeddings [..., D], with the features of the prompts' images at `places`.

    Images that several prompts share go through the vision tower once. Without any image the tower
    runs on a blank with weight 0, because all ranks must run a sharded model together.
    """
    # In the embedding's dtype: under autocast the tower's may differ.
    embeddings = model.get_input_embeddings()(token_ids.to(model.device))
    distinct = list(dict.fromkeys(images for images in images_P if images))
    found = [image_processor.patches(images) for images in distinct] or [image_processor.blank()]
    grids = torch.cat([grid for _, grid in found])
    features = model.base_model.get_image_features(
        torch.cat([patches for patches, _ in found]).to(model.device), grids.to(model.device)
    ).pooler_output
    if not distinct:
        return embeddings + 0 * features[0].sum().to(embeddings.dtype)
    of_prompt = dict(zip(distinct, _by_prompt(features, distinct), strict=True))
    vectors = torch.cat([of_prompt[images] for images in images_P if images]).to(embeddings.dtype)
    assert len(vectors) == int(places.sum()), "the prompt's image tokens are not its images'"
    return embeddings.masked_scatter(places.to(model.device)[..., None], vectors)


def _by_prompt(features: Sequence[Tensor], distinct: Sequence[tuple[bytes, ...]]) -> list[Tensor]:
    left = iter(features)
    return [torch.cat([next(left) for _ in images]) for images in distinct]


def vllm_prompt(prompt: Prompt, image_processor: ImageProcessor | None) -> dict[str, object]:
    """The prompt as vLLM's input; vLLM itself expands the image token of each image."""
    if image_processor is None or not prompt.images:
        return {"prompt_token_ids": list(prompt.token_ids)}
    return {
        "prompt_token_ids": image_processor.collapsed(prompt.token_ids),
        "multi_modal_data": {"image": [open_image(image) for image in prompt.images]},
    }
