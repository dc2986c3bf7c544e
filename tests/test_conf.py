"""Everything in conf/ composes, parses, explains its keys, and differs in what it claims."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from benchmarks.throughput.config import BenchmarkConfig
from tests.conftest import CONF, compose_config
from twogrpo.config import validation
from twogrpo.config.schema import Config, parse
from twogrpo.config.script_schemas import EvaluateConfig, PrepareDataConfig, PrepareModelConfig
from twogrpo.preflight.preflight import PreflightConfig
from twogrpo.reproduce import plan
from twogrpo.training import warm_start

# The schema of every script's configuration, and the overrides that its user must type.
SCHEMAS = {
    "train": (Config, []),
    "preflight": (PreflightConfig, []),
    "benchmark": (BenchmarkConfig, []),
    "evaluate": (EvaluateConfig, ["checkpoint=runs/x"]),
    "reproduce": (plan.ReproduceConfig, []),
    "tiny_model": (warm_start.WarmStart, []),
    "prepare_model": (PrepareModelConfig, ["model=tiny"]),
    "prepare_data": (PrepareDataConfig, ["dataset=chain_arithmetic"]),
}


def options(group: Path) -> Iterator[str]:
    """`group=option` for every file of a group, `experiment=table1/x` for one in a folder of it."""
    for path in sorted(group.rglob("*.yaml")):
        yield f"{group.name}={path.relative_to(group).with_suffix('').as_posix()}"


def groups_of(name: str) -> list[Path]:
    config = OmegaConf.load(CONF / f"{name}.yaml")
    assert isinstance(config, DictConfig)
    defaults = config.get("defaults", [])
    named = [str(key) for entry in defaults if isinstance(entry, DictConfig) for key in entry]
    return [CONF / key for key in named if (CONF / key).is_dir()]


CHOICES = [
    (name, option)
    for name in sorted(path.stem for path in CONF.glob("*.yaml"))
    for group in groups_of(name)
    for option in options(group)
]


def compose_and_parse(name: str, *overrides: str):
    schema, needed = SCHEMAS[name]
    return parse(compose_config(*needed, *overrides, name=name), schema)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_every_script_s_configuration_parses(name):
    compose_and_parse(name)


def test_every_group_is_reached_by_a_script():
    reached = {group.name for path in CONF.glob("*.yaml") for group in groups_of(path.stem)}
    assert reached == {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}


@pytest.mark.parametrize(("name", "option"), CHOICES, ids=[" ".join(pair) for pair in CHOICES])
def test_every_option_composes_and_parses(name, option, monkeypatch):
    config = compose_and_parse(name, option)
    if name == "train" and option.startswith(("algorithm", "training", "experiment", "evaluation")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        if option == "training=paper":  # wants more prompts than the embedded default
            config.dataset.num_prompts = 7500
        config.hardware.tokens_per_microbatch = 2**20  # a knob of the machine, not of the option
        validation.check(config)
    if name == "train":  # a damaged checkpoint has one before it
        assert config.checkpointing.kept >= 2


def keys_and_comments(path: Path) -> Iterator[tuple[str, bool]]:
    """Each key of the file, and whether it, the line above or its parent key has a comment."""
    above, parents = False, list[tuple[int, bool]]()
    for line in path.read_text().splitlines():
        found = re.match(r"(\s*(?:- )?)(\w+):", line)
        if found:
            indent = len(found[1])
            parents = [(depth, has) for depth, has in parents if depth < indent]
            has_comment = "#" in line or above or any(has for _, has in parents)
            parents.append((indent, has_comment))
            yield found[2], has_comment
        above = line.lstrip().startswith("#")


# Names that hold their unit or can mean one thing only.
OBVIOUS = re.compile(
    r"(num_\w+|\w+_(seconds|tokens|prompts|samples|problems|rollouts|fraction|probability|size)"
    r"|\w+_dir|hub|config|split|benchmarks|launcher|stages|adam_\w+|wandb_mode|name|seed|seeds|steps|defaults|hydra|override|run|sweep|dir|subdir|job|chdir|output_subdir"
    r"|job_logging|version|root|disable_existing_loggers|_self_)"
)


@pytest.mark.parametrize("group", sorted({p.parent for p in CONF.rglob("*.yaml")}), ids=str)
def test_every_key_is_explained_in_its_group_or_by_its_name(group):
    """A key has one meaning: a comment in one file of the group explains it in all of them."""
    seen = [pair for path in group.glob("*.yaml") for pair in keys_and_comments(path)]
    explained = {key for key, has_comment in seen if has_comment}
    if {"experiment", "scale", "study"} & set(group.parts):
        others = [p for p in CONF.rglob("*.yaml") if "experiment" not in p.parts]
        explained |= {key for p in others for key, has in keys_and_comments(p) if has}
        explained |= {p.name for p in CONF.iterdir() if p.is_dir()}
    bare = {key for key, _ in seen if not OBVIOUS.fullmatch(key)} - explained
    assert not bare


@pytest.mark.parametrize(
    "group", ["training", "evaluation", "tracking", "checkpointing", "sync_check"]
)
def test_every_value_of_these_groups_has_a_comment_in_every_file(group):
    """The comment gives the unit, or says whether the value is the paper's or ours."""
    explained_by_the_name = {"name", "benchmarks", "hub", "defaults"}
    for path in (CONF / group).glob("*.yaml"):
        bare = {key for key, has_comment in keys_and_comments(path) if not has_comment}
        assert bare <= explained_by_the_name, path


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF))
)
def test_every_file_begins_with_a_comment(path):
    lines = [line for line in path.read_text().splitlines() if "@package" not in line]
    assert lines[0].startswith("# ")


def hub_sources(node: object) -> Iterator[tuple[str, str | None]]:
    """The id and the revision of everything on the hub that a configuration file names."""
    if isinstance(node, dict):
        if "revision" in node:
            yield node.get("id") or node["path"], node["revision"]
        for value in node.values():
            yield from hub_sources(value)


def test_what_comes_from_the_hub_is_pinned_and_alike_everywhere():
    """Code-R1 is not: no public page names a revision. A run records the hash of what it read."""
    revisions: dict[str, set[str | None]] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        for name, revision in hub_sources(OmegaConf.to_container(OmegaConf.load(path))):
            revisions.setdefault(name, set()).add(revision)
    local = {"assets/tiny", ".cache/models/smollm2_135m"}
    assert {n for n, found in revisions.items() if found == {None}} - local == {
        "ganler/code-r1-12k"
    }
    pinned = [found for found in revisions.values() if found != {None}]
    assert len(pinned) == 15
    assert all(len(f) == 1 and re.fullmatch("[0-9a-f]{40}", str(*f)) for f in pinned)


def differing_keys(*overrides: str) -> set[str]:
    """The keys, or sections, in which the training configurations of two overrides differ."""
    one, other = (asdict(compose_and_parse("train", override)) for override in overrides)
    if overrides[0].startswith("algorithm="):
        one, other = one["algorithm"], other["algorithm"]
    return {key for key in one if one[key] != other[key]}


def test_arms_differ_in_what_they_claim_alone():
    pair = ("algorithm=grpo", "algorithm=two_grpo")
    scales = {"minibatch_scale", "learning_rate_scale"}
    assert differing_keys(*pair) == {"name", "group_size", *scales}
    resampling = {"resampling", "resampling_budget_group_size"}
    assert differing_keys("algorithm=two_grpo", "algorithm=two_grpo_rs") == {"name", *resampling}
    for arm in ("two_grpo", "two_grpo_rs"):
        pair = ("experiment=smollm2/grpo", f"experiment=smollm2/{arm}")
        assert differing_keys(*pair) == {"algorithm", "run_name", "output_dir"}


def test_paper_scale_is_the_paper_s_table():
    """The values that the paper gives for training and for test sampling."""
    for algorithm, prompts, rate in (("grpo", 32, 1e-6), ("two_grpo", 256, 8e-6)):
        config = compose_and_parse("train", "training=paper", f"algorithm={algorithm}")
        assert config.prompts_per_minibatch == prompts
        assert config.rollouts_per_minibatch == 512
        assert config.learning_rate == pytest.approx(rate, rel=1e-12)
        assert config.training.prompts_per_step == 512
        assert config.training.epochs == 10
        assert config.training.warmup_updates == 10
        assert (config.algorithm.clip_low, config.algorithm.clip_high) == (0.2, 0.28)
        assert (config.rollout.temperature, config.rollout.top_p, config.rollout.top_k) == (1, 1, 0)
        test = config.evaluation
        assert (test.temperature, test.top_p, test.top_k) == (0.7, 0.8, 20)
        assert (test.num_samples, len(test.benchmarks)) == (32, 5)
        config.dataset.num_prompts = 7500
        assert config.num_steps == 146
    for group_size in (2, 4, 8, 16):  # the ablation keeps prompts and learning rate
        config = compose_and_parse("train", "training=paper", f"algorithm.group_size={group_size}")
        assert (config.prompts_per_minibatch, config.learning_rate) == (32, 1e-6)
        assert config.rollouts_per_minibatch == 32 * group_size


def test_cpu_scale_keeps_the_paper_s_ratios():
    paper, cpu = (
        {
            algorithm: compose_and_parse("train", f"training={scale}", f"algorithm={algorithm}")
            for algorithm in ("grpo", "two_grpo", "two_grpo_rs")
        }
        for scale in ("paper", "cpu")
    )
    for scale in (paper, cpu):
        assert len({config.rollouts_per_minibatch for config in scale.values()}) == 1
        assert scale["two_grpo"].learning_rate == 8 * scale["grpo"].learning_rate
        assert scale["grpo"].updates_per_step == 16
        assert scale["two_grpo"].updates_per_step == 2
        budget = scale["two_grpo_rs"].algorithm.resampling_budget_group_size
        assert budget == scale["grpo"].algorithm.group_size
    assert cpu["grpo"].training.epochs == paper["grpo"].training.epochs
    assert cpu["grpo"].training.warmup_updates == paper["grpo"].training.warmup_updates


def test_the_smoke_run_takes_two_steps_on_one_rank_or_two():
    config = compose_and_parse("train", "experiment=smoke/smollm2_two_steps")
    assert (config.num_steps, config.training.prompts_per_step % 2) == (2, 0)
    assert (config.model.name, config.rollout.engine) == ("smollm2_135m", "vllm")


def dataclasses_of(schema: type) -> Iterator[type]:
    """The schema and the sections in it."""
    yield schema
    for field_type in get_type_hints(schema).values():
        for inner in (field_type, *get_args(field_type)):
            if is_dataclass(inner):
                yield from dataclasses_of(inner)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_no_key_has_a_default_outside_conf(name):
    for schema in dataclasses_of(SCHEMAS[name][0]):
        with_default = [f.name for f in fields(schema) if f.default is not MISSING]
        assert not with_default, schema
        assert all(f.default_factory is MISSING for f in fields(schema)), schema
