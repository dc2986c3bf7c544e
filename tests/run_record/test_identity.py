"""The identity of a recorded run, and of its training."""

from dataclasses import asdict

from tests.analysis import recorded
from twogrpo.run_record.identity import first_difference, training_identity


def test_training_is_identified_by_its_section_alone():
    config = recorded.about("grpo_g16", 0)["config"]
    other = recorded.about("two_grpo", 1)["config"]
    assert training_identity(config) == training_identity(other)
    other["training"]["learning_rate"] = 1e-4
    assert training_identity(config) != training_identity(other)


def test_the_first_difference_names_key_and_both_values(make_config):
    earlier = make_config("seed=1", "hardware.tokens_per_microbatch=999")
    current = make_config("seed=2")
    difference = first_difference(asdict(earlier), current.identifying())
    assert difference == "seed=1 there, 2 here"
