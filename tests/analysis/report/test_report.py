"""The report loads nothing and shows all; for hostile names see test_hostile_names.py."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.exhibits.exhibit import write
from analysis.paper import claims, figure_1, table_1
from analysis.records.frames import Runs
from analysis.report import report


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
    assert sections == {"figure_1", "table_1", "claims", "runs"}
    assert {str(link["href"])[1:] for link in parsed.of("a")} == sections
    assert all(image["alt"] for image in parsed.of("img"))
    assert "commit 0123456789; code c0de" in page and "a processor" in page
    assert "Toy scale" in page and "prefers-color-scheme: dark" in page and "@media print" in page


def test_markdown_shows_the_figures_beside_it(runs: Runs, tmp_path: Path) -> None:
    build(runs, tmp_path)
    text = (tmp_path / "report.md").read_text()
    for name in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (tmp_path / name).exists()
    assert "## The paper's claims" in text and "| arm |" in text
