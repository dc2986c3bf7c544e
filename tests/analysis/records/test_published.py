"""The paper's tables recompute, and where they do not, the disagreement is known."""

import pytest

from analysis.records import published

MEANS = [f"{name}_mean32" for name in published.BENCHMARKS]
PASSES = [f"{name}_pass32" for name in published.BENCHMARKS]


def test_every_average_is_the_mean_of_its_row() -> None:
    one = published.main_settings()
    assert len(one) == 16
    assert one[MEANS].mean(axis=1).to_numpy() == pytest.approx(one["average_mean32"], abs=0.0051)
    four = published.table(4)
    assert len(four) == 24
    assert four[MEANS].mean(axis=1).to_numpy() == pytest.approx(four["average_mean32"], abs=0.0061)
    assert four[PASSES].mean(axis=1).to_numpy() == pytest.approx(four["average_pass32"], abs=0.0061)


def test_headline_of_v3_recomputes() -> None:
    two, rs = published.headline("two_grpo"), published.headline("two_grpo_rs")
    assert two.retention == pytest.approx(0.976, abs=5e-4)  # ratio of means
    assert two.time_share == pytest.approx(0.210, abs=5e-4)  # ratio of summed hours
    assert rs.retention == pytest.approx(1.01, abs=5e-3)
    assert rs.time_share == pytest.approx(0.44, abs=5e-3)
    assert published.ROLLOUTS_MILLION["two_grpo"] / published.ROLLOUTS_MILLION["grpo_g16"] == 0.125


def test_v2_says_98_1_percent_but_its_tables_give_97_4() -> None:
    rows = published.table(1)
    rows = rows.assign(average=rows[MEANS].mean(axis=1))  # the fifth setting, DS-1.5B, has none
    means = rows.groupby("arm")["average"].mean()
    settings = rows.groupby("arm").size()
    assert settings["two_grpo"] == settings["grpo_g16"] == 5
    retention = means["two_grpo"] / means["grpo_g16"]
    assert retention == pytest.approx(0.974, abs=5e-4)
    assert abs(retention - 0.981) > 0.005


def test_known_inconsistency_table_4_against_table_1() -> None:
    one = published.scores(("math", "qwen25_math_1_5b"), "grpo_g16")
    four = published.table(4).set_index(["dataset", "model", "arm"]).sort_index()
    row = four.loc[("math", "qwen25_math_1_5b", "grpo_g16")]
    assert (one["olympiad"], row["olympiad_mean32"]) == (23.11, 22.30)
    assert (one["average"], row["average_mean32"]) == (34.31, 34.15)


def test_tables_3_and_4_agree_with_their_formulas() -> None:
    # r̄² + (1−r̄)² is never below 1/2 and its complement never above: Table 3 holds the former.
    assert (published.table(3)["discard_rate"] > 0.5).all()
    # Rollouts of the ablation are prompts times group size.
    rows = published.table(4)
    rows = rows[rows["arm"] != "base"]
    sizes = rows["arm"].str.removeprefix("grpo_g").replace("two_grpo", "2").astype(int)
    assert (rows["prompts_per_minibatch"] * sizes == rows["rollouts_per_minibatch"]).all()


def test_names_are_found_and_absent_cells_are_absent() -> None:
    setting = ("math", "qwen25_math_7b")
    assert published.scores(setting, "two_grpo", "pass32")["math500"] == 89.77
    assert published.scores(setting, "grpo_g4")["average"] == 39.98  # Table 4 alone has it
    assert "math500" not in published.scores(setting, "two_grpo_rs", "pass32")
    assert published.scores(("chain_arithmetic", "tiny"), "two_grpo") == {}
    assert published.hours(setting, "two_grpo_rs") == 5.78
    assert not published.is_paper_setting(("chain_arithmetic", "tiny"))
