"""A grading process: reads one task a line, writes one verdict a line, both as JSON.

`twogrpo.rewards.worker_pool` starts it as `python -m twogrpo.rewards.worker_process DEADLINE MODULE
WARM_UP`; MODULE has the function `judge`. It imports neither torch nor transformers, so a killed
worker is replaced in a fraction of a second.
"""

from __future__ import annotations

import importlib
import json
import logging
import resource
import signal
import sys
from dataclasses import astuple

_MEMORY_BYTES = 4 * 2**30
_GRACE_SECONDS = 1.0


def main() -> None:
    """Serves until standard input ends.

    The alarm keeps its default action, which ends the process even inside C code: a worker whose
    parent was killed does not outlive its task.
    """
    deadline_seconds, module, warm_up = float(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    logging.disable(logging.CRITICAL)
    sys.set_int_max_str_digits(0)
    replies, sys.stdout = sys.stdout, sys.stderr  # nothing else may write between the replies
    judge = importlib.import_module(module).judge
    judge(**warm_up)
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, deadline_seconds + _GRACE_SECONDS)
        verdict = judge(**json.loads(line))
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(astuple(verdict)), file=replies, flush=True)


if __name__ == "__main__":
    main()
