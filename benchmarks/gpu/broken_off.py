"""scripts/train.py, broken off in its second step, while the sampler sleeps.

python -m benchmarks.gpu.broken_off sigterm algorithm=two_grpo …   saves, ends, and can be resumed
torchrun --standalone --nproc-per-node 2 -m benchmarks.gpu.broken_off error …   the last rank fails
"""

from __future__ import annotations

import itertools
import os
import runpy
import signal
import sys
from contextlib import AbstractContextManager

from twogrpo.run_record.phase_timer import PhaseTimer


def main(how: str) -> None:
    """Trains, and breaks off as the second step's π_old begins."""
    phase, steps = PhaseTimer.phase, itertools.count()

    def breaking_off(timer: PhaseTimer, name: str) -> AbstractContextManager[None]:
        if name == "old_logps" and next(steps) == 1:
            if how == "sigterm":
                os.kill(os.getpid(), signal.SIGTERM)
            elif os.environ["RANK"] == str(int(os.environ["WORLD_SIZE"]) - 1):
                raise KeyError("of the last rank")
        return phase(timer, name)

    PhaseTimer.phase = breaking_off  # type: ignore[assignment, method-assign]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    how = sys.argv.pop(1)
    sys.argv[0] = "scripts/train.py"
    main(how)
