"""Every exhibit from recorded runs: its files, its numbers, the same bytes when repeated."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import all as everything
from analysis.diagnostics import equal_budget_curves
from analysis.exhibits import exhibit
from analysis.exhibits.style import look
from analysis.paper import claims, figure_2, figure_4, figure_5, table_1, table_2, table_3, table_4
from analysis.records.frames import Runs, load
from analysis.report import summary
from analysis.stats.comparison import comparisons
from tests.analysis import recorded
from tests.conftest import ROOT
from twogrpo.run_record.arms import LABELS

CLAIMS_COLUMNS = "claim paper_version published measured ci_low ci_high n_seeds n_problems"


@pytest.fixture(scope="session")
def out(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    everything.main(runs, folder, theory="nowhere")
    return folder


def test_everything_is_there_in_every_format(out: Path) -> None:
    names = {path.name for path in out.iterdir()}
    for table in ("table_1", "table_3", "table_4", "claims"):
        assert {f"{table}.csv", f"{table}.md", f"{table}.tex"} <= names
    beyond = ("iso", "dynamics", "time_split", "resampling_cost", "claims")
    for figure in (*(f"figure_{i}" for i in range(1, 6)), *beyond):
        assert {f"{figure}.csv", f"{figure}.png", f"{figure}.pdf"} <= names
    assert {"ledger.csv", "summary.md", "report.html", "report.md", "left_out.csv"} <= names
    assert all((out / name).stat().st_size for name in names - {"left_out.csv"})


def test_repeated_from_the_records_files_have_the_same_bytes(
    out: Path, folder: Path, tmp_path: Path
) -> None:
    again = load(str(folder))
    for build in (*everything.EXHIBITS, partial(claims.build, theory="nowhere")):
        one = build(again)
        if one.name != "figure_1":  # drawing them all once more would take half the suite's time
            one.figure = None
        exhibit.write(one, tmp_path)
    summary.write(again, tmp_path, theory="nowhere")
    assert len(list(tmp_path.iterdir())) > 20
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name


def test_claims_file_has_exactly_its_columns_and_the_headline(out: Path) -> None:
    rows = pd.read_csv(out / "claims.csv")
    assert rows.columns.tolist() == [*CLAIMS_COLUMNS.split(), "verdict", "scale"]
    rows = rows.set_index("claim")
    named = ["retention_avg", "rollout_share", "time_share", "time_share_cpu", "rs_retention_avg"]
    assert {*named, "rs_time_share", "rs_rollout_share"} <= set(rows.index)
    assert rows.loc["rollout_share", ["measured", "ci_low", "ci_high"]].tolist() == [0.125] * 3
    # (0.1 + 0.2) s × 2 against × 16; resampling: 0.1 × 2 × 3 + 0.2 × 2 = 1.0 against 4.8.
    assert rows.loc["time_share_cpu", "measured"] == pytest.approx(0.125)
    assert rows.loc["rs_time_share_cpu", "measured"] == pytest.approx(1.0 / 4.8, rel=1e-5)
    assert rows.loc["retention_avg", "published"] == pytest.approx(0.9763, abs=1e-4)
    assert set(rows["scale"].dropna()) == {"toy"}
    assert rows.loc["retention_avg", ["n_seeds", "n_problems"]].tolist() == [2, 12]


def test_retention_is_the_ratio_of_the_tables_averages(runs: Runs) -> None:
    frame = table_1.build(runs).frame.set_index("arm")
    rows = claims.build(runs).frame.set_index("claim").to_dict("index")
    ratio = frame.loc["two_grpo", "average_mean"] / frame.loc["grpo_g16", "average_mean"]
    assert rows["retention_avg"]["measured"] == pytest.approx(ratio)
    by_hand = runs.evaluations[runs.evaluations["arm"] == "two_grpo"]
    by_hand = by_hand.groupby("benchmark")["num_correct"].mean().mean() / recorded.NUM_SAMPLES
    assert frame.loc["two_grpo", "average_mean"] == pytest.approx(100 * by_hand)
    assert frame.loc["two_grpo", "retention"] == rows["retention_avg"]["measured"]
    assert frame.loc["two_grpo", "retention_low"] == rows["retention_avg"]["ci_low"]


def test_claims_without_their_runs_are_not_run(tmp_path: Path) -> None:
    recorded.write_arms(tmp_path, arms=["grpo_g16", "two_grpo"], seeds=(0,))
    rows = claims.build(load(str(tmp_path))).frame.set_index("claim")
    assert rows.loc["rs_retention_avg", "verdict"] == "not run"
    assert rows.loc["ablation_spread", "verdict"] == "not run"
    assert rows.loc["rollout_share", "verdict"] == "reproduced"
    assert rows.loc["time_share", "verdict"] == "inconclusive"  # one seed


def test_another_scale_needs_no_other_code(tmp_path: Path) -> None:
    """A cell of the paper's Table 1 on its benchmarks: published values of that cell beside it."""
    for key in ("grpo_g16", "two_grpo"):
        folder = recorded.add(
            tmp_path / key,
            key,
            config__dataset__name="math",
            config__model__name="qwen25_math_7b",
            config__evaluation__benchmarks=["math500", "amc23"],
        )
        rows = (folder / "metrics.jsonl").read_text()
        rows = rows.replace("/easy/", "/math500/").replace("/hard/", "/amc23/")
        (folder / "metrics.jsonl").write_text(rows)
    runs = load(str(tmp_path))
    row = table_1.build(runs).frame.set_index("arm").loc["two_grpo"]
    assert row["math500_mean_published"] == 75.23
    assert row["retention_published"] == pytest.approx(40.43 / 39.94)
    assert set(claims.build(runs, theory="nowhere").frame["scale"]) == {"paper", ""}
    assert "Toy scale" not in summary.build(runs)
    assert "MATH-500" in figure_2.build(runs).figure.axes[0].get_title(loc="left")


def test_summary_says_what_failed_and_what_it_is(runs: Runs) -> None:
    text = summary.build(runs)
    assert "Toy scale: evidence about the code, not about the paper." in text
    assert "with exactly 12.5 % of the rollouts: 12.5000%" in text
    assert "commit 0123456789; code c0de" in text
    assert len(text.split()) < 900  # two minutes


def test_tables_3_and_4_read_measured_and_formula_rates_and_every_group_size(runs: Runs) -> None:
    frame = table_3.build(runs).frame
    assert frame["published_step"].tolist() == [10, 40, 70, 100, 130]
    # The last row: step round(130/146 × 8) = 7, that is rows 3 … 6 of 0.5 + 0.02 i: 0.59.
    assert frame["step"].tolist()[-1] == 7
    assert frame["discard_rate"].tolist()[-1] == pytest.approx(0.59)
    both = frame["discard_rate_of_mean"] + frame["kept_rate_of_mean"]
    assert both.to_numpy() == pytest.approx(1)
    # Table 4 has the large batch and every group size.
    rows = table_4.build(runs).frame.set_index("arm")
    assert rows.loc["two_grpo", "rollouts_per_minibatch"] == 128
    assert rows.loc[["grpo_g2", "grpo_g16"], "rollouts_per_minibatch"].tolist() == [16, 128]
    assert rows.loc["grpo_g4", "average_mean_published"] == 33.65


def test_figure_5_is_a_moving_average_over_four(runs: Runs) -> None:
    frame = figure_5.build(runs).frame
    line = frame[(frame["arm"] == "grpo_g2") & (frame["metric"] == "reward/mean")]
    of_arm = runs.steps[runs.steps["arm"] == "grpo_g2"]
    by_step = of_arm.groupby("step")["reward/mean"].mean()
    assert line["value"].iloc[0] == pytest.approx(by_step[0])
    assert line["value"].iloc[7] == pytest.approx(by_step[4:8].mean())
    assert line["x"].is_monotonic_increasing


def test_a_single_group_size_says_what_is_missing(tmp_path: Path) -> None:
    recorded.write_arms(tmp_path, arms=["grpo_g16"], seeds=(0,))
    runs = load(str(tmp_path))
    for build in (figure_4.build, figure_5.build):
        figure = build(runs).figure
        assert figure is not None
        said = [text.get_text() for text in figure.axes[0].texts]
        assert any("not run: 2-GRPO, small batch; 4-GRPO; 8-GRPO" in text for text in said)


def test_names_at_the_ends_of_lines_are_apart_in_order_and_seen_outside_too() -> None:
    """Ends 100, 99, 98, 0 and gaps of 7: 100, 93, 86, 0; what lies beyond the axis is drawn too."""
    figure = Figure()
    axis = figure.subplots()
    axis.set_ylim(95, 101)
    values = {"a": 98.0, "b": 100.0, "c": 0.0, "d": 99.0}
    frame = pd.DataFrame({"benchmark": [*values], "value": [*values.values()], "group_size": 16})
    figure_4.label_ends(axis, frame)
    places = {text.get_text(): text.xyann[1] for text in axis.texts}
    assert places == pytest.approx({"a": 86, "b": 100, "c": 0, "d": 93})
    assert {text.get_text(): text.xy[1] for text in axis.texts} == values  # where leaders begin
    assert all(text.get_annotation_clip() is False for text in axis.texts)


def test_pass_at_k_rises_and_ends_at_the_share_ever_solved(runs: Runs) -> None:
    frame = figure_2.build(runs).frame
    for _, line in frame.groupby(["arm", "benchmark"]):
        assert line["k"].tolist() == [1, 2, 4]
        assert line["pass_at_k"].is_monotonic_increasing
    comparison = comparisons(runs)[0]
    solved = comparison.evaluations.assign(any=comparison.evaluations["num_correct"] > 0)
    expected = solved.groupby(["arm", "benchmark"])["any"].mean()
    last = frame[frame["k"] == 4].set_index(["arm", "benchmark"])["pass_at_k"] / 100
    assert last.to_numpy() == pytest.approx(expected[last.index].to_numpy())


def test_equal_resources_are_what_was_spent(runs: Runs) -> None:
    frame = equal_budget_curves.build(runs).frame
    last = frame[frame["metric"] == "reward/mean"].groupby(["against", "arm"])["x"].last()
    assert last["spent/rollouts", "two_grpo_rs"] == 8 * 16 * 3
    assert last["spent/tokens", "two_grpo"] == 8 * 16 * 12
    # 64 prompts a step in mini-batches of 8 (16-GRPO) or 64 (2-GRPO).
    assert last["spent/updates", "grpo_g16"] == 64
    assert last["spent/updates", "two_grpo"] == 8
    assert last["spent/seconds", "grpo_g16"] == pytest.approx(8 * 0.3 * 16, abs=0.1)


def test_table_2_reads_the_theorys_covariance(runs: Runs, tmp_path: Path) -> None:
    rows = [("covariance", 0.5, 0.3, 0.7, None), ("covariance_permuted", 0.01, -0.1, 0.1, 0.0005)]
    frame = pd.DataFrame(rows, columns=["statistic", "value", "low", "high", "p_value"])
    frame.assign(source="tiny", num_prompts=100).to_csv(tmp_path / "covariance.csv", index=False)
    covariance = table_2.read(tmp_path)
    assert covariance is not None and table_2.read(tmp_path / "nowhere") is None
    table = table_2.build(covariance).table
    assert table is not None
    assert table["same prompt"].tolist() == ["0.5 [0.3, 0.7]", "0.08705"]
    assert table["p (permutation)"].tolist() == ["0.0005", "–"]


def test_an_arm_looks_and_is_called_the_same_everywhere() -> None:
    looks = {(look(key)["color"], look(key)["marker"]) for key in LABELS}
    assert len(looks) == len(LABELS) == len({marker for _, marker in looks})
    assert look("rloo_g4") == look("rloo_g4") and look("rloo_g4")["label"] == "rloo_g4"


def test_formulas_and_markup_are_made_harmless(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["=1+1", "@x", "a|b<i>", "100%_&"], "value": [-1.0, 2, 3, 4]})
    exhibit.write(exhibit.Exhibit("t", "T", frame, table=frame.astype(str)), tmp_path)
    csv = (tmp_path / "t.csv").read_text()
    assert "'=1+1,-1" in csv and "'@x" in csv
    assert "a\\|b&lt;i&gt;" in (tmp_path / "t.md").read_text()
    assert r"100\%\_\&" in (tmp_path / "t.tex").read_text()


def test_a_report_lies_in_the_folder_of_its_runs() -> None:
    sources = ("runs/smollm2", "records:/a/b/", "offline:here", "wandb://me/sweep", ".")
    folders = [str(exhibit.report_folder(source)) for source in sources]
    assert folders == [
        "runs/smollm2/report",
        "/a/b/report",
        "here/report",
        "runs/sweep/report",
        "report",
    ]
    assert exhibit.report_folder(str(ROOT / "results/cpu/runs")) == ROOT / "results/cpu"


def test_a_module_is_a_command_that_writes_into_the_folder_of_the_runs(
    folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "analysis.paper.table_4", f"runs={folder}"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert (folder / "report" / "table_4.csv").exists() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["banana=1", "runs=nowhere", "allow_mixed=maybe", "words"])
def test_bad_words_are_one_line_and_exit_code_2(
    wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["analysis", f"out={tmp_path / 'none'}", wrong])
    with pytest.raises(SystemExit) as stopped:
        exhibit.main(table_4.build)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1 and wrong in message
    assert not (tmp_path / "none").exists()


def test_counts_in_a_csv_are_whole_and_other_numbers_have_six_digits(tmp_path: Path) -> None:
    frame = pd.DataFrame({"tokens": [3_017_621.0, 1_005_873.66], "share": [0.1234567, 1.0]})
    exhibit.write_csv(frame, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == ("tokens,share\n3017621,0.123457\n1.00587e+06,1\n")


def test_table_1_has_every_arm_with_its_difference_and_the_interval_of_two_one_sided_tests(
    runs: Runs,
) -> None:
    exhibit = table_1.build(runs)
    assert exhibit.table is not None
    assert exhibit.table["arm"].tolist() == [LABELS[arm] for arm in LABELS if arm != "dpo"]
    frame = exhibit.frame.set_index("arm")
    found = comparisons(runs)[0].difference("grpo_g4", level=0.90)
    assert frame.loc["grpo_g4", ["delta", "delta_90_low", "delta_90_high"]].tolist() == [
        found.value,
        found.low,
        found.high,
    ]


def test_runs_that_were_not_evaluated_have_their_curves_and_no_accuracy(tmp_path: Path) -> None:
    for arm in ("grpo_g16", "two_grpo"):
        steps = recorded.rows(arm, 0)[:-1]
        recorded.write(tmp_path / arm, recorded.about(arm, 0), steps)
    everything.main(load(str(tmp_path)), tmp_path / "report", theory="nowhere")
    verdicts = pd.read_csv(tmp_path / "report/claims.csv").set_index("claim")["verdict"]
    assert verdicts["retention_avg"] == "not run" and verdicts["time_share"] == "inconclusive"


def test_every_character_of_the_committed_tables_is_latex() -> None:
    for file in sorted((ROOT / "results").rglob("*.md")):
        text = "".join(line for line in file.read_text().splitlines() if line.startswith("|"))
        assert exhibit.latex(pd.DataFrame({"": [text]}), "").isascii(), file
