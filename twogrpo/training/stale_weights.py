"""A sampler that samples with weights of some steps ago (`training.sync_every`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor

from twogrpo.rollout.protocol import Sampler

Weights = Iterable[tuple[str, Tensor]]


@dataclass
class StaleWeights:
    """The weights that the sampler samples with until the next hand-over.

    They are handed over every `every` steps, or never if None: then all is sampled by the initial
    policy. In between the sampler holds the current weights all the same, for validation, and gets
    the older ones back just before it samples. With `every` = 1 nothing is kept.
    """

    every: int | None
    _kept: list[tuple[str, Tensor]] = field(default_factory=list, init=False)

    def sampled_at(self, step: int) -> int:
        """The step whose policy samples in `step`.

        >>> [StaleWeights(5).sampled_at(step) for step in (0, 4, 5, 9)]
        [0, 0, 5, 5]
        >>> StaleWeights(None).sampled_at(9)
        0
        """
        return 0 if self.every is None else step - step % self.every

    def can_resume_at(self, step: int) -> bool:
        """Whether a checkpoint before `step` has all weights that its next samples need."""
        return self.every is None or self.sampled_at(step) == step

    def after_update(self, weights: Callable[[], Weights], step: int) -> None:
        """Keeps a copy of the weights if `step`, the next to sample, is to sample with them."""
        has_initial = self.every is None and bool(self._kept)
        if self.every != 1 and self.sampled_at(step) == step and not has_initial:
            # On the CPU: a GPU has no room for a second copy.
            self._kept = [(n, tensor.detach().to("cpu", copy=True)) for n, tensor in weights()]

    def before_sampling(self, sampler: Sampler, step: int) -> None:
        """Gives the sampler the older weights back where `step` is to sample with them."""
        if self.sampled_at(step) != step:
            sampler.load(self._kept)
