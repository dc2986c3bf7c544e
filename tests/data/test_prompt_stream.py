"""The stream of prompts: each epoch a permutation, seekable by one number."""

from hypothesis import given
from hypothesis import strategies as st

from twogrpo.data.prompts import PromptStream
from twogrpo.types import Draw, Prompt


def prompts(count: int) -> list[Prompt]:
    return [Prompt(str(i), f"{i}=", "0", (i,)) for i in range(count)]


def ids(drawn: list[Draw]) -> list[str]:
    return [draw.prompt.prompt_id for draw in drawn]


@given(st.integers(1, 12), st.integers(0, 5), st.lists(st.integers(0, 9), max_size=12))
def test_every_epoch_is_a_permutation_however_it_is_drawn(num_prompts, seed, counts):
    stream = PromptStream(prompts(num_prompts), seed=seed)
    drawn = [draw for count in counts for draw in stream.next(count)]
    assert [draw.number for draw in drawn] == list(range(sum(counts)))
    for start in range(0, len(drawn) - num_prompts + 1, num_prompts):
        epoch = ids(drawn[start : start + num_prompts])
        assert sorted(epoch) == sorted(map(str, range(num_prompts)))


@given(st.integers(1, 12), st.integers(0, 40), st.integers(0, 20))
def test_a_stream_put_at_a_position_goes_on_as_one_that_walked_there(num_prompts, walked, count):
    walker = PromptStream(prompts(num_prompts), seed=3)
    walker.next(walked)
    seeker = PromptStream(prompts(num_prompts), seed=3)
    seeker.position = walker.position
    assert walker.position == walked
    drawn = walker.next(count)
    assert seeker.next(count) == drawn
    walker.position = walked  # a step back
    assert walker.next(count) == drawn


def test_epochs_and_seeds_differ_in_order():
    first, second = (ids(PromptStream(prompts(50), seed=seed).next(50)) for seed in (0, 1))
    stream = PromptStream(prompts(50), seed=0)
    assert ids(stream.next(50)) == first
    assert ids(stream.next(50)) != first
    assert second != first
    assert first != sorted(first)
