"""Preemption by SIGTERM, as Slurm and clouds announce it: a run writes a checkpoint at its next
phase boundary and exits, and the same command resumes it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.errors import EXIT_LATE, Preempted

CONTINUES = "the same command continues at the last checkpoint"


class PreemptionHandler:
    """Catches SIGTERM while entered. If the current phase takes longer than `grace_seconds`, the
    process exits without a checkpoint, after `on_forced_exit` and with EXIT_LATE.
    """

    def __init__(
        self,
        ranks: Ranks = SINGLE_PROCESS,
        *,
        grace_seconds: float,
        on_forced_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self._ranks = ranks
        self.is_received = False
        self._on_forced_exit = on_forced_exit
        self._grace_timer = threading.Timer(grace_seconds, self._force_exit)
        self._grace_timer.daemon = True

    def __enter__(self) -> PreemptionHandler:
        # Python allows signal handlers in the main thread only; elsewhere SIGTERM just kills.
        self._is_listening = threading.current_thread() is threading.main_thread()
        if self._is_listening:
            self._previous_handler = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._grace_timer.cancel()
        if self._is_listening:
            signal.signal(signal.SIGTERM, self._previous_handler)

    def check(self) -> None:
        """Raises Preempted on all ranks if any received SIGTERM; all ranks must call it."""
        if any(self._ranks.all_gather(self.is_received)):
            raise Preempted(f"ended by SIGTERM: {CONTINUES}")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.is_received:
            self.is_received = True
            os.write(2, b"SIGTERM: saves after this phase, if it can resume there, then exits\n")
            self._grace_timer.start()

    def _force_exit(self) -> None:
        os.write(2, f"SIGTERM: the phase takes too long to wait for; {CONTINUES}\n".encode())
        self._on_forced_exit()
        os._exit(EXIT_LATE)
