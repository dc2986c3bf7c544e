"""2-GRPO and 16-GRPO solve a bandit with a known optimum, through the real loop.

The bandit has an arm for each token: the first and only token of the response is the arm pulled,
three of the 18 pay 1 and the others nothing, whatever the prompt. The optimum is reward 1; the
start policy gets about 3/18. Same rollouts per mini-batch and the paper's learning rate rule.
"""

import pytest

from twogrpo.run_record.files import read_rows
from twogrpo.training import loop
from twogrpo.types import Verdict

PAYING = ("3", "7", "+")
BANDIT = [
    "dataset.max_response_tokens=1", "dataset.num_prompts=64", "training.epochs=40",
    "training.prompts_per_step=64", "training.prompts_per_minibatch=8",
    "training.learning_rate=1e-4", "checkpointing.every=1000", "evaluation.at_end=false",
    "evaluation.validation_every=0", "tracking.kl_rollouts=0",
]  # fmt: skip


class Bandit:
    grades_truncated = True

    def grade(self, responses, references):
        return [Verdict(float(r in PAYING), r in PAYING, "pulled") for r in responses]

    def close(self):
        pass


@pytest.mark.parametrize(
    ("algorithm", "steps"), [("grpo", 15), ("two_grpo", 40), ("two_grpo_rs", 30)]
)
def test_the_bandit_is_solved(algorithm, steps, make_run, tmp_path):
    run = make_run(*BANDIT, f"algorithm={algorithm}", f"training.epochs={steps}")
    run.collector.reward = Bandit()
    loop.train(run)
    rows = read_rows(tmp_path / "run")
    curve = [row["reward/mean"] for row in rows if "reward/mean" in row]
    assert curve[0] < 0.4
    assert sum(curve[-3:]) / 3 > 0.95


def test_equal_rewards_leave_the_policy_unchanged(make_run, tmp_path):
    """The control: where every arm pays, all groups have zero variance."""
    run = make_run(*BANDIT, "algorithm=two_grpo", "training.epochs=3")
    run.collector.reward = Bandit()
    run.collector.reward.grade = lambda responses, _: [Verdict(1.0, True, "") for _ in responses]
    start = [weight.clone() for _, weight in run.policy.weights()]
    loop.train(run)
    assert run.collector.counters.trained_on == 0
    for before, (_, after) in zip(start, run.policy.weights(), strict=True):
        assert (before == after).all()
