"""An optimizer step that is not finite is not taken; its batch and policy are saved."""

import json
import math
import re

import pytest
import torch
from safetensors.torch import load_file

from tests.training.test_loop import BRIEF, full_disk
from twogrpo.errors import NotFiniteFault
from twogrpo.policy.protocol import UpdateMetrics
from twogrpo.run_record.files import read_rows
from twogrpo.training import loop
from twogrpo.training.minibatches import Minibatch
from twogrpo.training.update import update

ARM = ["algorithm=two_grpo", *BRIEF]
NOTHING_DONE = UpdateMetrics(0.0, 0.0, 0.0, 0.0, 0, 0)


def weights(run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.policy.weights()}


@pytest.fixture
def poisoned(make_run, tmp_path):
    """A run stopped at its second step by a log π_old of −1e38: that ratio is inf."""
    run = make_run(*ARM)
    update, seen = run.policy.update, []

    def poisoned_update(sequences):
        seen.append(weights(run))
        if len(seen) == 4:  # the second mini-batch of the second step
            bad = next(i for i, s in enumerate(sequences) if s.advantage < 0)
            sequences[bad].old_logps[0] = -1e38
            run.poisoned = bad
        return update(sequences)

    run.policy.update = poisoned_update
    with pytest.raises(NotFiniteFault) as stopped:
        loop.train(run)
    run.weights_before, run.message = seen[-1], str(stopped.value)
    assert stopped.value.exit_code == 70
    return run


def test_the_run_stops_before_the_step_and_keeps_batch_and_policy(poisoned, tmp_path):
    folder = tmp_path / "run/bad_batch-000001-1"
    assert re.search(r"step 1, mini-batch 1: loss (inf|nan)", poisoned.message)
    assert str(folder) in poisoned.message
    for name, tensor in weights(poisoned).items():
        assert torch.equal(tensor, poisoned.weights_before[name])
    saved = load_file(folder / "policy/model.safetensors")
    assert saved and all(t.equal(poisoned.weights_before[name]) for name, t in saved.items())
    assert [row["step"] for row in read_rows(tmp_path / "run")] == [0]


def test_a_full_disk_does_not_hide_the_fault(make_run, tmp_path):
    run = make_run(*ARM)
    run.policy.surrogate = lambda logps, *_, **__: logps * math.nan
    (batch, *_) = minibatches_of(run)
    with full_disk(), pytest.raises(NotFiniteFault, match=r"loss nan .*disk is full"):
        update(run, batch)
    assert not list((tmp_path / "run").rglob(".*.tmp"))


def minibatches_of(run) -> list[Minibatch]:
    """The mini-batches of the first step."""
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", lambda run, step: steps.append(step) or NOTHING_DONE)
        loop.train_step(run, 0)
    return steps


def test_the_batch_is_kept_with_ids_tokens_rewards(poisoned, tmp_path):
    content = json.loads((tmp_path / "run/bad_batch-000001-1/batch.json").read_text())
    assert content["step"] == content["minibatch"] == 1
    sequences = content["sequences"]
    assert len(sequences) == 16  # 8 prompts × 2
    for first, second in zip(sequences[::2], sequences[1::2], strict=True):
        assert first["prompt_id"] == second["prompt_id"]
        assert first["prompt_token_ids"] == second["prompt_token_ids"]
        mixed = first["reward"] != second["reward"]
        assert (first["advantage"] != 0) == (second["advantage"] != 0) == mixed
        assert {first["reward"], second["reward"]} <= {0.0, 1.0}
    assert sequences[poisoned.poisoned]["old_logps"][0] == pytest.approx(-1e38)
