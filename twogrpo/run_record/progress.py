"""The progress of a run: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm


class Progress:
    """`with Progress(...) as progress: progress.update("reward 0.41")` once a step."""

    def __init__(
        self, label: str, *, total: int, done: int, every_seconds: float, is_shown: bool = True
    ) -> None:
        self._is_shown = is_shown
        self._label, self._total, self._done = label, total, done
        self._every_seconds = every_seconds
        self._steps_here = 0
        self._start = self._last_line = time.monotonic()
        is_terminal = sys.stderr.isatty() and is_shown
        self._bar = tqdm(total=total, initial=done, desc=label) if is_terminal else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.close()

    def update(self, text: str, steps: int = 1) -> None:
        """Counts the steps as done; `text` describes them."""
        self._done += steps
        self._steps_here += steps
        if self._bar:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(steps)
            return
        now, num_left = time.monotonic(), self._total - self._done
        is_due = now - self._last_line >= self._every_seconds or num_left <= 0
        if not (self._is_shown and is_due):
            return
        self._last_line = now
        minutes, seconds = divmod(round((now - self._start) / self._steps_here * num_left), 60)
        done = f"{self._done}/{self._total}"
        sys.stderr.write(f"{self._label}  {done}  {text}  ETA {minutes}:{seconds:02d}\n")
        sys.stderr.flush()
