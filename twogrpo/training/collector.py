"""Lines 1 to 3 of the algorithm in loop.py: draws prompts, samples and grades their groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from twogrpo.data.prompts import PromptStream
from twogrpo.rewards.protocol import Reward
from twogrpo.rollout.groups import grade_groups, sample_groups
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.run_record.phase_timer import PhaseTimer
from twogrpo.training.label_noise import with_label_noise
from twogrpo.training.preemption import PreemptionHandler
from twogrpo.training.resampling import Counters, Resampling, Skips, num_rollouts
from twogrpo.training.stale_weights import StaleWeights, Weights
from twogrpo.types import Draw, Group


@dataclass(frozen=True)
class Collected:
    """The groups of a step: the training batch, and all drawn groups including discarded ones."""

    batch: Sequence[Group]
    drawn: Sequence[Group]


@dataclass
class Collector:
    """Produces a step's groups; owns the prompts, sampler, reward, resampling and counters."""

    stream: PromptStream
    sampler: Sampler
    reward: Reward
    resampling: Resampling
    sampling: SamplingParams
    group_size: int
    seed: int
    noise: float
    stale_weights: StaleWeights
    timer: PhaseTimer
    preemption: PreemptionHandler
    counters: Counters = field(default_factory=Counters)
    _step: int = field(default=0, init=False)
    _drawn: list[Group] = field(default_factory=list, init=False)

    def collect(self, step: int) -> Collected:
        """Samples and grades a step's groups, then puts the sampler to sleep.

        Raises:
            Preempted: SIGTERM arrived; the step is discarded.
        """
        self._step, self._drawn = step, []
        self.stale_weights.before_sampling(self.sampler, step)
        batch = self.resampling.fill(self, step=step, counters=self.counters)
        self.sampler.sleep()
        return Collected(batch, self._drawn)

    def load(self, weights: Callable[[], Weights], *, step: int) -> None:
        """Hands the policy's weights to the sampler; `step` is the next to sample."""
        self.sampler.load(weights())
        self.stale_weights.after_update(weights, step)

    def new_prompts(self, count: int, *, skips: Skips = lambda _: False) -> list[Group]:
        """Graded groups for the stream's next `count` prompts that are not skipped."""
        draws = list[Draw]()
        while len(draws) < count:  # 1  q ~ Q
            draws += [draw for draw in self.stream.next(count - len(draws)) if not skips(draw)]
        return self._sample_and_grade(draws)

    def same_prompts(self, groups: Sequence[Group]) -> list[Group]:
        """A new graded group for the prompt of each group."""
        return self._sample_and_grade(
            [Draw(group.draw, group.prompt, group.attempt + 1) for group in groups]
        )

    def _sample_and_grade(self, draws: Sequence[Draw]) -> list[Group]:
        self.preemption.check()
        with self.timer.phase("generate"):
            groups = sample_groups(  # 2  o_1 … o_G ~ π_old
                draws,
                self.sampler,
                self.sampling,
                group_size=self.group_size,
                seed=self.seed,
                step=self.stale_weights.sampled_at(self._step),
            )
        with self.timer.phase("score"):
            groups = grade_groups(groups, self.reward)  # 3  r_1 … r_G
            groups = with_label_noise(groups, self.noise, seed=self.seed)
        self.counters.generated += num_rollouts(groups)
        self._drawn += groups
        return groups

    def state(self) -> dict[str, Any]:
        """Everything besides the weights that decides the next groups, as JSON."""
        return {
            "stream_position": self.stream.position,
            "counters": asdict(self.counters),
            "resampling": self.resampling.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores `state()`."""
        self.stream.position = state["stream_position"]
        self.counters = Counters(**state["counters"])
        self.resampling.load_state(state["resampling"])
