"""Selects the groups of a training batch: as drawn, or with zero-variance groups replaced
(2-GRPO+RS).

The rewards of a zero-variance group are all equal, so its advantages and its gradient are zero.
All other groups are groups with signal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twogrpo.config.schema import Config
from twogrpo.types import Group

# A lower bound on the estimated share of groups with signal, which limits the size of a round.
SMALLEST_SHARE = 0.05


class GroupSource(Protocol):
    """Samples and grades groups; implemented by twogrpo/training/collector.py."""

    def new_prompts(self, count: int) -> list[Group]:
        """Graded groups for `count` new prompts."""
        ...

    def same_prompts(self, groups: Sequence[Group]) -> list[Group]:
        """A new graded group for the prompt of each group."""
        ...


@dataclass
class Counters:
    """Rollouts since the start of the run; generated = kept + discarded + those of the surplus."""

    generated: int = 0  # all that were sampled
    kept: int = 0  # entered a training batch
    discarded: int = 0  # of zero-variance groups that were replaced
    trained_on: int = 0  # of those kept: had a non-zero advantage, so went through the model


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


def build_resampling(config: Config) -> Resampling:
    """Builds the resampling selected by `algorithm.resampling`."""
    algorithm, batch_size = config.algorithm, config.training.prompts_per_step
    if algorithm.resampling == "none":
        return NoResampling(batch_size)
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
