"""The checks of the cost model: against the paper, against our runs, and the scaling page."""

import csv
from pathlib import Path

import pytest

from tests.conftest import ROOT, compose_config
from twogrpo.config.schema import parse
from twogrpo.errors import ConfigError
from twogrpo.preflight.preflight import PreflightConfig
from twogrpo.preflight.time.backtest import (
    _paper_run,
    against_cpu,
    against_paper,
    checked,
    cpu_report,
    paper_report,
)
from twogrpo.preflight.time.scaling_forecast import predict, scaling_report

TABLE_1 = ROOT / "analysis/records/published/table_1.csv"


def compose(overrides: list[str]) -> PreflightConfig:
    return parse(compose_config(*overrides, name="preflight"), PreflightConfig)


@pytest.fixture
def one_cell(tmp_path: Path) -> Path:
    """Of Table 1, Qwen2.5-Math-7B on MATH."""
    with TABLE_1.open() as file:
        rows = list(csv.DictReader(file))
    kept = [row for row in rows if (row["dataset"], row["model"]) == ("math", "qwen25_math_7b")]
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    return tmp_path / "table.csv"


def test_the_paper_s_hours(one_cell):
    """Base rows have no hours; fitting makes 16-GRPO exact and brings 2-GRPO within a fifth."""
    rows = {row.arm: row for row in against_paper(compose, one_cell)}
    assert {arm: row.measured for arm, row in rows.items()} == {
        "grpo_g16": 9.30,
        "two_grpo": 2.43,
        "two_grpo_rs": 5.78,
    }
    assert rows["grpo_g16"].fitted == pytest.approx(9.30, rel=1e-6)
    assert rows["two_grpo"].fitted == pytest.approx(2.43, rel=0.2)
    paper = _paper_run(compose, {"dataset": "math", "model": "qwen25_math_7b", "arm": "two_grpo"})
    assert paper.dataset.max_response_tokens == 4096  # and not our 3,072
    text = paper_report(compose, one_cell)
    assert "assumptions" in text.lower()
    assert "(fitted)" in text
    error = rows["two_grpo_rs"].fitted / 5.78 - 1
    assert f"2-GRPO+RS alone, so fitted: {error:+.0%} to {error:+.0%}" in " ".join(text.split())


PHASES = ("generate", "score", "old_logps", "update", "sync", "measure", "validate")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Tables of two arms: 16-GRPO of 60 s, 2-GRPO of 7 s."""
    seconds = {"grpo_g16": [18, 0.1, 10, 31, 0.1, 0.8, 99], "two_grpo": [4, 0, 0.4, 1.9, 0, 0.7, 9]}
    lines = [
        f"{arm},{phase},{value}"
        for arm, values in seconds.items()
        for phase, value in zip(PHASES, values, strict=True)
    ]
    (tmp_path / "time_split.csv").write_text("\n".join(["arm,phase,seconds", *lines]))
    names = "model,arm,rollouts_kept,rollouts_generated,rollouts_trained_on,tokens_generated"
    ledger = ["tiny,grpo_g16,81920,81920,62699,1005883", "tiny,two_grpo,10240,10240,2601,125885"]
    (tmp_path / "ledger.csv").write_text("\n".join([names, *ledger]))
    return tmp_path


def test_our_runs_are_predicted_from_one_of_them(runs):
    rows = {row.arm: row for row in against_cpu(compose, runs)}
    assert rows["grpo_g16"].measured == pytest.approx(60)  # without validation
    assert rows["grpo_g16"].fitted == pytest.approx(60, rel=1e-3)
    assert rows["two_grpo"].fitted == pytest.approx(rows["two_grpo"].measured, rel=0.25)
    assert "(fitted)" in cpu_report(compose, runs)


@pytest.mark.parametrize(("folder", "model"), [("cpu", "tiny"), ("smollm2", "smollm2_135m")])
def test_committed_runs_are_predicted(folder, model):
    """Within a fifth: the other arms of a committed result, calibrated on its 16-GRPO."""
    rows = against_cpu(compose, ROOT / "results" / folder)
    assert {row.cell for row in rows} == {model}
    for row in rows:
        assert row.fitted == pytest.approx(row.measured, rel=0.2), row


def test_runs_of_an_unknown_model_are_refused(runs):
    ledger = runs / "ledger.csv"
    ledger.write_text(ledger.read_text().replace("tiny", "huge"))
    with pytest.raises(ConfigError, match="of model huge no experiments are known"):
        against_cpu(compose, runs)


def test_missing_tables_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"time_split\.csv cannot be read"):
        against_cpu(compose, tmp_path)
    with pytest.raises(
        ConfigError, match="check=banana is unknown: use one of paper, cpu, scaling"
    ):
        checked(compose(["check=banana"]), compose)


def test_the_scaling_page_is_what_the_command_prints():
    assert (ROOT / "docs/scaling.md").read_text() == scaling_report()


def test_the_saving_shrinks_as_gpus_are_added():
    dense = [row for row in predict() if row.policy == "qwen25_32b"]
    shares = [row.time_share for row in dense]
    assert shares == sorted(shares)
    assert 1 / 8 < shares[0] < shares[-1] < 1
    assert all(0 < row.tail_share <= 1 for row in predict())
