"""The pages for people: lines that fit a screen, links that lead somewhere, citations of sections that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "skill/SKILL.md")),
]
MADE_BY_THE_SITE = {
    "commands.md",
    "gallery.md",
    "measured.md",
}  # docs/site_pages.py
GENERATED = ROOT / "docs/config.md"
CODE = [
    path
    for folder in ("visionfm", "tests", "bench", "workflow", "config")
    for path in sorted((ROOT / folder).rglob("*"))
]
CITATION = re.compile(r"(?i:published)[- ]system(?:\.md\)?)?,\s+(\d(?:\.\d)?(?:(?:, | and )\d(?:\.\d)?)*)")


@pytest.mark.parametrize("page", [page for page in PAGES if page != GENERATED], ids=lambda page: page.name)
def test_lines_have_at_most_120_characters(page: Path) -> None:
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    assert [f"{number}: {len(line)}" for number, line in lines if len(line) > 120] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists() and link not in MADE_BY_THE_SITE] == []


def test_cited_sections_of_the_published_system_exist() -> None:
    page = (ROOT / "docs/published-system.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^###? (\d(?:\.\d)?)\.? ", page, re.MULTILINE))
    cited = {}
    for path in CODE:
        if path.suffix in {".py", ".yaml", ".smk"}:
            for numbers in CITATION.findall(path.read_text(encoding="utf-8")):
                cited.update(dict.fromkeys(re.findall(r"\d(?:\.\d)?", numbers), path.name))
    assert len(cited) > 8
    assert {number: name for number, name in cited.items() if number not in sections} == {}
