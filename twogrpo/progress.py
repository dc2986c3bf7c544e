"""What a run says while it works: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """`with Progress(...) as progress: progress.update("reward 0.41")` once a step."""

    def __init__(self, label: str, *, total: int, done: int, every_seconds: float) -> None:
        self._label, self._total, self._done = label, total, done
        self._every_seconds = every_seconds
        self._steps_here = 0
        self._start = self._last_line = time.monotonic()
        is_terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, desc=label) if is_terminal else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.close()

    def update(self, text: str) -> None:
        """One step is done; `text` says how it went."""
        self._done += 1
        self._steps_here += 1
        if self._bar:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._last_line < self._every_seconds and self._done < self._total:
            return
        self._last_line = now
        left = (now - self._start) / self._steps_here * (self._total - self._done)
        minutes, seconds = divmod(round(left), 60)
        print(
            f"{self._label}  {self._done}/{self._total}  {text}  ETA {minutes}:{seconds:02d}",
            file=sys.stderr,
            flush=True,
        )
