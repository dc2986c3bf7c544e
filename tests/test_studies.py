"""The studies: their cells are what Hydra's sweep makes, and their exhibits follow from records."""

import json
import lzma
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException

from analysis.committed import publish, stale, verify
from analysis.committed.records import pack_study
from analysis.records.readers import STUDY_FILE
from analysis.studies import __main__ as studies
from analysis.studies import claims, iso_compute
from analysis.studies.study import load, study_of
from tests.conftest import CONF, ROOT, compose_config
from twogrpo.config import validation
from twogrpo.config.schema import Config, parse
from twogrpo.errors import ConfigError
from twogrpo.reproduce.plan import Job, ReproduceConfig, jobs
from twogrpo.run_record.provenance import code_hash

NAMES = sorted(studies.FIGURES)
# Cells, and seeds of each.
GRIDS = {
    "learning_rate": (35, 3),
    "iso_compute": (28, 5),
    "controls": (15, 5),
    "zero_variance": (24, 5),
    "pair_of_16": (7, 5),
    "grpo_dpo": (32, 3),
}


@cache
def planned(name: str) -> list[Job]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        typed = [f"study_name={name}", f"runs_dir=runs/studies/{name}"]
        return jobs(parse(compose("reproduce", typed), ReproduceConfig))


def test_every_study_has_a_figure_claims_and_a_section():
    of_conf = {path.stem for path in (CONF / "study").glob("*.yaml")} - {"tiny"}
    assert of_conf == set(NAMES) == set(claims.CLAIMS) == set(GRIDS)
    page = (ROOT / "docs/studies.md").read_text()
    for name in NAMES:
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for part in ("Question.", "Cells.", "Prediction.", "Answer.", "Do not conclude"):
            assert f"**{part}**" in section, (name, part)


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_accepted_and_has_a_folder_of_its_own(name):
    cells, seeds = GRIDS[name]
    found = planned(name)
    assert len(found) == cells * seeds == len({job.config.output_dir for job in found})
    assert len({job.config.identity() for job in found}) == cells * seeds
    assert len({job.config.cell for job in found}) == cells
    for job in found:
        validation.check(job.config)
        assert (
            job.config.output_dir == f"runs/studies/{name}/{job.config.cell}-seed{job.config.seed}"
        )
        assert job.config.evaluation.validation_splits == ["validation", "validation_longer"]


@pytest.mark.parametrize("name", NAMES)
def test_a_planned_cell_is_what_hydra_s_own_sweep_composes(name):
    """The same folder too, so that `-m study=NAME` and `make study` continue each other's runs."""
    for job in (planned(name)[0], planned(name)[-1]):
        words = job.command[job.command.index("scripts/train.py") + 1 :]
        config = parse(compose_config(*words, name="train"), Config)
        assert config == job.config
        without = [word for word in words if not word.startswith("output_dir=")]
        assert parse(compose_config(*without, name="train"), Config) == job.config


def test_a_study_that_is_not_there_is_refused():
    with pytest.raises(MissingConfigException, match="study/none"):
        planned("none")
    with pytest.raises(ConfigError, match="study_name=tiny names no cell"):
        planned("tiny")


def record(job: Job, folder: Path, *, gain: float) -> None:
    """A finished run whose accuracy rises to 0.2 + `gain` with the rollouts."""
    config = job.config
    rng = np.random.default_rng([config.seed, 7])
    steps = np.arange(config.num_steps)
    per_step = config.training.prompts_per_step * config.algorithm.most_rollouts_per_prompt
    rows = []
    for step in steps.tolist():
        rollouts = (step + 1) * per_step
        row = {"step": step, "rollouts/generated": rollouts, "rollouts/kept": rollouts}
        row |= {"reward/mean": 0.5, "rollouts/discarded": 0, "rollouts/trained_on": rollouts // 4}
        row |= {"tokens/generated": 12 * per_step, "tokens/trained_on": per_step}
        row |= {"seconds/generate": per_step / 2000, "cpu_seconds/generate": per_step / 2000}
        if step % 4 == 0 or step == config.num_steps - 1:
            value = 0.2 + gain / (1 + (8000 / rollouts) ** 1.5)
            row |= {f"validation/{k}": value for k in ("mean", "validation", "validation_longer")}
        rows.append(row)
    final = {"step": config.num_steps, "seconds/export": 0.1}
    for benchmark in config.evaluation.benchmarks:
        correct = rng.binomial(32, 0.2 + gain * 0.9, size=100).tolist()
        ids = [f"{benchmark}/{i}" for i in range(100)]
        values = {"num_samples": 32, "problem_ids": ids, "num_correct": correct}
        values |= {"mean": sum(correct) / 3200, "seconds": 1.0}
        final |= {f"evaluation/{benchmark}/{k}": v for k, v in values.items()}
    folder.mkdir(parents=True)
    about = {"run_id": folder.name, "identity": folder.name, "config": asdict(config)}
    about |= {"code": "c", "status": "finished", "started": "2026-01-01", "summary": {}}
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, final]))


def recorded(found: list[Job], root: Path) -> Path:
    for job in found:
        algorithm = job.config.algorithm
        rate = abs(np.log2(algorithm.learning_rate_scale) - 1)
        gain = 0.7 - 0.05 * rate - 0.2 * job.config.reward.noise + 0.01 * (algorithm.group_size > 8)
        record(job, root / Path(job.config.output_dir).name, gain=gain)
    return root


@pytest.mark.parametrize("name", NAMES)
def test_a_study_is_drawn_from_its_packed_records(name, tmp_path):
    runs = recorded([job for job in planned(name) if job.config.seed < 2], tmp_path / "runs")
    pack_study(runs, tmp_path / STUDY_FILE)
    studies.draw(load(str(tmp_path / STUDY_FILE)), tmp_path, pages=name == "iso_compute")
    assert (tmp_path / f"{name}.csv").exists()
    assert (tmp_path / "iso_compute.png").exists() == (name == "iso_compute")
    assert len(pd.read_csv(tmp_path / "cells.csv")) == GRIDS[name][0]
    table = pd.read_csv(tmp_path / "claims.csv")
    assert set(table["claim"]) == {claim.name for claim in claims.CLAIMS[name]}
    assert not (table["verdict"] == "not run").any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("group_size", [2, 16])
def test_a_study_without_an_arm_is_drawn_or_refused_in_a_line(name, group_size, tmp_path):
    """As in a study that is not finished."""
    found = [job for job in planned(name) if job.config.seed < 2]
    runs = [job for job in found if job.config.algorithm.group_size != group_size]
    if not runs:
        with pytest.raises(ConfigError, match="holds no"):
            load(str(recorded(runs, tmp_path / "none").parent))
        return
    studies.draw(load(str(recorded(runs, tmp_path))), tmp_path / "report", pages=False)
    verdicts = set(pd.read_csv(tmp_path / "report/claims.csv")["verdict"])
    assert ("not run" in verdicts) == (len(runs) < len(found))


@pytest.mark.parametrize(("ahead", "batch"), [(4e-6, 1), (2e-5, 8)])
def test_what_rounding_may_turn_around_is_a_tie_and_the_smallest_is_chosen(ahead, batch, tmp_path):
    """Records keep six digits, so the runs and their records would choose differently."""
    for job in planned("pair_of_16"):
        algorithm = job.config.algorithm
        if (algorithm.name, algorithm.learning_rate_scale) in (("two_grpo", 1), ("two_grpo", 8)):
            folder = tmp_path / Path(job.config.output_dir).name
            record(job, folder, gain=0.5)
            value = 0.8 + ahead * (algorithm.minibatch_scale == 8)
            file = folder / "metrics.jsonl"
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            lines = [row | {"validation/mean": value} for row in lines]
            file.write_text("".join(json.dumps(row) + "\n" for row in lines))
    study = study_of(load(str(tmp_path)))
    assert len(study.cells) == 2
    assert study.of(study.chosen(name="two_grpo"), "batch") == batch


def test_packed_records_say_what_the_runs_say(tmp_path):
    runs = recorded(
        [job for job in planned("pair_of_16") if job.config.seed < 2], tmp_path / "runs"
    )
    pack_study(runs, tmp_path / STUDY_FILE)
    first = (tmp_path / STUDY_FILE).read_bytes()
    pack_study(runs, tmp_path / STUDY_FILE)
    assert (tmp_path / STUDY_FILE).read_bytes() == first
    for source, out in ((tmp_path / STUDY_FILE, "packed"), (runs, "plain")):
        studies.draw(load(str(source)), tmp_path / out, pages=False)
    for file in sorted((tmp_path / "plain").glob("*.csv")):
        packed = pd.read_csv(tmp_path / "packed" / file.name)
        pd.testing.assert_frame_equal(packed, pd.read_csv(file), rtol=1e-4)  # rounded seconds


def test_a_study_is_published_verified_and_named_with_its_code(tmp_path, monkeypatch):
    results = tmp_path / "results"
    for module in (publish, stale, verify, studies):
        monkeypatch.setattr(module, "RESULTS", results)
    *found, last = planned("pair_of_16")
    runs = recorded(found, tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"missing or not planned: two_grpo_b8_x8\.0-seed4"):
        publish.main(["scale=studies/pair_of_16", f"runs={runs}"])
    recorded([last], runs)
    with pytest.raises(ConfigError, match="is not of this commit's code"):
        publish.main(["scale=studies/pair_of_16", f"runs={runs}"])
    for file in runs.glob("*/run.json"):
        file.write_text(file.read_text().replace('"code": "c"', f'"code": "{code_hash()}"'))
    publish.main(["scale=studies/pair_of_16", f"runs={runs}"])
    result = results / "studies" / "pair_of_16"
    names = {"pair_of_16.csv", "pair_of_16.md", "pair_of_16.png", "cells.csv", "cells.md"}
    names |= {"claims.csv", "claims.md", "claims.png", STUDY_FILE}
    kept = {path.name for path in result.iterdir() if any(map(path.match, publish.COMMITTED))}
    assert kept == names  # the others are not in git
    assert stale.state(results / "studies") == "current"
    # `make figures` gives the same, and the claims of all studies: the others are not run.
    before = (result / "pair_of_16.csv").read_bytes()
    studies.main([])
    assert (result / "pair_of_16.csv").read_bytes() == before
    verdicts = pd.read_csv(results / "studies" / "claims.csv").set_index("claim")["verdict"]
    assert verdicts["seen"] != "not run" and (verdicts == "not run").sum() == len(verdicts) - 2
    assert list(verify.study_tables()) == []
    for file in (result / "cells.csv", results / "studies" / "claims.csv"):
        kept = file.read_bytes()
        file.write_text("cell\n")
        [found] = verify.study_tables()
        assert file.name in found
        file.write_bytes(kept)


def test_the_committed_tables_of_the_studies_are_what_their_records_give():
    assert list(verify.study_tables()) == []
    files = sorted(publish.RESULTS.glob(f"studies/*/{STUDY_FILE}"))
    assert all(file.stat().st_size < 2_000_000 for file in files)


def test_the_chosen_cell_is_the_best_on_validation_and_not_on_the_benchmarks(tmp_path):
    found = [job for job in planned("pair_of_16") if job.config.algorithm.name == "two_grpo"]
    for job in found:  # validation and benchmarks disagree
        is_small = job.config.algorithm.minibatch_scale == 1
        folder = tmp_path / Path(job.config.output_dir).name
        record(job, folder, gain=0.7 if is_small else 0.5)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for row in lines:
            if "validation/mean" in row:
                row["validation/mean"] = 1 - row["validation/mean"]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    study = study_of(load(str(tmp_path)))
    assert study.of(study.chosen(name="two_grpo"), "batch") == 8
    assert study.chosen(name="grpo") is None


def test_runs_of_two_studies_or_of_none_are_refused(tmp_path):
    for name in ("pair_of_16", "controls"):
        job = planned(name)[0]
        record(job, tmp_path / name / Path(job.config.output_dir).name, gain=0.5)
    with pytest.raises(ConfigError, match=r"more than one study \(controls, pair_of_16\)"):
        load(str(tmp_path))
    with pytest.raises(ConfigError, match="is no run of a study"):
        load(str(ROOT / "results/cpu/runs"))


def test_a_damaged_file_of_records_is_refused(tmp_path):
    file = tmp_path / STUDY_FILE
    packed = [lzma.compress(text) for text in (b"", b"{}\n", b"[1]\n")]
    for content in (b"", b"xz", *packed):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="is damaged"):
            load(str(file))


def test_seeds_of_a_cell_that_differ_and_other_evaluations_are_refused(tmp_path):
    found = [job for job in planned("pair_of_16") if job.config.seed < 2]
    runs = recorded(found, tmp_path)
    file = sorted(runs.glob("*-seed1/run.json"))[0]
    whole = json.loads(file.read_text())
    for section, key, value in (
        ("evaluation", "num_samples", 16),
        ("algorithm", "clip_low", 0.1),
        ("training", "learning_rate", 1.0),
    ):
        config = whole["config"] | {section: whole["config"][section] | {key: value}}
        file.write_text(json.dumps(whole | {"config": config}))
        with pytest.raises(ConfigError, match=f"runs differ in their {section} "):
            load(str(runs))
        load(str(runs), allow_mixed=True)  # the remedy that the line names


def test_a_difference_of_differences_names_its_four_cells(tmp_path):
    runs = load(str(recorded([j for j in planned("controls") if j.config.seed < 2], tmp_path)))
    rows = claims.build({"controls": runs}, ["controls"]).table.set_index("claim")
    assert "against" in rows.loc["random_reward_2", "measured"]
    assert ", minus g16_" in rows.loc["noise_costs_pairs_more", "measured"]


def test_one_seed_is_undecided_on_being_on_par(tmp_path):
    runs = load(str(recorded([j for j in planned("iso_compute") if j.config.seed < 1], tmp_path)))
    assert set(iso_compute.shares(study_of(runs))["on_par"]) == {"–", "undecided"}
