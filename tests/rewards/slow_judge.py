"""A judge for tests of worker pools; it hangs where the response is "hang"."""

import time

from twogrpo.rewards.math_grading.judge import judge as judge_quickly
from twogrpo.types import Verdict


def judge(reference: str, response: str) -> Verdict:
    while response == "hang":
        time.sleep(60)
    return judge_quickly(reference, response)
