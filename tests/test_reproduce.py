"""What a scale runs: commands that work, bases asked as their arms, and only what is not done."""

import shlex
from dataclasses import replace

import pytest
import torch
from hydra import initialize_config_dir

from tests.conftest import CONF, compose_config
from twogrpo import checks
from twogrpo.config import Config, parse
from twogrpo.evaluate_checkpoint import check
from twogrpo.reproduce import Job, ReproduceConfig, jobs
from twogrpo.script_configs import EvaluateConfig

SCALES = sorted(path.stem for path in (CONF / "scale").glob("*.yaml"))


def planned(*overrides: str) -> list[Job]:
    config = parse(compose_config(*overrides, name="reproduce"), ReproduceConfig)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return jobs(config)


@pytest.fixture(scope="module")
def jobs_of() -> dict[str, list[Job]]:
    return {scale: planned(f"scale={scale}") for scale in SCALES}


@pytest.mark.parametrize("scale", SCALES)
def test_every_command_is_accepted_by_its_script(scale, jobs_of, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for job in jobs_of[scale]:
        if isinstance(job.config, EvaluateConfig):
            check(job.config)
        else:
            checks.check(job.config)


@pytest.mark.parametrize("scale", sorted({*SCALES} - {"cpu_full"}))
def test_what_is_compared_with_a_record_is_what_the_command_composes(scale, jobs_of):
    for job in [jobs_of[scale][0], *jobs_of[scale][-4:]]:
        words = shlex.split(shlex.join(job.command))
        script = next(i for i, word in enumerate(words) if word.startswith("scripts/"))
        name = words[script].removeprefix("scripts/").removesuffix(".py")
        schema = Config if name == "train" else EvaluateConfig
        assert parse(compose_config(*words[script + 1 :], name=name), schema) == job.config


@pytest.mark.parametrize("scale", SCALES)
def test_as_many_ranks_are_started_as_the_run_s_hardware_has_gpus(scale, jobs_of):
    for job in jobs_of[scale]:
        num_gpus, words = job.config.hardware.num_gpus, shlex.join(job.command)
        if isinstance(job.config, Config) and num_gpus > 1:
            assert f"--nproc-per-node {num_gpus} scripts/train.py" in words
        else:
            assert num_gpus <= 1 and "torch.distributed.run" not in words
        if job.cost:
            assert job.cost.gpus == num_gpus


def test_a_launcher_of_one_s_own_is_taken_as_it_is():
    job = planned("scale=paper", "scale.launcher='srun -N 2 torchrun'")[0]
    assert job.command[:5] == ["srun", "-N", "2", "torchrun", "scripts/train.py"]


@pytest.mark.parametrize("scale", SCALES)
def test_every_base_is_asked_as_its_arms_are(scale, jobs_of):
    arms = [job.config for job in jobs_of[scale] if isinstance(job.config, Config)]
    bases = [job.config for job in jobs_of[scale] if isinstance(job.config, EvaluateConfig)]
    assert len({base.model.name for base in bases}) == len(bases) > 0
    for base in bases:
        of_the_model = [arm for arm in arms if arm.model.name == base.model.name]
        assert of_the_model
        for arm in of_the_model:
            assert arm.model == replace(base.model, path=base.checkpoint)
            assert (arm.evaluation, arm.reward) == (base.evaluation, base.reward)
            assert arm.rollout == base.rollout
            gpus = arm.hardware.num_gpus
            assert arm.hardware == replace(base.hardware, num_gpus=gpus)
