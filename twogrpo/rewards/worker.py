"""A grading process: reads one pair of JSON strings a line, writes one judgement a line.

Started by `twogrpo.rewards.workers` as `python -m twogrpo.rewards.worker DEADLINE`. It imports
neither torch nor transformers, so that a killed worker is replaced in a fraction of a second.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys

_MEMORY_BYTES = 4 * 2**30
_GRACE_SECONDS = 1.0


def main() -> None:
    """Serves until standard input ends.

    The alarm keeps its default action, which ends the process even inside of C code: a worker
    whose parent was killed does not outlive its item.
    """
    deadline_seconds = float(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    logging.disable(logging.CRITICAL)
    sys.set_int_max_str_digits(0)
    from twogrpo.rewards.equivalence import judge

    replies, sys.stdout = sys.stdout, sys.stderr  # nothing else may write between the replies
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, deadline_seconds + _GRACE_SECONDS)
        reference, response, literal = json.loads(line)
        judgement = judge(reference, response, literal=literal)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps([judgement.equal, judgement.reason]), file=replies, flush=True)


if __name__ == "__main__":
    main()
