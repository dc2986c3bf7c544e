"""A grading process: reads one pair of JSON strings a line, writes one judgement a line.

Started by `twogrpo.rewards.worker_pool` as `python -m twogrpo.rewards.worker_process DEADLINE
[PATTERN]`: it compares a response with its reference, or searches it for a regular
expression. It imports neither torch nor transformers, so that a killed worker is replaced in a
fraction of a second.
"""

from __future__ import annotations

import json
import logging
import re
import resource
import signal
import sys
from collections.abc import Callable

Judge = Callable[[str, str, bool], tuple[bool, str]]

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
    judge = _matcher(*sys.argv[2:]) if sys.argv[2:] else _comparer()
    replies, sys.stdout = sys.stdout, sys.stderr  # nothing else may write between the replies
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, deadline_seconds + _GRACE_SECONDS)
        reference, response, literal = json.loads(line)
        judgement = judge(reference, response, literal)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(judgement), file=replies, flush=True)


def _comparer() -> Judge:
    from twogrpo.rewards.math_grading.judge import judge

    def compare(reference: str, response: str, literal: bool) -> tuple[bool, str]:
        judgement = judge(reference, response, literal=literal)
        return judgement.equal, judgement.reason

    return compare


def _matcher(pattern: str) -> Judge:
    search = re.compile(pattern, re.DOTALL).search
    return lambda _, response, __: (search(response) is not None, "")


if __name__ == "__main__":
    main()
