"""Geometry3K from its rows to a resumed run: images in the prompts, the sampler and the policy.

The model is a tiny random Qwen2.5-VL, the images are generated; the schema, the templates, the
loop and the evaluation are those of `dataset=geometry3k model=qwen25_vl_7b`.
"""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch

from tests import tiny_vision
from tests.conftest import compose_config, parse_config
from tests.tiny_vision import image
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import EvaluateConfig, PrepareDataConfig
from twogrpo.core.surrogates import SURROGATES
from twogrpo.data.images import open_image
from twogrpo.data.prompts import training_prompts
from twogrpo.data.snapshot import prepare_data
from twogrpo.errors import ConfigError
from twogrpo.evaluation.checkpoint import evaluate_checkpoint
from twogrpo.models import load
from twogrpo.rollout.groups import sample_groups
from twogrpo.run_record.files import read_rows
from twogrpo.training.loop import train
from twogrpo.training.run import Run
from twogrpo.types import Group, TrainingSample

COLOURS = ["red", "green", "blue", "black"]
# The published schema: images are structs of bytes and path, with a mark in the text for each.
ROWS = [
    {
        "images": [{"bytes": image(colour, (56, 28 * (1 + place % 3))), "path": None}],
        "problem": f"<image>Find x{place}.",
        "answer": str(place),
    }
    for place, colour in enumerate(COLOURS)
]
TWO_PICTURES = {**ROWS[0], "problem": "<image> or <image>?", "images": ROWS[1]["images"] * 2}
BROKEN = {**ROWS[0], "problem": "<image>?", "images": [{"bytes": b"no image", "path": None}]}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision.save(tmp_path_factory.mktemp("vision"))


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Training set and benchmark as files, and a run of two steps on them."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train", "geometry3k_test"):
        rows = [*ROWS, TWO_PICTURES, BROKEN] if name == "train" else ROWS[:2]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{name}.parquet")
    return [f"dataset.path={folder / 'train.parquet'}", f"evaluation.folder={folder}"]


@pytest.fixture
def make_config(tmp_path: Path, model_folder: Path, sources: list[str]):
    typed = [
        "model=qwen25_vl_7b", "dataset=geometry3k", "evaluation=geometry3k", "reward=math_answer",
        "algorithm=two_grpo", "tracking=local", f"model.path={model_folder}",
        f"output_dir={tmp_path / 'run'}", *sources, "dataset.num_prompts=4",
        "dataset.max_prompt_tokens=400", "dataset.max_response_tokens=5",
        "evaluation.num_samples=2", "evaluation.max_response_tokens=5",
        "algorithm.minibatch_scale=1", "training.epochs=2", "training.prompts_per_step=4",
        "training.prompts_per_minibatch=2", "training.learning_rate=1e-3", "checkpointing.every=1",
    ]  # fmt: skip
    return lambda *overrides: parse_config(*typed, *overrides)


def sequences_of(groups: list[Group]) -> list[TrainingSample]:
    return [
        TrainingSample.of(group.prompt, rollout, advantage=(-1.0) ** place, token_weight=0.25)
        for group in groups
        for place, rollout in enumerate(group.rollouts)
    ]


@pytest.fixture
def run(make_run) -> Run:
    return make_run()


@pytest.fixture
def groups(run: Run) -> list[Group]:
    """Two rollouts for each of the prompts, of one and of two images."""
    collector = run.collector
    drawn = collector.stream.next(4)
    return sample_groups(drawn, collector.sampler, collector.sampling, group_size=2, seed=0, step=0)


def test_a_prompt_set_holds_its_images(make_config, sources, tmp_path, model_folder):
    typed = ["dataset=geometry3k", "evaluation=geometry3k", *sources]
    prepare = compose_config(*typed, f"output_dir={tmp_path / 'set'}", name="prepare_data")
    assert "5 kept; dropped: 1 broken_picture" in prepare_data(parse(prepare, PrepareDataConfig))
    configs = (
        make_config("dataset.num_prompts=5"),
        make_config("dataset.num_prompts=5", f"dataset.path={tmp_path / 'set'}"),
    )
    processor = load.load_processor(configs[0].model)
    raw, frozen = (training_prompts(c.dataset, processor) for c in configs)
    assert raw == frozen
    assert sorted(len(prompt.images) for prompt in raw) == [1, 1, 1, 1, 2]


def test_sampler_and_policy_give_the_same_log_probabilities(run, groups):
    sampled = [r.sampler_logps for group in groups for r in group.rollouts]
    for logps, expected in zip(run.policy.token_logps(sequences_of(groups)), sampled, strict=True):
        torch.testing.assert_close(logps, torch.tensor(expected), atol=1e-4, rtol=0)


def test_log_probabilities_depend_on_the_image(run, groups):
    def repainted(original: bytes) -> bytes:
        return image("yellow", open_image(original).size)

    sequences = sequences_of(groups)
    others = [replace(s, images=tuple(map(repainted, s.images))) for s in sequences]
    for seen, other in zip(
        run.policy.token_logps(sequences), run.policy.token_logps(others), strict=True
    ):
        assert (seen - other).abs().max() > 1e-3


@pytest.mark.parametrize("budget", [450, 10_000])  # one sequence at a time, all together
def test_the_gradient_does_not_depend_on_the_micro_batches(run, groups, budget):
    sequences = sequences_of(groups)
    surrogate = SURROGATES["token_ratio_clipped"].function
    parts = sum(run.policy.gradient([s], surrogate=surrogate) for s in sequences)
    logprob_model = run.policy.logprob_model
    logprob_model.hardware = replace(logprob_model.hardware, tokens_per_microbatch=budget)
    together = run.policy.gradient(sequences, surrogate=surrogate)
    torch.testing.assert_close(together, parts, atol=1e-5, rtol=0)
    assert together.abs().max() > 0.1


def test_an_update_moves_the_vision_tower(run, groups):
    before = {n: p.clone() for n, p in run.policy.weights() if "visual" in n}
    run.policy.update(sequences_of(groups))
    after = dict(run.policy.weights())
    assert all(not after[name].equal(tensor) for name, tensor in before.items())


def test_a_run_and_its_checkpoint_are_evaluated_alike(make_run, tmp_path, sources):
    run = make_run("algorithm.group_size=4")
    train(run)
    *steps, final = read_rows(tmp_path / "run")
    assert [row["step"] for row in steps] == [0, 1]
    assert steps[-1]["rollouts/generated"] == 32
    assert steps[0]["rollouts/trained_on"] > 0
    assert steps[0]["policy/kl_from_start"] == pytest.approx(0, abs=1e-6)
    assert steps[1]["policy/kl_from_start"] > 0
    assert final["evaluation/geometry3k_test/num_samples"] == 2
    assert len(final["evaluation/geometry3k_test/num_correct"]) == 2
    again = compose_config(
        f"checkpoint={tmp_path / 'run'}", "evaluation=geometry3k", "reward=math_answer",
        "tracking=local", f"output_dir={tmp_path / 'again'}", "evaluation.num_samples=2",
        "evaluation.max_response_tokens=5", sources[1], name="evaluate",
    )  # fmt: skip
    evaluate_checkpoint(parse(again, EvaluateConfig))
    logs = (
        tmp_path / f"{name}/evaluation/samples_geometry3k_test.jsonl" for name in ("run", "again")
    )
    written, rewritten = (
        [str(json.loads(line)["resps"]) for line in log.read_text().splitlines()] for log in logs
    )
    assert written == rewritten and len(set(written)) > 1


def test_a_resumed_run_ends_like_one_that_did_not_stop(make_run, tmp_path):
    """With resampling, so that groups with their images wait in the checkpoint."""
    options = ["algorithm=two_grpo_rs", "algorithm.minibatch_scale=1"]
    through = make_run(*options, f"output_dir={tmp_path / 'through'}")
    train(through)
    first = make_run(*options)

    log = first.record.log

    def stop_in_the_second_step(row: dict) -> None:
        if row["step"] == 1:
            raise KeyboardInterrupt
        log(row)

    first.record.log = stop_in_the_second_step
    with pytest.raises(KeyboardInterrupt):
        train(first)
    assert '"images"' in (tmp_path / "run/checkpoints/000001/state.json").read_text()
    second = make_run(*options)
    train(second)
    expected = dict(through.policy.weights())
    assert all(tensor.equal(expected[name]) for name, tensor in second.policy.weights())


def test_an_exported_model_takes_images(run, model_folder, tmp_path):
    run.policy.export(tmp_path / "out")
    model = replace(run.config.model, path=str(tmp_path / "out"))
    loaded = load.load_model(model).state_dict()
    assert all(tensor.equal(loaded[name]) for name, tensor in run.policy.weights())
    for name in ("preprocessor_config.json", "chat_template.jinja"):
        assert (tmp_path / "out" / name).read_bytes() == (model_folder / name).read_bytes()
    assert load.load_image_processor(model).image_token_id == tiny_vision.ID["<|image_pad|>"]


def test_a_text_model_refuses_images(make_run):
    with pytest.raises(ConfigError, match="have images but model"):
        make_run("model=tiny", "model.path=assets/tiny")
