"""Reductions with random errors: the warm start on them leaves the model room to improve.

A model trained only on clean traces fails where it has learnt nothing, and reinforcement has
nothing to reinforce. Noisy traces teach it the right way and several wrong ones.
"""

import random
import re

from twogrpo.data.tasks.chain_arithmetic import MODULUS, operate, reduce_once, trace


def corrupt_trace(expression: str, error_rate: float, rng: random.Random) -> str:
    """A reduction whose steps are each wrong with probability ``error_rate``.

    Both kinds of error are equally likely, and later steps continue from the wrong one. Where
    neither would change the result (2*2 taken as 2+2) the step is correct.
    """

    def step(expression: str) -> str:
        right = reduce_once(expression)
        if rng.random() >= error_rate:
            return right
        wrong = {forget_precedence(expression), mistake_operation(expression)} - {right}
        return rng.choice(sorted(wrong)) if wrong else right

    return trace(expression, step=step)


def forget_precedence(expression: str) -> str:
    """Carry out the leftmost operation, ignoring parentheses and the precedence of ``*``.

    >>> forget_precedence("4+5*(7-9)")
    '9*7-9'
    """
    flat = re.sub(r"[()]", "", expression)
    return re.sub(r"\d[-+*]\d", lambda match: operate(*match.group()), flat, count=1)


def mistake_operation(expression: str) -> str:
    """Carry out the correct operation wrongly, always in the same way.

    A sum is one too large, a difference is reversed, a product becomes a sum.

    >>> mistake_operation("4+5*7")
    '4+2'
    """

    def mistaken(left: str, operator: str, right: str) -> str:
        a, b = int(left), int(right)
        return str({"+": a + b + 1, "-": b - a, "*": a + b}[operator] % MODULUS)

    return reduce_once(expression, operate=mistaken)
