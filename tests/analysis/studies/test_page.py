"""The page of the studies and their code."""

import re

from analysis.studies import claims
from tests.conftest import ROOT


def test_no_claim_has_bounds_other_than_the_page_s():
    """The page came first, before the runs; the code keeps to it."""
    page = (ROOT / "docs/studies.md").read_text()
    for name, of_study in claims.CLAIMS.items():
        section = page.split(f"\n## {name}\n")[1].split("**Answer.**")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
        for claim, row in zip(of_study, rows, strict=True):
            bounds = re.sub(" points?", "", claim.bounds.removesuffix(" (ours)"))
            assert row.split("|")[-2].strip().split("; ")[-1] == bounds, claim.name
