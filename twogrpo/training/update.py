"""One update of the policy; one that is not finite is not made, and its mini-batch is saved."""

from __future__ import annotations

from twogrpo.errors import CheckpointFault, NotFiniteFault
from twogrpo.policy.policy import NonFiniteError
from twogrpo.policy.protocol import UpdateMetrics
from twogrpo.training.minibatches import Minibatch
from twogrpo.training.nonfinite_step import save
from twogrpo.training.run import Run


def update(run: Run, minibatch: Minibatch) -> UpdateMetrics:
    """Updates the policy on a mini-batch.

    Raises:
        NotFiniteFault: its loss or gradient is not finite; the mini-batch and policy are saved.
    """
    try:
        return run.policy.update(minibatch.samples)
    except NonFiniteError as error:
        try:
            folder = save(
                minibatch, run.policy, run.config, reason=str(error), is_writer=run.ranks.is_first
            )
            saved = f"Its batch and the policy are in {folder}"
        except (OSError, CheckpointFault) as save_error:
            saved = f"Its batch could not be saved: {save_error}"
        raise NotFiniteFault(
            f"step {minibatch.step}, mini-batch {minibatch.index}: {error}; the update was not "
            f"made. {saved}"
        ) from error
