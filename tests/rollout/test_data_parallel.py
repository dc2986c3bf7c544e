"""Each rank does its share and all get all, in order; tensor parallel neighbours do the same."""

import pytest

from twogrpo.distributed.process_group import Ranks
from twogrpo.rollout.data_parallel import DataParallelReward, DataParallelSampler
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.types import Prompt, Verdict

PROMPTS = [Prompt(str(i), "", "", (i,)) for i in range(5)]
SAMPLING = SamplingParams(1.0, 1.0, 0, 4)


class Engine:
    """Answers a prompt with its name, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def sample(self, prompts, seeds_PG, sampling):
        self.asked.append([prompt.prompt_id for prompt in prompts])
        return [(prompt.prompt_id, *seeds) for prompt, seeds in zip(prompts, seeds_PG, strict=True)]


@pytest.mark.parametrize(
    ("size", "parallel", "shares"),
    [
        (2, 1, [["0", "2", "4"], ["1", "3"]]),
        (4, 2, [["0", "2", "4"], ["0", "2", "4"], ["1", "3"], ["1", "3"]]),
        (8, 1, [["0"], ["1"], ["2"], ["3"], ["4"], [], [], []]),
    ],
)
def test_prompts_are_shared_out_and_come_back_in_order(monkeypatch, size, parallel, shares):
    """`shares` by rank, worked by hand; what the ranks give each other is made from them."""
    seeds_PG = [[10 * i] for i in range(len(PROMPTS))]
    given = [[(name, 10 * int(name)) for name in share] for share in shares]
    monkeypatch.setattr(Ranks, "all_gather", lambda self, mine: given)
    for rank, share in enumerate(shares):
        engine = Engine()
        found = DataParallelSampler(engine, Ranks(rank, size, rank), parallel)
        assert found.sample(PROMPTS, seeds_PG, SAMPLING) == [(str(i), 10 * i) for i in range(5)]
        assert engine.asked == [share]


def test_verdicts_come_back_in_order(monkeypatch):
    class Reward:
        grades_truncated = True

        def grade(self, responses, references):
            return [
                Verdict(float(r == s), r == s, r)
                for r, s in zip(responses, references, strict=True)
            ]

    responses, references = list("abcde"), list("abxde")
    shares = [Reward().grade(responses[rank::2], references[rank::2]) for rank in range(2)]
    monkeypatch.setattr(Ranks, "all_gather", lambda self, mine: shares)
    found = DataParallelReward(Reward(), Ranks(1, 2, 1)).grade(responses, references)
    assert [verdict.reason for verdict in found] == responses
    assert [verdict.reward for verdict in found] == [1, 1, 0, 1, 1]
