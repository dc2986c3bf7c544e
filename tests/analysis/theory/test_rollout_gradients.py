"""Cached rollouts, and the gradient of each, exact and sketched; the command end to end."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.theory import __main__ as command
from analysis.theory import rollout_gradients, smollm2_measurements
from tests.conftest import ROOT, tiny_model
from twogrpo.run_record import rollouts
from twogrpo.run_record.rollouts import CachedGroup
from twogrpo.training import loop

GROUP = CachedGroup(0, "p", (3, 4), (1.0, 0.0), ((5, 6, 1), (7,)))


def test_a_vector_is_the_gradient_of_the_mean_log_likelihood(model_folder: Path) -> None:
    vectors = rollout_gradients.ScoreVectors(str(model_folder), dimensions=0).of(GROUP)
    model = tiny_model()
    logps = model(torch.tensor([[3, 4, 5, 6, 1]])).logits[0].log_softmax(dim=-1)
    mean = (logps[1, 5] + logps[2, 6] + logps[3, 1]) / 3
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(mean, list(model.parameters()))])
    assert vectors.shape == (2, sum(p.numel() for p in model.parameters()))
    assert (vectors[0] - expected).norm() < 1e-5 * expected.norm()


def test_sketches_keep_inner_products_within_the_stated_error(model_folder: Path) -> None:
    exact = rollout_gradients.ScoreVectors(str(model_folder), dimensions=0).of(GROUP)
    sizes = exact.norm(dim=1)
    errors = []
    for seed in range(20):
        vectors = rollout_gradients.ScoreVectors(str(model_folder), dimensions=4096, seed=seed)
        sketch = vectors.of(GROUP)
        errors.append(((sketch @ sketch.T - exact @ exact.T) / torch.outer(sizes, sizes)).numpy())
    bound = (2 / 4096) ** 0.5
    assert np.std(errors, axis=0).max() < 1.5 * bound
    assert np.abs(np.mean(errors, axis=0)).max() < 4 * bound / 20**0.5


def test_groups_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sizes \[2, 3\]"):
        three = CachedGroup(0, "q", (3,), (1.0, 0.0, 0.0), ((5,),) * 3)
        rollout_gradients.rewards_array([GROUP, three])


@pytest.fixture(scope="module")
def base(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve groups with signal of 16 random responses, as a run would cache them."""
    folder = tmp_path_factory.mktemp("base")
    rng = np.random.default_rng(0)
    lines = []
    for draw in range(12):
        tokens = [rng.integers(2, 18, rng.integers(1, 5)).tolist() for _ in range(16)]
        rewards = (rng.permutation(16) < 1 + draw % 8).astype(float).tolist()
        line = {"step": 0, "draw": draw, "prompt_id": str(draw), "prompt_tokens": [3, 4]}
        line |= {"rewards": rewards, "num_tokens": [len(t) for t in tokens], "tokens": tokens}
        lines.append(json.dumps(line) + "\n")
    (folder / rollouts.FILE).write_text("".join(lines))
    about = {"config": {"model": {"path": str(model_folder)}}}
    (folder / "run.json").write_text(json.dumps(about))
    return folder


def test_the_command_builds_every_figure(make_run, base: Path, tmp_path: Path) -> None:
    run = make_run(
        "algorithm=two_grpo",
        f"output_dir={tmp_path}/runs/two_grpo",
        "tracking.save_rollouts=true",
        "tracking.gradient_cosine_every=1",
    )
    for step in range(2):
        run.record.log(loop.train_step(run, step))
    out = tmp_path / "out"
    words = [f"out={out}", f"rollouts={base}", f"runs={tmp_path}/runs"]
    command.main([*words, "num_prompts=12", "dimensions=512"])
    names = {"expected_advantage", "gradient_variance", "covariance", "what_if", "exploration"}
    names |= {"discard_rate", "gradient_cosine"}
    assert {path.stem for path in out.glob("*.png")} == names
    assert {path.stem for path in out.glob("*.csv")} == names


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/what_if.py", *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": ".", "OMP_NUM_THREADS": "1", "MPLCONFIGDIR": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_answers_and_reports_a_mistake_in_one_line(base: Path, tmp_path: Path) -> None:
    result = run_script(f"rollouts={base}", f"out={tmp_path}", "gradients=true", "dimensions=512")
    assert result.returncode == 0, result.stderr
    assert "dead_share" in result.stdout and "cosine_expected" in result.stdout
    assert (tmp_path / "what_if.csv").read_text().count("\n") == 5  # heads and G = 2, 4, 8, 16
    result = run_script(f"rollouts={tmp_path}")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "save_rollouts" in result.stderr


def test_saved_measurements_of_a_real_model_are_in_the_figures(
    model_folder: Path, base: Path, tmp_path: Path
) -> None:
    groups = [group.first(10) for group in rollouts.read(base)]
    source = rollout_gradients.scored("random", groups, str(model_folder), dimensions=512)
    tables = smollm2_measurements.tables(source)
    smollm2_measurements.save(tables, tmp_path)
    saved = pd.read_csv(tmp_path / "gradient_variance_of_real_models.csv")
    assert saved["group_size"].tolist() == [2, 4, 8]  # of ten responses
    assert saved["measured"].str.match(r"\d{4}-\d\d-\d\d").all()

    earlier = smollm2_measurements.measured_earlier(tmp_path, "gradient_variance")
    expected = [row["variance"] for row in tables["gradient_variance"]]
    assert [row["variance"] for row in earlier] == pytest.approx(expected, rel=1e-5)
    given = command.DEFAULTS | {"real": str(tmp_path)}
    frames = {exhibit.name: exhibit.frame for exhibit in command.exhibits(given)}
    for name in ("gradient_variance", "covariance"):
        assert "random" in set(frames[name]["source"])
    assert smollm2_measurements.measured_earlier(tmp_path / "nowhere", "covariance") == []
