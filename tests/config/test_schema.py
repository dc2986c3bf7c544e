"""The typed configuration: what is derived from it, worked by hand."""

from dataclasses import asdict

import pytest

from tests.conftest import compose_config, parse_config
from twogrpo.config.identity import flatten
from twogrpo.config.schema import Config, parse
from twogrpo.config.script_schemas import EvaluateConfig
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


# Every other key identifies a run.
NOT_IDENTIFYING = {
    *("run_name", "cell", "output_dir", "resume", "reward.num_workers", "evaluation.keep_text"),
    *("checkpointing.every", "checkpointing.kept", "checkpointing.preemption_grace_seconds"),
    *("sync_check.prompts", "sync_check.tokens"),
    *("sync_check.bounds.float32", "sync_check.bounds.bfloat16"),
    *("sync_check.kl_bounds.float32", "sync_check.kl_bounds.bfloat16"),
    *("tracking.wandb_mode", "tracking.wandb_project", "tracking.wandb_group"),
    *("tracking.progress_every_seconds", "tracking.kl_rollouts", "tracking.mismatch_rollouts"),
    *("tracking.gradient_cosine_every", "tracking.save_rollouts", "tracking.saved_pairs"),
    *("hardware.device", "hardware.num_gpus", "hardware.num_threads", "hardware.compile"),
    *("hardware.tokens_per_microbatch", "hardware.logits_chunk_tokens"),
    *("hardware.activation_checkpointing", "hardware.rollouts_per_call", "hardware.kv_cache_gib"),
    *("hardware.gpu_memory_share", "hardware.tensor_parallel_size", "hardware.sleep_level"),
}


@pytest.mark.parametrize("option", ["training=cpu", "experiment=fig3/code_r1_grpo"])
def test_a_run_is_identified_by_all_keys_but_these(option):
    config = parse_config(option)
    assert {*flatten(asdict(config))} - {*config.identifying()} == NOT_IDENTIFYING
    assert {"hardware.dtype", "hardware.sampler_dtype"} <= {*config.identifying()}


def test_a_budget_of_rollouts_ends_a_run_whatever_its_group_size(make_config):
    # 16 prompts a step: 16 × 2, 16 × 4 and, with a pair drawn up to four times, 16 × 8 rollouts.
    assert make_config("algorithm=two_grpo", "training.rollouts=640").num_steps == 20
    assert make_config("algorithm.group_size=4", "training.rollouts=640").num_steps == 10
    replaced = ["algorithm=two_grpo_rs", "algorithm.resampling_budget_group_size=8"]
    assert make_config(*replaced, "training.rollouts=640").num_steps == 5
    assert make_config(*replaced, "training.rollouts=127").num_steps == 0
    assert make_config("training.rollouts=null").num_steps == 6


def test_an_evaluation_is_identified_by_its_weights_wherever_they_lie():
    config = parse(compose_config("checkpoint=x", name="evaluate"), EvaluateConfig)
    of_training = ("checkpointing", "sync_", "cell")
    left_out = {key for key in NOT_IDENTIFYING if not key.startswith(of_training)}
    assert {*flatten(asdict(config))} - {*config.identifying()} == left_out | {
        *("checkpoint", "contamination", "model.path")
    }


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
