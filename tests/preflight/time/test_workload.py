"""What a configuration is as work: DPO's passes, and resampling's rounds."""

import pytest

from tests.conftest import compose_config
from twogrpo.config.schema import Config, parse
from twogrpo.preflight.assumed_lengths import Lengths
from twogrpo.preflight.time.resampling_rounds import same_prompt_rounds
from twogrpo.preflight.time.roofline import Workload
from twogrpo.preflight.time.workload import workload
from twogrpo.preflight.zero_variance import ASSUMED, Beta


def work(*overrides: str, success: Beta | list[tuple[int, int]] = ASSUMED) -> Workload:
    return workload(parse(compose_config(*overrides), Config), Lengths(10.0, 20.0), success)


def test_dpo_has_no_old_policy_but_scores_its_pairs_twice():
    """128 prompts a generation in two updates of 64: half of 2-GRPO's rows wait for π_old."""
    pairs, dpo = work("experiment=cpu/two_grpo"), work("experiment=cpu/dpo")
    assert (pairs.updates, pairs.old_logps_share, pairs.reweighing_passes) == (2, 0.5, 0)
    assert (dpo.updates, dpo.old_logps_share, dpo.reweighing_passes) == (2, 0.0, 2)
    assert dpo.trained_share == pairs.trained_share == pytest.approx(1 - ASSUMED.dead_share(2))


def test_the_same_prompts_are_drawn_again_for_less_than_new_ones_promise():
    """Eight draws of a pair: 4.38 = 1 / 0.229 of new prompts keep live groups alone, but of the
    same ones that many stay dead."""
    rs = ("experiment=cpu/two_grpo_rs",)
    new, same = work(*rs), work(*rs, "algorithm.resampling=same_prompt")
    *rounds, dead = same_prompt_rounds(ASSUMED, 2, 8)
    assert new.rounds == (1, 1, 1, 1, pytest.approx(0.375, abs=0.01)) and new.trained_share == 1
    assert same.rounds == tuple(rounds) and len(rounds) == 8
    assert same.trained_share == 1 - dead < 0.7


def test_a_probe_is_fitted_for_the_powers():
    """Two prompts of which one is always mixed: every rate is 0.5, half of the pairs are dead."""
    found = work(
        "experiment=cpu/two_grpo_rs", "algorithm.resampling=same_prompt", success=[(4, 8)] * 9
    )
    assert found.rounds == pytest.approx([0.5**j for j in range(8)])
    assert found.trained_share == pytest.approx(1 - 0.5**8)
