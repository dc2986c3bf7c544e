"""A pupil who can reduce expressions but slips: it gives the start checkpoint its room to learn.

A model that only ever saw clean traces errs where it never learnt, and reinforcement finds
nothing to reinforce. After this pupil's traces it knows the right way and several wrong ones.
"""

import random
import re
from functools import partial

from twogrpo.data.tasks.chain_arithmetic import MODULUS, operate, reduce_once, trace

_LEFTMOST = re.compile(r"\d[-+*]\d")


def corrupt_trace(expression: str, error_rate: float, rng: random.Random) -> str:
    """A reduction in which each step is wrong with ``error_rate``, by either slip alike.

    Later steps go on from whatever was written. Where neither slip would be wrong (2*2 taken as
    2+2) the step is right.
    """
    return trace(expression, step=partial(_step, error_rate=error_rate, rng=rng))


def _step(expression: str, *, error_rate: float, rng: random.Random) -> str:
    right = reduce_once(expression)
    if rng.random() >= error_rate:
        return right
    slips = {forget_precedence(expression), mistake_operation(expression)} - {right}
    return rng.choice(sorted(slips)) if slips else right


def forget_precedence(expression: str) -> str:
    """Overlook parentheses and the precedence of ``*``: carry out the leftmost operation.

    >>> forget_precedence("4+5*(7-9)")
    '9*7-9'
    """
    flat = re.sub(r"[()]", "", expression)
    return _LEFTMOST.sub(lambda match: operate(*match.group()), flat, count=1)


def mistake_operation(expression: str) -> str:
    """Carry out the right operation wrongly, always in the same way.

    A sum is one too many, a difference is taken the other way round, a product is a sum.

    >>> mistake_operation("4+5*7")
    '4+2'
    """
    return reduce_once(expression, operate=_mistaken)


def _mistaken(left: str, operator: str, right: str) -> str:
    a, b = int(left), int(right)
    return str({"+": a + b + 1, "-": b - a, "*": a + b}[operator] % MODULUS)
