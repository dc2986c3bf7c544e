"""The prediction for larger policies: values by hand, and the page that prints them."""

import pytest

from analysis.theory.scaling_forecast import (
    MIXTURE,
    QWEN_7B,
    predict,
    step_seconds,
    table,
    zero_variance_share,
)
from tests.conftest import ROOT


def test_a_decoding_step_of_one_sequence_and_zero_variance_pairs_by_hand():
    """7,070,615,552 parameters of 2 bytes at half of 4.8 TB/s are 5.892 ms; a context of 1,000
    tokens of 57,344 bytes 0.024 ms; 4 ms beside them. Of pairs, 1 − 2·ab/((a+b)(a+b+1)) =
    1 − 2/8.75 have no variance under Beta(2, 0.5)."""
    assert QWEN_7B.active == 7_070_615_552
    assert step_seconds(QWEN_7B, 1, 1000.0, 57_344) == pytest.approx(9.916e-3, rel=1e-4)
    assert zero_variance_share(2) == pytest.approx(1 - 2 / 8.75)


def test_a_mixture_reads_the_distinct_experts_of_its_tokens():
    """Two tokens that choose 8 of 256 each: 256·(1 − (31/32)²) = 15.75 of a layer."""
    expert = 3 * 7168 * 2048
    assert MIXTURE.read(1) == pytest.approx(MIXTURE.active)
    assert MIXTURE.read(2) == pytest.approx(MIXTURE.active + 58 * 7.75 * expert)


def test_the_page_prints_what_the_module_computes():
    page = (ROOT / "docs/scaling.md").read_text()
    rows, apart = predict(), predict(latents_on_all=False)[5:]
    assert table(rows) in page
    for n in (1, 8, 512):
        assert f"{MIXTURE.read(n) / 1e9:.0f} B" in page
    assert f"room for {rows[5].together:.0f} sequences" in page
    assert f"has {rows[5].waiting:.0f} for each copy" in page
    assert f"take {apart[0].share:.0%} to {apart[-1].share:.0%}" in page
