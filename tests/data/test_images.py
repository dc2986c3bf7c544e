"""Pictures: what is refused, where they stand in a prompt, and the positions of what is around."""

import io

import pytest
import torch
from PIL import Image

from tests import tiny_vision
from tests.tiny_vision import ID, image
from twogrpo.data.filtering import prepare
from twogrpo.data.images import ImageProcessor, open_image, rope_positions
from twogrpo.data.templates import render
from twogrpo.errors import ConfigError

PICTURES = ImageProcessor(tiny_vision.processor(), ID["<|image_pad|>"])
TOKENIZER = tiny_vision.tokenizer()


def test_a_diagram_on_nothing_is_on_white():
    buffer = io.BytesIO()
    Image.new("RGBA", (2, 1), (0, 0, 0, 0)).save(buffer, "PNG")
    assert open_image(buffer.getvalue()).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(image("red")).getpixel((0, 0)) == (255, 0, 0)


def test_a_picture_stands_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20)).save(buffer, "JPEG", exif=exif)
    assert open_image(buffer.getvalue()).size == (20, 40)


@pytest.mark.parametrize(
    "content", [b"", b"no image", image("red")[:-30], image("red", kind="TIFF")]
)
def test_a_broken_picture_or_one_in_another_format_is_refused(content):
    with pytest.raises(ValueError, match="an image cannot be used"):
        open_image(content)


@pytest.mark.parametrize("times", [1.5, 3])  # Pillow itself warns of the one, refuses the other
def test_a_bomb_is_refused_before_it_is_decoded(times, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(40 * 30 / times))
    with pytest.raises(ValueError, match="decompression bomb"):
        open_image(image("red", (40, 30)))


def test_problems_with_broken_pictures_are_dropped_and_counted():
    rows = [
        {"id": "good", "problem": "<image>1?", "answer": "1", "images": [image("red")]},
        {"id": "bad", "problem": "<image>2?", "answer": "2", "images": [b"no image"]},
    ]
    assert prepare(rows, origin="here").dropped == {"broken_picture": ["bad"]}


def rendered(problem: str, num_images: int, template: str = "chat") -> str:
    token_ids = render(problem, template, TOKENIZER, num_images=num_images)
    return TOKENIZER.decode(token_ids)


PLACE = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.mark.parametrize(
    ("problem", "num_images", "wanted"),
    [
        ("<image>Find x.", 1, f"{PLACE}Find x."),
        ("Is <image> like <image>?", 2, f"Is {PLACE} like {PLACE}?"),
        ("Find x.", 1, f"{PLACE}Find x."),
        ("<image> is a tag of HTML.", 0, "<image> is a tag of HTML."),
    ],
)
def test_a_picture_stands_where_the_text_says(problem, num_images, wanted):
    text = f"<|im_start|>user\n{wanted}<|im_end|>\n<|im_start|>assistant\n"
    assert rendered(problem, num_images) == text


def test_places_and_pictures_must_be_as_many():
    with pytest.raises(ValueError, match="1 images but 2 places"):
        rendered("<image> and <image>", 1)
    with pytest.raises(ValueError, match="1 images but 2 places"):
        PICTURES.expanded([ID["<|image_pad|>"], 9, ID["<|image_pad|>"]], [image("red")])
    with pytest.raises(ConfigError, match="prompt_template=plain does not support images"):
        rendered("<image>Find x.", 1, template="plain")


def test_a_picture_takes_as_many_tokens_as_it_has_vectors():
    # 30 rows, 40 columns of pixels: the nearest multiples of 28 are 28 and 28, so 1 vector;
    # 80 × 56: 3 × 2 = 6 vectors.
    images = (image("red", (40, 30)), image("blue", (80, 56)))
    place = ID["<|image_pad|>"]
    token_ids = [9, place, 10, place, 11]
    expanded = PICTURES.expanded(token_ids, images)
    assert expanded == [9, place, 10, *[place] * 6, 11]
    assert PICTURES.collapsed(expanded) == token_ids
    assert PICTURES.places(expanded, images).tolist() == [t == place for t in expanded]
    assert not PICTURES.places(expanded, ()).any()


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (80, 56), (200, 90), (28, 2000)])
def test_the_tokens_counted_are_the_vectors_cut(size):
    green = image("green", size)
    (grid,) = PICTURES.patches((green,))[1].tolist()
    assert len(PICTURES.expanded([ID["<|image_pad|>"]], [green])) == grid[1] * grid[2] // 4


def test_positions_by_hand():
    # Text at 0; 2 × 3 vectors begin at 1 and count rows and columns from there; the text after them
    # begins at 1 + max(2, 3) = 4. Grids are in patches, 2 × 2 of which make a vector.
    places = torch.tensor([0, 1, 1, 1, 1, 1, 1, 0, 0], dtype=torch.bool)
    assert rope_positions(places, [(1, 4, 6)], merge_size=2).tolist() == [
        [0, 1, 1, 1, 1, 1, 1, 4, 5],
        [0, 1, 1, 1, 2, 2, 2, 4, 5],
        [0, 1, 2, 3, 1, 2, 3, 4, 5],
    ]
    text = torch.zeros(4, dtype=torch.bool)
    assert PICTURES.positions(text, ()).tolist() == [[0, 1, 2, 3]] * 3
