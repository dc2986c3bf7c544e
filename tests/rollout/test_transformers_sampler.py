"""What is the transformers sampler's own beyond the contract: its knobs."""

import pytest
import torch

from tests.conftest import tiny_model
from tests.rollout.test_sampler_contract import PLAIN, PROMPTS, SEEDS_PG, TOKENIZER
from twogrpo.rollout.transformers_sampler import TransformersSampler


def engine(rollouts_per_call: int, dtype: torch.dtype = torch.float32) -> TransformersSampler:
    return TransformersSampler(
        tiny_model(),
        TOKENIZER,
        end_token_ids=[1],
        device="cpu",
        dtype=dtype,
        rollouts_per_call=rollouts_per_call,
    )


@pytest.mark.parametrize("rollouts_per_call", [1, 4, 9])
def test_rollouts_per_call_is_a_knob_that_changes_no_token(rollouts_per_call):
    expected = engine(1000).sample(PROMPTS, SEEDS_PG, PLAIN)
    actual = engine(rollouts_per_call).sample(PROMPTS, SEEDS_PG, PLAIN)
    for one, other in zip(expected, actual, strict=True):
        for rollout, same in zip(one, other, strict=True):
            assert rollout.token_ids == same.token_ids
            assert rollout.sampler_logps == pytest.approx(same.sampler_logps, abs=2e-5)


def test_a_sampler_in_bfloat16_keeps_its_type_after_a_sync():
    sampler = engine(1000, torch.bfloat16)
    sampler.load(tiny_model(1).state_dict().items())
    assert {parameter.dtype for parameter in sampler.model.parameters()} == {torch.bfloat16}
    assert sampler.sample(PROMPTS, SEEDS_PG, PLAIN) == sampler.sample(PROMPTS, SEEDS_PG, PLAIN)
