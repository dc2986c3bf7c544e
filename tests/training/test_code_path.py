"""Code-R1 from its rows to its reward: prompts with tests, programs in the sandbox, a step.

The model is tiny and random over bytes, so it writes no programs; those here stand in for its
responses.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests import tiny_vision
from tests.conftest import parse_config, tiny_model
from twogrpo.config.schema import Config
from twogrpo.data.prompts import PromptProcessor, benchmark_prompts
from twogrpo.errors import ConfigError
from twogrpo.evaluation.evaluator import Evaluator, evaluate_benchmarks
from twogrpo.rewards.build import build_reward
from twogrpo.run_record import provenance
from twogrpo.run_record.eval_samples import SampleStore
from twogrpo.training import assemble
from twogrpo.training.loop import train_step
from twogrpo.types import Completion


def row(question: str, tests: dict) -> dict:
    """A row in the schema of code-r1-12k."""
    return {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": question}],
        "reward_model": {"style": "rule", "ground_truth": json.dumps(tests)},
    }


ROWS = [
    row("Write add(a, b).", {"functional": "assert add(1, 2) == 3"}),
    row("Square the number read.", {"inputs": ["3\n"], "outputs": ["9\n"]}),
]
PROGRAMS = {
    "Write add(a, b).": ["def add(a, b):\n    return a + b", "def add(a, b):\n    return 4"],
    "Square the number read.": ["print(int(input()) ** 2)", "while True: pass"],
}


class Programmer:
    """A rollout engine whose first response is right and whose second is wrong."""

    def sample(self, prompts, seeds_PG, sampling):
        return [
            tuple(
                Completion((1,), (0.0,), f"```python\n{program}\n```", "stop")
                for program in PROGRAMS[prompt.text]
            )
            for prompt in prompts
        ]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for name in ("train", "code_r1_test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tokenizer = tiny_vision.tokenizer()
    tiny_model(vocab_size=len(tokenizer), num_positions=256).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return parse_config(
        "dataset=code_r1", "evaluation=code_r1", "reward=code_tests", "algorithm=two_grpo",
        "tracking=local", f"model.path={tmp_path / 'model'}", "model.prompt_template=plain",
        f"dataset.path={tmp_path / 'train.jsonl'}", f"evaluation.folder={tmp_path}",
        f"output_dir={tmp_path / 'run'}", "dataset.num_prompts=2",
        "dataset.max_prompt_tokens=64", "dataset.max_response_tokens=8",
        "evaluation.max_response_tokens=8", "evaluation.num_samples=2",
        "algorithm.minibatch_scale=1", "training.epochs=1", "training.prompts_per_step=2",
        "training.prompts_per_minibatch=2",
    )  # fmt: skip


@pytest.fixture
def reward(config: Config):
    try:
        built = build_reward(config.reward)
    except ConfigError as error:
        pytest.skip(str(error))
    yield built
    built.close()


def test_programs_are_graded_by_the_tests_of_their_rows(config, reward, tmp_path):
    processor = PromptProcessor(tiny_vision.tokenizer(), "plain")
    prompts = benchmark_prompts(config.evaluation, processor)
    asked = replace(config.evaluation, num_samples=2, keep_text=True)
    evaluator = Evaluator(asked, Programmer(), reward, rollouts_per_chunk=4)
    row = evaluate_benchmarks(prompts, evaluator, SampleStore(tmp_path / "out", "key"), name="code")
    assert row["evaluation/code_r1_test/num_correct"] == [1, 1]
    lines = (tmp_path / "out/samples_code_r1_test.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    assert [line["exact_match"] for line in logged] == [0.5, 0.5]
    assert [line["doc"]["problem"] for line in logged] == list(PROGRAMS)
    assert logged[0]["resps"] == [[f"```python\n{p}\n```" for p in PROGRAMS["Write add(a, b)."]]]


def test_a_step_of_a_model_that_writes_no_programs_has_reward_zero(config, reward, monkeypatch):
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")
    run = assemble.assemble(config)
    row = train_step(run, 0)
    assert row["reward/mean"] == 0
    assert row["groups/discard_rate"] == 1
    assert row["rollouts/generated"] == 4
    assert run.record.about["sandbox"] == "bubblewrap"
    run.collector.reward.close()
