"""The typed configuration: what is derived from it, worked by hand."""

import pytest

from tests.conftest import compose_config
from twogrpo.config.schema import Config, parse
from twogrpo.errors import ConfigError


def test_derived_sizes_worked_by_hand(make_config):
    # 2 × 8 prompts × 2 rollouts; 64 / 16 updates; 3 × 50 / 64 = 2.3 steps; 8 × 1e-3.
    config = make_config(
        "algorithm=two_grpo",
        "training.prompts_per_minibatch=2",
        "training.prompts_per_step=64",
        "training.epochs=3",
        "dataset.num_prompts=50",
    )
    assert config.prompts_per_minibatch == 16
    assert config.rollouts_per_minibatch == 32
    assert config.updates_per_step == 4
    assert config.num_steps == 2
    assert config.learning_rate == pytest.approx(8e-3)


def test_values_have_the_types_of_the_schema():
    config = parse(compose_config("training.learning_rate=1"), Config)
    assert isinstance(config, Config)
    assert isinstance(config.training.learning_rate, float)
    assert isinstance(config.evaluation.benchmarks, list)
    assert config.algorithm.resampling_budget_group_size is None


def test_names_are_built_from_what_was_chosen():
    config = parse(compose_config("algorithm=two_grpo", "seed=4"), Config)
    assert config.run_name == "chain_arithmetic-tiny-two_grpo-g2-seed4"
    assert config.output_dir == "runs/chain_arithmetic-tiny-two_grpo-g2-seed4"


def test_a_broken_reference_is_one_line():
    with pytest.raises(ConfigError) as refusal:
        parse(compose_config("run_name=${no.such.key}"), Config)
    assert "run_name" in str(refusal.value)
    assert "\n" not in str(refusal.value)
