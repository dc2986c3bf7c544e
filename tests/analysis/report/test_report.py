"""The report loads nothing, shows all, and runs nothing that a record's names smuggle in."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.exhibits.exhibit import write
from analysis.paper import claims, figure_1, table_1
from analysis.records.frames import Runs, load
from analysis.report import report
from tests.analysis import recorded

HOSTILE = "<img src=x onerror=alert(1)>"


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
    assert {section["id"] for section in parsed.of("section")} == {
        "figure_1", "table_1", "claims", "runs",
    }  # fmt: skip
    targets = {str(link["href"])[1:] for link in parsed.of("a")}
    assert targets == {str(section["id"]) for section in parsed.of("section")}
    assert all(image["alt"] for image in parsed.of("img"))
    assert "commit 0123456789; code c0de" in page and "a processor" in page
    assert "Toy scale" in page and "prefers-color-scheme: dark" in page and "@media print" in page


def test_hostile_names_are_text(tmp_path: Path) -> None:
    for arm in ("grpo_g16", "two_grpo"):
        about = recorded.changed(
            recorded.about(arm, 0), config__model__name=HOSTILE, run_id=arm + HOSTILE
        )
        recorded.write(tmp_path / "runs" / arm, about, recorded.rows(arm, 0))
    runs = load(str(tmp_path / "runs"))
    page = build(runs, tmp_path / "out")
    assert "&lt;img src=x" in page
    assert all("onerror" not in attributes for attributes in Page(page).of("img"))
    for line in (tmp_path / "out" / "report.md").read_text().splitlines():
        assert HOSTILE not in line


def test_markdown_shows_the_figures_beside_it(runs: Runs, tmp_path: Path) -> None:
    build(runs, tmp_path)
    text = (tmp_path / "report.md").read_text()
    for name in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (tmp_path / name).exists()
    assert "## The paper's claims" in text and "| arm |" in text
