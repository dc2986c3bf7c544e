"""GPUs and the copies of the sampler that they are to hold, before any rank is started."""

import pytest

from tests.conftest import parse_config
from twogrpo.config.schema import Config
from twogrpo.errors import ConfigError
from twogrpo.preflight.compatibility import check_values


def planned(*overrides: str) -> Config:
    return parse_config("rollout=vllm", *overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["hardware=four_gpus", "hardware.tensor_parallel_size=3"],
         "tensor_parallel_size=3 does not divide hardware.num_gpus=4: use one of 1, 2, 4"),
        (["hardware=one_gpu", "hardware.tensor_parallel_size=2"], "use one of 1"),
        (["hardware.num_gpus=-1"], "hardware.num_gpus=-1 .*: use 0 or more"),
    ],
)  # fmt: skip
def test_copies_that_the_gpus_cannot_be_parted_into_are_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        check_values(planned(*overrides))


def test_parts_that_divide_and_ranks_without_a_gpu_pass():
    check_values(planned("hardware=four_gpus", "hardware.tensor_parallel_size=2"))
    # hardware=cpu does not say how many ranks there are; torchrun does.
    check_values(planned("hardware=cpu", "hardware.tensor_parallel_size=2"))
