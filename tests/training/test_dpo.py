"""The DPO arm: its gradient is that of the plain loss, however the micro-batches are split."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import make_group, parse_config, tiny_model
from twogrpo.core.dpo import dpo_loss, preference_over_all_pairs
from twogrpo.core.surrogates import log_likelihood, token_ratio_clipped
from twogrpo.policy.logprob_model import LogprobModel
from twogrpo.policy.policy import TransformersPolicy
from twogrpo.training import gradient_cosine, loop
from twogrpo.training.dpo import refresh_advantages
from twogrpo.training.minibatches import training_samples
from twogrpo.types import Completion, Group, Prompt, Verdict

BETA = 0.4
PROMPTS = [(3, 4, 5), (7, 2), (9, 9, 3, 1), (4, 4)]


def make_groups(group_size: int) -> list[Group]:
    """Random responses of different lengths; the last group has zero variance."""
    generator = torch.Generator().manual_seed(group_size)

    def completion(length: int) -> Completion:
        tokens = torch.randint(2, 18, (length,), generator=generator).tolist()
        return Completion(tuple(tokens), (0.0,) * length, "", "")

    groups = []
    for draw, prompt in enumerate(PROMPTS):
        lengths = torch.randint(1, 7, (group_size,), generator=generator).tolist()
        rewards = [float(i == draw % group_size and draw < 3) for i in range(group_size)]
        group = make_group(rewards, lengths, prompt=Prompt(str(draw), "", "", prompt), draw=draw)
        groups.append(replace(group, rollouts=tuple(map(completion, lengths))))
    return groups


def pair_weights(groups: list[Group]) -> torch.Tensor:
    return preference_over_all_pairs(torch.tensor([group.rewards for group in groups]))


def make_policy(*, seed: int, tokens_per_microbatch: int = 512) -> TransformersPolicy:
    config = parse_config(
        "algorithm=dpo", "algorithm.learning_rate_scale=1", "training.learning_rate=1e-3",
        "training.warmup_updates=1", "training.gradient_clip_norm=null",
        f"hardware.tokens_per_microbatch={tokens_per_microbatch}",
    )  # fmt: skip
    sections = {name: getattr(config, name) for name in ("algorithm", "training", "hardware")}
    return TransformersPolicy(tiny_model(seed), None, **sections, temperature=1.0)


def plain_dpo_gradient(groups: list[Group], policy, reference, weights_PGG) -> torch.Tensor:
    """The gradient of −log σ(r̂(o+) − r̂(o−)) by autograd, one response at a time."""

    def log_likelihood_of(logprob_model: LogprobModel, group: Group, index: int) -> torch.Tensor:
        tokens = group.prompt.token_ids + group.rollouts[index].token_ids
        logits = logprob_model.model(torch.tensor([tokens])).logits[0].log_softmax(dim=-1)
        first = len(group.prompt.token_ids)
        return sum(logits[t - 1, tokens[t]] for t in range(first, len(tokens)))

    loss = 0.0
    for group, weights_GG in zip(groups, weights_PGG, strict=True):
        for winner, loser in weights_GG.nonzero().tolist():
            margin = sum(
                sign * log_likelihood_of(logprob_model, group, index)
                for logprob_model, sign in ((policy.logprob_model, 1), (reference, -1))
                for index, sign in ((winner, sign), (loser, -sign))
            )
            loss = loss - weights_GG[winner, loser] * torch.log(torch.sigmoid(BETA * margin))
    policy.logprob_model.zero_grad()
    (loss / len(groups)).backward()
    return torch.cat([-p.grad.flatten() for p in policy.logprob_model.parameters()])


@pytest.mark.parametrize("group_size", [2, 4])
def test_the_gradient_is_that_of_the_plain_dpo_loss(make_config, group_size: int) -> None:
    config = make_config("algorithm=dpo", f"algorithm.preference_beta={BETA}")
    groups = make_groups(group_size)
    reference = LogprobModel(tiny_model(1), hardware=config.hardware, temperature=1.0)
    weights_PGG = pair_weights(groups)
    policy = make_policy(seed=0)
    expected = plain_dpo_gradient(groups, policy, reference, weights_PGG)
    # A budget of one token puts every sequence into its own micro-batch, so pairs are split.
    for tokens_per_microbatch in (1, 512):
        policy = make_policy(seed=0, tokens_per_microbatch=tokens_per_microbatch)
        sequences = training_samples(groups, config, step=0)
        sequences = refresh_advantages(sequences, policy, reference, config.algorithm)
        gradient = policy.gradient(sequences, surrogate=log_likelihood)
        assert expected.norm() > 1e-2
        assert (gradient - expected).norm() < 1e-5 * expected.norm()


def test_advantages_that_are_zero_at_the_reference_are_refreshed(make_config) -> None:
    """Rewards 1 > 0.1 > 0: the middle one wins one pair and loses one, so A = 0 at π_θ = π_ref."""
    config = make_config(
        "algorithm=dpo", "algorithm.group_size=3", f"algorithm.preference_beta={BETA}"
    )
    verdicts = tuple(Verdict(reward, reward == 1, "") for reward in (1.0, 0.1, 0.0))
    groups = [group.with_verdicts(verdicts) for group in make_groups(3)]
    sequences = training_samples(groups, config, step=0)
    assert [s.advantage for s in sequences][1::3] == [0.0] * len(groups)
    policy = make_policy(seed=0)
    reference = LogprobModel(tiny_model(1), hardware=config.hardware, temperature=1.0)
    weights_PGG = pair_weights(groups)
    assert torch.equal(weights_PGG[0] > 0, torch.ones(3, 3).triu(1) > 0)
    policy_logps, reference_logps = (
        torch.stack([logps.sum() for logps in scored.token_logps(sequences)])
        for scored in (policy, reference)
    )
    log_ratios_PG = (policy_logps - reference_logps).unflatten(0, (-1, 3)).requires_grad_()
    dpo_loss(log_ratios_PG, weights_PGG, beta=BETA).backward()
    refreshed = refresh_advantages(sequences, policy, reference, config.algorithm)
    advantages = [s.advantage for s in refreshed]
    # The loss is a mean over P groups; (1/(P·G)) Σ A_i ∇log π_i is minus its gradient.
    expected = -log_ratios_PG.grad.flatten() * log_ratios_PG.numel()
    assert advantages == pytest.approx(expected.tolist(), rel=1e-5)
    assert min(map(abs, advantages[1::3])) > 1e-3
    expected_gradient = plain_dpo_gradient(groups, policy, reference, weights_PGG)
    gradient = policy.gradient(refreshed, surrogate=log_likelihood)
    assert (gradient - expected_gradient).norm() < 1e-5 * expected_gradient.norm()


def test_only_paired_rollouts_have_advantages_and_zero_variance_groups_stay_in_the_mean(
    make_config,
) -> None:
    config = make_config("algorithm=dpo")
    groups = make_groups(4)
    policy, reference = make_policy(seed=0), make_policy(seed=0)
    sequences = refresh_advantages(
        training_samples(groups, config, step=0), policy, reference, config.algorithm
    )
    # At π_θ = π_ref: G · β · σ(0) = 4 · 0.1 · 1/2 for each winner, a third of it for its losers.
    advantages = [s.advantage for s in sequences]
    assert sorted(advantages) == pytest.approx([-0.2 / 3] * 9 + [0.0] * 4 + [0.2] * 3)
    assert advantages[-4:] == [0.0] * 4
    assert {s.token_weight for s in sequences} == {1 / 16}


def test_a_dpo_run_trains_and_logs_the_cosine(make_run) -> None:
    run = make_run("algorithm=dpo", "tracking.gradient_cosine_every=2", "evaluation.at_end=false")
    loop.train(run)
    *rows, _ = run.record.rows()  # the last has the export's seconds
    key = "gradient/cosine_of_grpo_and_dpo"
    assert [row["step"] for row in rows if key in row] == [0, 2, 4]
    assert all(0 < row[key] <= 1 for row in rows if key in row)
    assert rows[0]["policy/clip_fraction_high"] == 0
    assert rows[-1]["policy/kl_from_start"] > rows[0]["policy/kl_from_start"]


def test_at_the_reference_two_grpo_and_dpo_of_token_means_have_cosine_one(make_run) -> None:
    """π_θ = π_old = π_ref: every pair has the factor σ(0): the gradients differ by a constant."""
    run = make_run("algorithm=two_grpo", "tracking.gradient_cosine_every=1")
    row = loop.train_step(run, 0)
    assert row["gradient/cosine_of_grpo_and_dpo_of_token_means"] == pytest.approx(1, abs=1e-6)
    assert row["gradient/cosine_of_grpo_and_dpo"] < 1 - 1e-4  # responses differ in length


def test_the_cosine_ignores_groups_of_an_earlier_policy(make_config) -> None:
    config = make_config("algorithm=two_grpo_rs", "tracking.gradient_cosine_every=1")
    older, groups = make_groups(2), [replace(group, step=1) for group in make_groups(2)]
    policy, reference = make_policy(seed=0), make_policy(seed=1)
    expected = gradient_cosine.cosine_row(groups, policy, reference, config, step=1)
    assert expected
    assert gradient_cosine.cosine_row(older + groups, policy, reference, config, step=1) == expected
    zero_variance = groups[-1:]
    assert gradient_cosine.cosine_row(zero_variance, policy, reference, config, step=1) == {}


def test_gradient_takes_no_step_and_equals_that_of_the_update(make_config) -> None:
    config = make_config("algorithm=two_grpo")
    sequences = training_samples(make_groups(2), config, step=0)
    policy = make_policy(seed=0)
    before = [p.detach().clone() for p in policy.logprob_model.parameters()]
    gradient = policy.gradient(sequences, surrogate=token_ratio_clipped)
    assert all(
        torch.equal(a, b) for a, b in zip(before, policy.logprob_model.parameters(), strict=True)
    )
    policy.surrogate = token_ratio_clipped
    assert policy.update(sequences).gradient_norm == pytest.approx(gradient.norm().item(), rel=1e-5)
