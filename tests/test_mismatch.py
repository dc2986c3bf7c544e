"""The canary and the mismatch: worked by hand, and a stale sampler is not let pass."""

import math
from dataclasses import replace

import pytest
import torch

from twogrpo import mismatch, train
from twogrpo.records import Group, Prompt, Rollout

PROMPT = Prompt("p", "", "", (3, 4))


class Policy:
    """Gives every token the same probability."""

    def __init__(self, probability: float) -> None:
        self.logp = math.log(probability)

    def token_logps(self, sequences):
        return [torch.full((len(s.response_token_ids),), self.logp) for s in sequences]


def group(*probabilities: float) -> Group:
    logps = tuple(map(math.log, probabilities))
    return Group(PROMPT, 0, 0, (Rollout((5,) * len(logps), logps, "", "stop"),))


def test_a_mismatch_by_hand():
    """Ratios policy/sampler 0.5/0.5, 0.5/0.25 and 0.5/0.4: one of three is over 1.28."""
    found = mismatch.mismatch(Policy(0.5), [group(0.5, 0.25, 0.4)], clip=(0.2, 0.28))
    assert found.max == pytest.approx(math.log(2))
    terms = [0.0, 2 - 1 - math.log(2), 1.25 - 1 - math.log(1.25)]  # e^d − 1 − d
    assert found.kl == pytest.approx(sum(terms) / 3, abs=1e-6)
    assert found.beyond_clip_fraction == pytest.approx(1 / 3)
    assert set(found.row("canary")) == {"canary/max", "canary/kl", "canary/beyond_clip_fraction"}


def test_a_sync_is_proved_and_a_stale_sampler_stops_the_run(make_run):
    run = make_run("algorithm=two_grpo", "rollout.canary_prompts=3")
    assert len(run.canary) == 3
    row = train.train_one_generation(run, 0)
    assert 0 < row["canary/max"] < 1e-4
    assert 0 < row["mismatch/max"] < 1e-4
    with torch.no_grad():
        for parameter in run.policy.scoring.parameters():
            parameter.mul_(1.1)
    arguments = (run.rollout, run.policy, run.canary, run.sampling)
    with pytest.raises(mismatch.SyncError, match=r"rollout.canary_bounds.float32=0.001"):
        mismatch.prove_sync(*arguments, run.config)
    # The bound is that of the coarser dtype.
    coarse = replace(run.config, hardware=replace(run.config.hardware, dtype="bfloat16"))
    coarse = replace(
        coarse,
        rollout=replace(run.config.rollout, canary_bounds={"float32": 1e-9, "bfloat16": 99.0}),
    )
    assert mismatch.prove_sync(*arguments, coarse)["canary/max"] > 1e-3
    run.rollout.load(run.policy.weights())
    assert mismatch.prove_sync(*arguments, run.config)["canary/max"] < 1e-4


def test_no_canary_and_no_look_cost_nothing(make_run):
    run = make_run("algorithm=two_grpo", "tracking.mismatch_rollouts=0")
    row = train.train_one_generation(run, 0)
    assert not [key for key in row if key.startswith(("canary/", "mismatch/"))]
