"""SIGTERM, by which Slurm and the clouds ask for the machine back: a run ends at its next boundary
between phases, with a checkpoint, and the same command goes on from there.
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
    """Whether SIGTERM came, while this is entered. A phase that takes longer than `grace_seconds`
    is not waited for: the process ends there and then, as if killed, but with a code that says so
    and after `at_last`.
    """

    def __init__(
        self,
        ranks: Ranks = SINGLE_PROCESS,
        *,
        grace_seconds: float,
        on_forced_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self._ranks = ranks
        self._came = False
        self._at_last = on_forced_exit
        self._late = threading.Timer(grace_seconds, self._give_up)
        self._late.daemon = True

    def __enter__(self) -> PreemptionHandler:
        # Only the main thread may be told; a run in another one is ended as the system does.
        self._is_listening = threading.current_thread() is threading.main_thread()
        if self._is_listening:
            self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._late.cancel()
        if self._is_listening:
            signal.signal(signal.SIGTERM, self._before)

    def check(self) -> None:
        """Raises Preempted on every rank if SIGTERM came to one: all must ask at the same place."""
        if any(self._ranks.all_gather(self._came)):
            raise Preempted(f"ended by SIGTERM: {CONTINUES}")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._came:
            self._came = True
            os.write(2, b"SIGTERM: a checkpoint after the current phase, then the end\n")
            self._late.start()

    def _give_up(self) -> None:
        os.write(2, f"SIGTERM: the phase takes too long to wait for; {CONTINUES}\n".encode())
        self._at_last()
        os._exit(EXIT_LATE)
