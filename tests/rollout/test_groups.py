"""Seeds, groups and scores: a seed for each rollout, a verdict for each response."""

import itertools

import pytest

from twogrpo.rewards.exact_answer import ExactAnswer
from twogrpo.rollout.groups import grade_groups, rollout_seed, sample_groups
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.types import Completion, Draw, Group, Prompt, Verdict

SAMPLING = SamplingParams(1.0, 1.0, 0, 8)


def test_seeds_differ_in_everything_that_names_a_rollout():
    names = list(itertools.product((0, 1), (0, 1, 12), ("a", "b", "2/a"), (0, 1, 2), (0, 1)))
    seeds = {rollout_seed(*name) for name in names}
    assert len(seeds) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_the_same_on_every_machine():
    # Pinned: a change here changes every run and breaks every resumed one.
    assert rollout_seed(0, 0, "rl_pool/1+2*3", 0) == 4823303363661300233
    assert rollout_seed(0, 0, "rl_pool/1+2*3", 1) == 4112528594691845831


class SeedRollout:
    """Responds with its seed."""

    def load(self, weights):
        pass

    def close(self):
        pass

    def sample(self, prompts, seeds_PG, sampling):
        assert sampling is SAMPLING
        return [
            tuple(Completion((seed,), (0.0,), f"{p.text}{seed}", "stop") for seed in seeds)
            for p, seeds in zip(prompts, seeds_PG, strict=True)
        ]


def test_groups_have_their_prompt_draw_step_and_seeds():
    prompts = [Prompt("a", "1=", "1", (3, 17)), Prompt("b", "2=", "2", (4, 17))]
    groups = sample_groups(
        [Draw(7, prompts[0]), Draw(8, prompts[1], attempt=1)],
        SeedRollout(),
        SAMPLING,
        group_size=3,
        seed=5,
        step=2,
    )
    assert [(g.prompt, g.draw, g.attempt, g.step) for g in groups] == [
        (prompts[0], 7, 0, 2),
        (prompts[1], 8, 1, 2),
    ]
    for group in groups:
        assert [r.token_ids[0] for r in group.rollouts] == [
            rollout_seed(5, group.draw, group.prompt.prompt_id, index, group.attempt)
            for index in range(3)
        ]
    seeds = [rollout.token_ids for group in groups for rollout in group.rollouts]
    assert len(set(seeds)) == 6


def responses(reference: str, *answers: tuple[str, str]) -> Group:
    return Group(
        prompt=Prompt(reference, "", reference, (1,)),
        draw=0,
        step=0,
        rollouts=tuple(Completion((3,), (0.0,), text, reason) for text, reason in answers),
    )


def test_each_response_is_graded_against_its_own_prompt_s_reference():
    groups = grade_groups(
        [responses("3", ("1+2=3", "stop"), ("4", "stop")), responses("4", ("3", "stop"))],
        ExactAnswer(),
    )
    assert [group.rewards for group in groups] == [(1, 0), (0,)]
    assert [[v.reason for v in group.verdicts] for group in groups] == [
        ["correct", "wrong"],
        ["wrong"],
    ]


def test_a_response_that_was_cut_is_wrong_unless_the_reward_judges_such():
    cut = responses("3", ("3", "length"), ("3", "stop"))
    [group] = grade_groups([cut], ExactAnswer())
    assert group.verdicts == (Verdict(0.0, False, "truncated"), Verdict(1.0, True, "correct"))
    lenient = ExactAnswer()
    lenient.grades_truncated = True
    [group] = grade_groups([cut], lenient)
    assert group.rewards == (1, 1)


@pytest.mark.parametrize(
    ("rewards", "has_signal"), [((1, 0), True), ((1, 1), False), ((0, 0), False)]
)
def test_a_group_has_a_signal_where_its_rewards_differ(rewards, has_signal):
    group = responses("3", ("", "stop"), ("", "stop"))
    group = group.with_verdicts(tuple(Verdict(reward, bool(reward), "") for reward in rewards))
    assert group.has_signal == has_signal
