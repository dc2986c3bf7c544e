"""The report loads nothing and shows all; for hostile names see test_hostile_names.py."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from analysis.exhibits.exhibit import write
from analysis.paper import claims, figure_1, table_1
from analysis.records.frames import Runs, load
from analysis.report import pairs, report
from tests.analysis import recorded


class Page(HTMLParser):
    """Collects tags with their attributes, and the text of headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def build(runs: Runs, out: Path) -> str:
    exhibits = [figure_1.build(runs), table_1.build(runs), claims.build(runs)]
    for exhibit in exhibits:
        write(exhibit, out)
    report.write(runs, exhibits, out)
    return (out / "report.html").read_text()


@pytest.fixture(scope="module")
def page(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(runs, tmp_path_factory.mktemp("report"))


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    parsed = Page(page)
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in parsed.of("img"))
    assert not parsed.of("link") and not any("src" in script for script in parsed.of("script"))
    assert all(str(link["href"]).startswith("#") for link in parsed.of("a"))
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?://", page)


def test_every_exhibit_and_its_provenance_is_there(page: str) -> None:
    parsed = Page(page)
    sections = {section["id"] for section in parsed.of("section")}
    assert sections == {"figure_1", "table_1", "claims", "runs", "pairs"}
    assert {str(link["href"])[1:] for link in parsed.of("a")} == sections
    assert all(image["alt"] for image in parsed.of("img"))
    assert "commit 0123456789; code c0de" in page and "a processor" in page
    assert "Toy scale" in page and "prefers-color-scheme: dark" in page and "@media print" in page


def test_verdicts_are_chips_with_their_word(page: str) -> None:
    chips = re.findall(r'<span class="chip" data-verdict="([^"]*)">([^<]*)<', page)
    assert len(chips) > 15 and all(verdict == word for verdict, word in chips)
    assert {"reproduced", "inconclusive"} <= {word for _, word in chips}


def test_an_interval_does_not_break_between_its_brackets() -> None:
    [[parts]] = report._cells(pd.DataFrame({"a": ["1.0 [0.9, 1.1] (1.2 [0.8, 1.5])"]}))
    assert parts[1::2] == ["[0.9, 1.1]", "[0.8, 1.5]"]
    assert "".join(parts) == "1.0 [0.9, 1.1] (1.2 [0.8, 1.5])"


def test_pairs_of_one_seed_of_every_trained_arm_are_shown_by_step(runs: Runs) -> None:
    arms = pairs.arms(runs)
    assert [arm["title"] for arm in arms][:2] == ["16-GRPO, seed 0", "2-GRPO, seed 0"]
    assert len(arms) == len(recorded.ARMS) - 1  # `base` is not trained
    [first, _, last] = arms[0]["steps"]
    assert first["title"] == "Step 1 of 8: 40% of the groups drawn hold both"
    assert last["title"].startswith("Step 8 of 8")
    assert first["pairs"] == 2 * [
        {
            "prompt": "1=",
            "count": "1 of 16",
            "responses": [
                {"text": "1=", "reward": "1", "advantage": "+0.58"},
                {"text": "1=", "reward": "0", "advantage": "-1.73"},
            ],
        }
    ]


def test_runs_without_pairs_have_no_section_of_them(tmp_path: Path) -> None:
    for arm in ("base", "grpo_g16", "two_grpo"):
        recorded.write(tmp_path / arm, recorded.about(arm, 0), recorded.rows(arm, 0))
    parsed = Page(build(load(str(tmp_path)), tmp_path / "out"))
    assert "pairs" not in {section["id"] for section in parsed.of("section")}
    assert not parsed.of("details")


def test_markdown_shows_the_figures_beside_it(runs: Runs, tmp_path: Path) -> None:
    build(runs, tmp_path)
    text = (tmp_path / "report.md").read_text()
    for name in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (tmp_path / name).exists()
    assert "## The paper's claims" in text and "| arm |" in text
