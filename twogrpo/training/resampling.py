"""Selects the groups of a training batch: as drawn, or with zero-variance groups replaced
(2-GRPO+RS), avoided or cut down to a pair.

The rewards of a zero-variance group are all equal, so its advantages and its gradient are zero.
All other groups are groups with signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from twogrpo.config.schema import Config
from twogrpo.types import Draw, Group

Skips = Callable[[Draw], bool]
# A lower bound on the estimated share of groups with signal, which limits the size of a round.
SMALLEST_SHARE = 0.05


class GroupSource(Protocol):
    """Samples and grades groups; implemented by twogrpo/training/collector.py."""

    def new_prompts(self, count: int, *, skips: Skips = lambda _: False) -> list[Group]:
        """Graded groups for `count` new prompts; draws that `skips` is true of are not sampled."""
        ...

    def same_prompts(self, groups: Sequence[Group]) -> list[Group]:
        """A new graded group for the prompt of each group."""
        ...


@dataclass
class Counters:
    """Rollouts since the start of the run; generated = kept + discarded + those of the surplus."""

    generated: int = 0  # all that were sampled
    kept: int = 0  # entered a training batch
    discarded: int = 0  # of zero-variance groups that were replaced, or not in a group's pair
    trained_on: int = 0  # had a non-zero advantage, so went through the model; again if replayed


class Resampling(Protocol):
    """Fills a batch with groups."""

    def fill(self, source: GroupSource, *, step: int, counters: Counters) -> list[Group]:
        """Draws groups, returns those to train on and counts `kept` and `discarded`."""
        ...

    def state(self) -> dict[str, Any]:
        """The state that the next batch depends on, as JSON; empty if nothing is carried over."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores `state()`."""
        assert not state


@dataclass
class NoResampling(Resampling):
    """The batch is the drawn groups, including zero-variance ones."""

    batch_size: int

    def fill(self, source: GroupSource, *, step: int, counters: Counters) -> list[Group]:
        """Returns one group for each of `batch_size` prompts."""
        groups = source.new_prompts(self.batch_size)
        counters.kept += num_rollouts(groups)
        return groups


@dataclass
class NewPromptResampling(Resampling):
    """New prompts replace zero-variance groups, as in DAPO's dynamic sampling (2503.14476).

    The budget counts rollouts from the start of the run: after step t at most
    (t + 1) · `budget_per_step` have been sampled, so never more than by the baseline at the same
    step. Groups with signal beyond the batch size are carried over in `surplus`, with the
    log-probabilities of the policy that sampled them. If the budget is spent before the batch is
    full, zero-variance groups of this step fill it (ours): the batch keeps its size and its
    denominator, as in 2-GRPO.
    """

    batch_size: int
    group_size: int
    budget_per_step: int
    surplus: list[Group] = field(default_factory=list)
    signal_share: float = 0.5  # of the groups drawn in the last step; sizes the first round

    def fill(self, source: GroupSource, *, step: int, counters: Counters) -> list[Group]:
        """Returns `batch_size` groups in the order of their draws.

        All have a signal unless the budget is spent.
        """
        budget = (step + 1) * self.budget_per_step
        with_signal, zero_variance = list(self.surplus), list[Group]()
        while len(with_signal) < self.batch_size:
            affordable = (budget - counters.generated) // self.group_size
            if affordable == 0:
                break
            expected = math.ceil((self.batch_size - len(with_signal)) / self.signal_share)
            # No round, and so no surplus, is larger than the batch: every step draws new groups.
            fresh = source.new_prompts(min(expected, affordable, self.batch_size))
            with_signal += [group for group in fresh if group.has_signal]
            zero_variance += [group for group in fresh if not group.has_signal]
            num_fresh = len(with_signal) - len(self.surplus)
            share = num_fresh / (num_fresh + len(zero_variance))
            self.signal_share = max(share, SMALLEST_SHARE)
        batch, self.surplus = with_signal[: self.batch_size], with_signal[self.batch_size :]
        filling = zero_variance[: self.batch_size - len(batch)]
        counters.kept += num_rollouts(batch) + num_rollouts(filling)
        counters.discarded += num_rollouts(zero_variance) - num_rollouts(filling)
        return sorted(batch + filling, key=lambda group: group.draw)

    def state(self) -> dict[str, Any]:
        """The surplus and the share that sizes the next round."""
        surplus = [group.to_json() for group in self.surplus]
        return {"surplus": surplus, "signal_share": self.signal_share}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores `state()`."""
        self.surplus = [Group.from_json(group) for group in state["surplus"]]
        self.signal_share = state["signal_share"]


@dataclass
class SamePromptResampling(Resampling):
    """Each prompt is resampled, a full group at a time, until its group has a signal.

    At most `num_attempts` groups per prompt are drawn; the last one is kept even without a signal,
    and all count towards the budget. Given that its group ends with a signal, a prompt of success
    rate p has 1 / (1 − p^G − (1−p)^G) times its weight without resampling: the mode shifts weight
    to prompts whose groups seldom have a signal.
    """

    batch_size: int
    num_attempts: int

    def fill(self, source: GroupSource, *, step: int, counters: Counters) -> list[Group]:
        """Returns one group for each of `batch_size` prompts, in the order of the prompts."""
        batch = source.new_prompts(self.batch_size)
        counters.kept += num_rollouts(batch)
        for _ in range(self.num_attempts - 1):
            places = [place for place, group in enumerate(batch) if not group.has_signal]
            if not places:
                break
            fresh = source.same_prompts([batch[place] for place in places])
            counters.discarded += num_rollouts(fresh)  # as many as they replace
            for place, group in zip(places, fresh, strict=True):
                batch[place] = group
        return batch


@dataclass
class SkipSolved(Resampling):
    """Prompts that were solved in their last visits are mostly not sampled, after GRESO (Zheng et
    al. 2025, 2506.02177).

    A prompt whose last z groups were right in every rollout is skipped with probability
    1 − `EXPLORED`^z, z at most `MOST_SOLVED`: even the easiest is sampled once in 16 draws. Unlike
    GRESO's, the exploration is not adapted, and prompts that are never solved are not skipped.
    """

    batch_size: int
    seed: int
    times_solved: dict[str, int] = field(default_factory=dict)  # in a row, by prompt

    EXPLORED = 0.5
    MOST_SOLVED = 4

    def fill(self, source: GroupSource, *, step: int, counters: Counters) -> list[Group]:
        """Returns one group for each of `batch_size` prompts that are not skipped."""
        groups = source.new_prompts(self.batch_size, skips=self._skips)
        counters.kept += num_rollouts(groups)
        for group in groups:
            name, is_solved = group.prompt.prompt_id, min(group.rewards) > 0
            self.times_solved[name] = (self.times_solved.get(name, 0) + 1) * is_solved
        return groups

    def _skips(self, draw: Draw) -> bool:
        times = min(self.times_solved.get(draw.prompt.prompt_id, 0), self.MOST_SOLVED)
        # A generator of its own, so that a resumed run skips the same draws.
        return bool(np.random.default_rng([self.seed, draw.number]).random() > self.EXPLORED**times)

    def state(self) -> dict[str, Any]:
        """How often each prompt was solved in a row."""
        return {"times_solved": dict(self.times_solved)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores `state()`."""
        self.times_solved = dict(state["times_solved"])


@dataclass
class Replay(Resampling):
    """Groups with signal of earlier steps stand in for zero-variance groups, the newest first and
    each once, with the log-probabilities of the policy that sampled them. At most a batch of them
    waits.
    """

    batch_size: int
    waiting: list[Group] = field(default_factory=list)

    def fill(self, source: GroupSource, *, step: int, counters: Counters) -> list[Group]:
        """Returns `batch_size` groups, in the order of the prompts drawn."""
        fresh = source.new_prompts(self.batch_size)
        num_zero = sum(not group.has_signal for group in fresh)
        num_replayed = min(num_zero, len(self.waiting))
        self.waiting, again = (
            self.waiting[: len(self.waiting) - num_replayed],
            self.waiting[len(self.waiting) - num_replayed :],
        )
        batch = [group if group.has_signal or not again else again.pop() for group in fresh]
        discarded = num_rollouts(fresh[:1]) * num_replayed
        counters.discarded += discarded
        counters.kept += num_rollouts(fresh) - discarded
        with_signal = [group for group in fresh if group.has_signal]
        self.waiting = (self.waiting + with_signal)[-self.batch_size :]
        return batch

    def state(self) -> dict[str, Any]:
        """The groups that wait."""
        return {"waiting": [group.to_json() for group in self.waiting]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores `state()`."""
        self.waiting = [Group.from_json(group) for group in state["waiting"]]


@dataclass
class OnePair(Resampling):
    """Trains on one right and one wrong rollout of each group: down-sampling to two rollouts by the
    largest variance (Xu et al. 2025, PODS, 2504.13818)."""

    batch_size: int

    def fill(self, source: GroupSource, *, step: int, counters: Counters) -> list[Group]:
        """Returns a pair for each of `batch_size` prompts; the other rollouts are discarded."""
        groups = source.new_prompts(self.batch_size)
        pairs = [best_and_worst(group) for group in groups]
        counters.kept += num_rollouts(pairs)
        counters.discarded += num_rollouts(groups) - num_rollouts(pairs)
        return pairs


def best_and_worst(group: Group) -> Group:
    """The group's first rollout of the highest reward with the first of the lowest, in the order of
    their sampling; its first two where all rewards are equal."""
    rewards = group.rewards
    chosen = [0, 1]
    if group.has_signal:
        chosen = sorted((rewards.index(max(rewards)), rewards.index(min(rewards))))
    return replace(
        group,
        rollouts=tuple(group.rollouts[i] for i in chosen),
        verdicts=tuple(group.verdicts[i] for i in chosen),
    )


def build_resampling(config: Config) -> Resampling:
    """Builds the resampling selected by `algorithm.resampling`."""
    algorithm, batch_size = config.algorithm, config.training.prompts_per_step
    if algorithm.resampling == "skip_solved":
        return SkipSolved(batch_size, config.seed)
    simple = {"none": NoResampling, "replay": Replay, "one_pair": OnePair}
    if algorithm.resampling in simple:
        return simple[algorithm.resampling](batch_size)
    budget_group_size = algorithm.resampling_budget_group_size
    assert budget_group_size is not None  # checked
    if algorithm.resampling == "same_prompt":
        return SamePromptResampling(
            batch_size, num_attempts=budget_group_size // algorithm.group_size
        )
    return NewPromptResampling(
        batch_size,
        group_size=algorithm.group_size,
        budget_per_step=batch_size * budget_group_size,
    )


def num_rollouts(groups: Sequence[Group]) -> int:
    """The total number of rollouts in the groups."""
    return sum(len(group.rollouts) for group in groups)
