"""The canary and the mismatch: worked by hand, and a stale sampler stops the run."""

import math
from dataclasses import replace

import pytest
import torch

from twogrpo.config.schema import DtypeBounds
from twogrpo.errors import SyncFault
from twogrpo.run_record.files import read_rows
from twogrpo.training import loop, sampler_mismatch


def test_a_mismatch_by_hand():
    """Ratios policy/sampler 0.5/0.5, 0.5/0.25 and 0.5/0.4: one of three is over 1.28."""
    policy, sampler = torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.25, 0.4]]).log()
    found = sampler_mismatch.mismatch(policy, sampler, clip=(0.2, 0.28))
    assert found["max"] == pytest.approx(math.log(2))
    terms = [0.0, 2 - 1 - math.log(2), 1.25 - 1 - math.log(1.25)]  # e^d − 1 − d
    assert found["kl"] == pytest.approx(sum(terms) / 3, abs=1e-6)
    assert found["beyond_clip_fraction"] == pytest.approx(1 / 3)


def test_a_sync_is_checked_and_a_stale_sampler_stops_the_run(make_run):
    run = make_run("algorithm=two_grpo", "sync_check.prompts=3")
    assert len(run.diagnostics.sync_check.prompts) == 3
    row = loop.train_step(run, 0)
    assert 0 < row["canary/max"] < 1e-4
    assert 0 < row["mismatch/max"] < 1e-4
    with torch.no_grad():
        for parameter in run.policy.logprob_model.parameters():
            parameter.mul_(1.1)
    arguments = (run.collector.sampler, run.policy, run.collector.sampling)
    run.diagnostics.sync_check = sampler_mismatch.SyncCheck(run.diagnostics.sync_check.prompts)
    with pytest.raises(SyncFault, match=r"sync_check.kl_bounds.float32=1e-06") as stopped:
        run.diagnostics.sync_check.check_sync(*arguments, run.config)
    assert stopped.value.exit_code == 76
    # Beyond the bound at a token twice, in the step's draws and in others.
    any_kl = DtypeBounds(float32=99.0, bfloat16=99.0)
    at_a_token = replace(run.config, sync_check=replace(run.config.sync_check, kl_bounds=any_kl))
    with pytest.raises(SyncFault, match=r"twice, beyond sync_check.bounds.float32=0.001"):
        run.diagnostics.sync_check.check_sync(*arguments, at_a_token)
    # The bound is that of the coarser dtype.
    wide = DtypeBounds(float32=1e-9, bfloat16=99.0)
    coarse = replace(
        run.config,
        hardware=replace(run.config.hardware, dtype="bfloat16"),
        sync_check=replace(run.config.sync_check, bounds=wide, kl_bounds=wide),
    )
    assert run.diagnostics.sync_check.check_sync(*arguments, coarse)["canary/max"] > 1e-3
    # The mean has its own bound: 1 nat at one token of a hundred is less than at each of them.
    bounded = replace(coarse.sync_check, kl_bounds=DtypeBounds(float32=1e-9, bfloat16=1e-4))
    with pytest.raises(SyncFault, match=r"sync_check.kl_bounds.bfloat16=0.0001"):
        run.diagnostics.sync_check.check_sync(*arguments, replace(coarse, sync_check=bounded))
    run.collector.sampler.load(run.policy.weights())
    assert run.diagnostics.sync_check.check_sync(*arguments, run.config)["canary/max"] < 1e-4


def test_one_token_beyond_the_bound_stops_nothing_unless_other_draws_have_one_too(
    make_run, monkeypatch
):
    """Among thousands of syncs rounding may move one rare token so far."""
    run = make_run("algorithm=two_grpo", "sync_check.prompts=3", *BFLOAT16)
    arguments = (run.collector.sampler, run.policy, run.collector.sampling, run.config)
    sampler_logps, looks = -torch.ones(300), list[int]()

    def policy_logps(*_):
        looks.append(1)
        found = sampler_logps.clone()
        found[0] += 1.5 * (len(looks) in unlucky)
        return found, sampler_logps

    monkeypatch.setattr(sampler_mismatch, "both_logps", policy_logps)
    unlucky = {1}
    check = run.diagnostics.sync_check
    assert check.check_sync(*arguments)["canary/max"] == pytest.approx(1.5)
    assert len(looks) == 2
    looks.clear()
    unlucky = {1, 2}
    with pytest.raises(SyncFault, match=r"twice, beyond sync_check.bounds.bfloat16=1"):
        check.check_sync(*arguments)
    looks.clear()
    unlucky = set()
    check.check_sync(*arguments)
    assert len(looks) == 1


LEARNING_RATE = "training.learning_rate=5e-5"  # conf/training/cpu.yaml's
BFLOAT16 = ["hardware.dtype=bfloat16", "hardware.sampler_dtype=bfloat16"]


@pytest.mark.parametrize(
    "dtypes", [[], BFLOAT16, [*BFLOAT16[:1], "hardware.sampler_dtype=float32"]], ids=str
)
def test_a_single_update_that_never_reached_the_sampler_stops_the_run(dtypes, make_run):
    """The first update of the warm-up is far below the rounding of bfloat16."""
    run = make_run("algorithm=two_grpo", "sync_check.prompts=4", LEARNING_RATE, *dtypes)
    loads = run.collector.sampler.load
    run.collector.sampler.load = lambda weights: None
    with pytest.raises(SyncFault, match="stale") as stopped:
        loop.train(run)
    assert run.policy.num_updates == 2
    assert stopped.value.exit_code == 76
    assert "To resume: python" in stopped.value.__notes__[0]
    if dtypes == BFLOAT16:
        assert "same log-probabilities to the last bit" in str(stopped.value)
    loads(run.policy.weights())
    run.diagnostics.sync_check.check_sync(
        run.collector.sampler, run.policy, run.collector.sampling, run.config
    )


@pytest.mark.parametrize("dtypes", [[], BFLOAT16], ids=["float32", "bfloat16"])
def test_a_run_whose_syncs_all_arrive_is_never_stopped(dtypes, make_run, tmp_path):
    """Nor by an update of nothing: sampler and policy both repeat themselves."""
    run = make_run(
        "algorithm=two_grpo", "sync_check.prompts=4", LEARNING_RATE,
        "evaluation.at_end=false", "evaluation.validation_every=0", *dtypes,
    )  # fmt: skip
    loop.train(run)
    *rows, _ = read_rows(tmp_path / "run")  # the last has the export's seconds
    assert len(rows) == 6
    bound = 0.02 if dtypes else 1e-6
    assert all(row["canary/kl"] < bound for row in rows)
    arguments = (run.collector.sampler, run.policy, run.collector.sampling, run.config)
    assert run.diagnostics.sync_check.check_sync(
        *arguments
    ) == run.diagnostics.sync_check.check_sync(*arguments)


def test_canary_and_mismatch_can_be_switched_off(make_run):
    run = make_run("algorithm=two_grpo", "tracking.mismatch_rollouts=0")
    row = loop.train_step(run, 0)
    assert not [key for key in row if key.startswith(("canary/", "mismatch/"))]
