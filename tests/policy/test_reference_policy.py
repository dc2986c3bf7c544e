"""The frozen initial policy: in the passes' dtype where it is sharded, with the same numbers."""

import pytest
import torch
import torch.distributed as dist

from tests.conftest import parse_config
from tests.policy.test_policy import TOKENIZER, minibatch
from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.policy.build import build_policy, build_reference_policy


@pytest.fixture
def one_rank():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Ranks(0, 1, 0, is_sharded=True)
    dist.destroy_process_group()


def test_a_sharded_reference_is_in_bfloat16_and_scores_as_the_policy_does(one_rank, model_folder):
    config = parse_config(f"model.path={model_folder}", "hardware.dtype=bfloat16")
    policy = build_policy(config, TOKENIZER, one_rank)
    reference = build_reference_policy(config, policy)
    assert {parameter.dtype for parameter in reference.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in policy.logprob_model.parameters()} == {torch.float32}
    expected = policy.token_logps(minibatch())
    for logps, other in zip(reference.token_logps(minibatch()), expected, strict=True):
        assert torch.equal(logps, other)


def test_in_one_process_it_stays_in_float32(model_folder):
    config = parse_config(f"model.path={model_folder}", "hardware.dtype=bfloat16")
    reference = build_reference_policy(config, build_policy(config, TOKENIZER, SINGLE_PROCESS))
    assert {parameter.dtype for parameter in reference.parameters()} == {torch.float32}
