"""Images in the forward pass: against the model's own, and where the two must differ."""

import pytest
import torch

from tests import tiny_vision
from tests.tiny_vision import ID, image
from twogrpo.data.images import ImageProcessor
from twogrpo.models.image_inputs import embed, padded_inputs, vllm_prompt
from twogrpo.types import Prompt

PLACE = ID["<|image_pad|>"]
PICTURES = ImageProcessor(tiny_vision.processor(), PLACE)


def prompt(*images: bytes, text: str = "Find x.") -> Prompt:
    marks = [t for _ in images for t in (ID["<|vision_start|>"], PLACE, ID["<|vision_end|>"])]
    token_ids = PICTURES.expanded([*marks, *tiny_vision.tokenizer()(text)["input_ids"]], images)
    return Prompt(text, text, "1", tuple(token_ids), images)


PROMPTS = [
    prompt(image("red", (56, 84))),
    prompt(image("blue"), image("green", (84, 56)), text="Which?"),
    prompt(),
]


@pytest.fixture(scope="module")
def model():
    return tiny_vision.model().eval()


@pytest.mark.parametrize("which", range(3))
@torch.no_grad()
def test_it_is_the_models_own_forward_pass(model, which):
    subject = PROMPTS[which]
    token_ids = torch.tensor([subject.token_ids])
    own = {}
    if subject.images:
        patches, grids = PICTURES.patches(subject.images)
        own = {"pixel_values": patches, "image_grid_thw": grids}
        own["mm_token_type_ids"] = (token_ids == PLACE).int()
    ours = padded_inputs(model, [subject], len(subject.token_ids), PICTURES)
    expected = model(input_ids=token_ids, **own).logits
    torch.testing.assert_close(model(**ours).logits, expected, atol=1e-5, rtol=0)
    if subject.images:
        positions, _ = model.model.get_rope_index(token_ids, own["mm_token_type_ids"], grids)
        assert ours["position_ids"].equal(positions)


@torch.no_grad()
def test_padding_and_neighbours_change_nothing(model):
    width = max(len(p.token_ids) for p in PROMPTS) + 3
    mask = torch.tensor(
        [[0] * (width - len(p.token_ids)) + [1] * len(p.token_ids) for p in PROMPTS]
    )
    together = model(**padded_inputs(model, PROMPTS, width, PICTURES), attention_mask=mask)
    for row, single in enumerate(PROMPTS):
        length = len(single.token_ids)
        alone = model(**padded_inputs(model, [single], length, PICTURES))
        torch.testing.assert_close(
            together.logits[row, -length:], alone.logits[0], atol=1e-5, rtol=0
        )


def test_an_image_token_that_was_sampled_is_a_token_like_any_other(model):
    token_ids, places = torch.tensor([PLACE, PLACE, 9]), torch.tensor([True, False, False])
    found = embed(model, token_ids, places, [(image("red"),)], PICTURES)
    plain = model.get_input_embeddings()(token_ids)
    assert found[1:].equal(plain[1:])
    assert not torch.isclose(found[0], plain[0]).any()


def test_the_tower_runs_once_for_a_prompt_and_learns_from_all_its_rollouts(model):
    images = (image("red"),)
    seen = []
    hook = model.model.visual.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    token_ids, places = torch.tensor([PLACE, 9, PLACE, 9]), torch.tensor([True, False] * 2)
    found = embed(model, token_ids, places, [images, images], PICTURES)
    hook.remove()
    assert [len(patches) for patches in seen] == [4]
    assert found[0].equal(found[2])
    bias = model.model.visual.merger.mlp[2].bias
    (gradient,) = torch.autograd.grad(found.sum(), bias)
    assert gradient.tolist() == [2.0] * len(bias)  # d/db of (b + …) once for each place


def test_without_pictures_the_tower_runs_on_a_blank_and_gives_nothing(model):
    """All ranks of a sharded model run it together, whatever is in their micro-batches."""
    token_ids = torch.tensor([9, 10])
    found = embed(model, token_ids, torch.tensor([False, False]), [()], PICTURES)
    assert found.equal(model.get_input_embeddings()(token_ids))
    bias = model.model.visual.merger.mlp[2].bias
    assert not torch.autograd.grad(found.sum(), bias)[0].any()


def test_vllm_is_given_one_token_a_picture():
    given = vllm_prompt(PROMPTS[1], PICTURES)
    assert given["prompt_token_ids"].count(PLACE) == 2
    assert PICTURES.expanded(given["prompt_token_ids"], PROMPTS[1].images) == list(
        PROMPTS[1].token_ids
    )
    assert [image.getpixel((0, 0)) for image in given["multi_modal_data"]["image"]] == [
        (0, 0, 255),
        (0, 128, 0),
    ]
    assert vllm_prompt(PROMPTS[2], PICTURES) == {"prompt_token_ids": list(PROMPTS[2].token_ids)}
