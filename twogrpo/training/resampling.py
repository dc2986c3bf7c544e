"""Which groups make a training batch: as drawn, or dead ones replaced (2-GRPO+RS).

A group is dead when its rewards are all equal: its advantages, so its gradient, are zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twogrpo.types import Group, Prompt

# A later draw of the same prompt is numbered this much higher, so that it has seeds of its own.
REDRAW = 1 << 40


class Draw(Protocol):
    """Samples and scores."""

    def __call__(self, count: int, *, again: Sequence[Group] = ()) -> list[Group]:
        """Groups of `count` fresh prompts, or of the prompts of the `count` groups `again`."""
        ...


# Below it an estimated share of mixed groups would ask for rounds of absurd size.
SMALLEST_SHARE = 0.05


@dataclass
class Counters:
    """Rollouts since the start of the run; generated = kept + discarded + those of the surplus."""

    generated: int = 0  # sampled, whatever became of them
    kept: int = 0  # entered a training batch
    discarded: int = 0  # of dead groups that made room for others
    trained_on: int = 0  # of those kept: had an advantage, so went through the model


class Resampling(Protocol):
    """Fills a batch of groups by drawing."""

    def collect(self, draw: Draw, *, step: int, counters: Counters) -> list[Group]:
        """The groups to train on; draws and counts what it takes."""
        ...

    def state(self) -> dict[str, Any]:
        """What the next batch depends on, as JSON; empty where nothing is carried over."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        assert not state


@dataclass
class NoResampling(Resampling):
    """The batch is what was drawn, dead groups included."""

    wanted: int

    def collect(self, draw: Draw, *, step: int, counters: Counters) -> list[Group]:
        """`wanted` groups of as many prompts."""
        groups = draw(self.wanted)
        counters.kept += num_rollouts(groups)
        return groups


@dataclass
class NewPromptResampling:
    """Dead groups are replaced by new prompts', as in DAPO's dynamic sampling (2503.14476).

    The budget counts rollouts from the start of the run: after step t no more than
    (t + 1) · `budget_per_generation` have been sampled, so never more than the baseline's at the
    same step. Mixed groups beyond the batch wait in `surplus`, with the log-probabilities of the
    policy that sampled them. When the budget is spent before the batch is full, dead groups of this
    step take the places left (ours): the batch keeps its size and its denominator, as in
    2-GRPO.
    """

    wanted: int
    group_size: int
    budget_per_step: int
    surplus: list[Group] = field(default_factory=list)
    mixed_share: float = 0.5  # of the groups drawn in the last step; sizes the first round

    def collect(self, draw: Draw, *, step: int, counters: Counters) -> list[Group]:
        """`wanted` groups, all mixed unless the budget is spent, in the order of their draws."""
        budget = (step + 1) * self.budget_per_step
        mixed, dead = list(self.surplus), list[Group]()
        while len(mixed) < self.wanted:
            affordable = (budget - counters.generated) // self.group_size
            if affordable == 0:
                break
            expected = math.ceil((self.wanted - len(mixed)) / self.mixed_share)
            # No round is larger than the batch, so no surplus is: every step draws afresh.
            fresh = draw(min(expected, affordable, self.wanted))
            mixed += [group for group in fresh if group.has_signal]
            dead += [group for group in fresh if not group.has_signal]
            num_fresh_mixed = len(mixed) - len(self.surplus)
            share = num_fresh_mixed / (num_fresh_mixed + len(dead))
            self.mixed_share = max(share, SMALLEST_SHARE)
        batch, self.surplus = mixed[: self.wanted], mixed[self.wanted :]
        filling = dead[: self.wanted - len(batch)]
        counters.kept += num_rollouts(batch) + num_rollouts(filling)
        counters.discarded += num_rollouts(dead) - num_rollouts(filling)
        return sorted(batch + filling, key=lambda group: group.draw)

    def state(self) -> dict[str, Any]:
        """The surplus and the share that sizes the next round."""
        surplus = [group.to_json() for group in self.surplus]
        return {"surplus": surplus, "mixed_share": self.mixed_share}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continues from `state()`."""
        self.surplus = [Group.from_json(group) for group in state["surplus"]]
        self.mixed_share = state["mixed_share"]


@dataclass
class SamePromptResampling(Resampling):
    """Each prompt is sampled again, a whole group at a time, until its group is mixed.

    At most `num_draws` groups a prompt, the last of which stays though it be dead; all are charged.
    Given that it ends mixed, a prompt of success rate p weighs 1 / (1 − p^G − (1−p)^G) times what
    it does without resampling: the mode moves weight to the prompts that are seldom mixed.
    """

    wanted: int
    num_draws: int

    def collect(self, draw: Draw, *, step: int, counters: Counters) -> list[Group]:
        """`wanted` groups of as many prompts, in the order of the prompts."""
        batch = draw(self.wanted)
        counters.kept += num_rollouts(batch)
        for _ in range(self.num_draws - 1):
            dead = [place for place, group in enumerate(batch) if not group.has_signal]
            if not dead:
                break
            fresh = draw(len(dead), again=[batch[place] for place in dead])
            counters.discarded += num_rollouts(fresh)  # as many as they replace
            for place, group in zip(dead, fresh, strict=True):
                batch[place] = group
        return batch


def redrawn(groups: Sequence[Group]) -> list[tuple[int, Prompt]]:
    """The prompts of the groups, each with the number of its next draw."""
    return [(group.draw + REDRAW, group.prompt) for group in groups]


def num_rollouts(groups: list[Group]) -> int:
    """Of all the groups."""
    return sum(len(group.rollouts) for group in groups)
