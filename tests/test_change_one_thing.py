"""README's "Change one thing", followed literally: only in the places that it names, then one step.

Each test edits a copy of the repository and trains in it. A recipe that needs a further place fails
here, and so does a test that edits a place README does not name.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# One step of eight prompts × four rollouts: by its seed, the tiny model solves some of them.
ONE_STEP = [
    "tracking=local",
    "output_dir=run",
    "training.epochs=1",
    "training.prompts_per_step=8",
    "training.prompts_per_minibatch=4",
    "dataset.num_prompts=8",
    "algorithm.group_size=4",
    "evaluation.at_end=false",
    "evaluation.validation_every=0",
]


class Copy:
    """A copy of what training needs, edited by one recipe."""

    def __init__(self, folder: Path, *, recipe: str) -> None:
        for part in ("twogrpo", "conf", "scripts", "assets/tiny"):
            shutil.copytree(
                ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        _, section = (ROOT / "README.md").read_text().split("### Change one thing\n")
        [text] = re.findall(rf"^- \*\*{recipe}\*\*:(.*(?:\n  .*)*)", section, re.MULTILINE)
        self.folder = folder
        self.places = set(re.findall(r"`([\w./]+)`", text))
        self.keys = re.findall(r"([\w.]+)=<name>", text)

    def append(self, place: str, text: str) -> None:
        """To a file that the recipe names, or as a new file of a folder that it names."""
        file = self.folder / place
        named = place if file.exists() else f"{Path(place).parent}/"
        assert named in self.places, f"README's recipe does not name {named}"
        with file.open("a") as stream:
            stream.write(text)

    def train(self, *overrides: str) -> str:
        """One step with these overrides; returns standard output."""
        done = subprocess.run(
            [sys.executable, "scripts/train.py", *ONE_STEP, *overrides],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def assert_trained(self) -> None:
        """A step was taken, with a gradient."""
        row, *_ = map(json.loads, (self.folder / "run/metrics.jsonl").read_text().splitlines())
        assert row["rollouts/trained_on"] > 0
        assert row["policy/gradient_norm"] > 0


ADVANTAGE = """

def mine(rewards_PG: Tensor, *, epsilon: float) -> Tensor:
    print("mine was called")
    return 2 * centred(rewards_PG)


ADVANTAGES["mine"] = Advantage(mine)
"""

SURROGATE = """

def mine(
    policy_logps_NT: Tensor,
    old_logps_NT: Tensor,
    *,
    advantages_N: Tensor,
    response_mask_NT: Tensor,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    print("mine was called", "with old_logps" * (not old_logps_NT.equal(policy_logps_NT)))
    ratios_NT = torch.exp(_masked(policy_logps_NT - old_logps_NT, response_mask_NT))
    return advantages_N[:, None] * ratios_NT


SURROGATES["mine"] = Surrogate(mine, uses_old_logps=True)
"""

AGGREGATION = """

def mine(response_lengths_B: Tensor, *, max_response_tokens: int) -> Tensor:
    print("mine was called")
    return (response_lengths_B > 0).float()


AGGREGATIONS["mine"] = mine
"""


@pytest.mark.parametrize(
    ("recipe", "place", "text"),
    [
        ("An advantage", "twogrpo/core/advantages.py", ADVANTAGE),
        ("A surrogate", "twogrpo/core/surrogates.py", SURROGATE),
        ("An aggregation", "twogrpo/core/aggregation.py", AGGREGATION),
    ],
)
def test_a_choice_of_the_algorithm_is_a_function_and_an_entry(recipe, place, text, tmp_path):
    copy = Copy(tmp_path, recipe=recipe)
    copy.append(place, text)
    assert copy.keys
    output = copy.train(*(f"{key}=mine" for key in copy.keys))
    assert "mine was called" in output
    assert ("with old_logps" in output) == (recipe == "A surrogate")  # the second mini-batch's
    copy.assert_trained()


REWARD_CLASS = '''"""1 if the characters of the response have an even sum."""

from twogrpo.rewards.protocol import CORRECT, WRONG, Example, Verifier


class EvenSum(Verifier):
    example = Example(correct="2", wrong="1", reference="")

    def grade(self, responses, references):
        print("mine was called")
        return [WRONG if sum(map(ord, response)) % 2 else CORRECT for response in responses]
'''

REWARD_ENTRY = """
from twogrpo.rewards.even_sum import EvenSum  # noqa: E402

REWARDS["even_sum"] = EvenSum
"""


def test_a_reward_is_a_class_an_entry_and_a_configuration_file(tmp_path):
    copy = Copy(tmp_path, recipe="A reward")
    copy.append("twogrpo/rewards/even_sum.py", REWARD_CLASS)
    copy.append("twogrpo/rewards/build.py", REWARD_ENTRY)
    template = (ROOT / "conf/reward/exact_answer.yaml").read_text()
    copy.append(
        "conf/reward/even_sum.yaml", template.replace("name: exact_answer", "name: even_sum")
    )
    assert "mine was called" in copy.train("reward=even_sum")
    copy.assert_trained()


def test_a_dataset_is_a_configuration_file(tmp_path):
    rows = [{"problem": f"{a}+{b}=", "answer": str(a + b)} for a in range(1, 5) for b in (1, 2)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    copy = Copy(tmp_path / "repository", recipe="A dataset")
    template = (ROOT / "conf/dataset/chain_arithmetic.yaml").read_text()
    mine = {"name": "mine", "source": "path", "path": str(data)}
    for key, value in mine.items():
        template, count = re.subn(rf"^{key}: \S+", f"{key}: {value}", template, flags=re.MULTILINE)
        assert count == 1
    copy.append("conf/dataset/mine.yaml", template)
    copy.train("dataset=mine")
    about = json.loads((copy.folder / "run/run.json").read_text())
    assert about["config"]["dataset"]["name"] == "mine"
    assert about["prompts"]["training"] == {"used": len(rows), "dropped": 0}
