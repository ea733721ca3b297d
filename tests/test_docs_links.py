"""Every relative link and image of the docs leads to a file, and every #anchor to a heading."""

import html
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(`{3,}).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(\s*([^)\s]+)[^)]*\)|<(?:img|a)\s[^>]*?(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z]+:")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", html.unescape(heading))
        slug = re.sub(r"[^\w\s-]", "", words).strip().lower().replace(" ", "-")
        found.add(slug)
    return found


def links(text: str) -> list[str]:
    """The targets of all links and images that are not in code."""
    text = CODE.sub("", FENCE.sub("", text))
    return [target or source for target, source in LINK.findall(text)]


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere, each with the reason."""
    faults = []
    for link in links(page.read_text()):
        if ELSEWHERE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            faults.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target.read_text()):
            faults.append(f"{link}: no such heading")
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    assert broken(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# What it *is*: a `name`, two\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md#what-it-is-a-name-two) [b](other.md#gone) ![c](lost.png) [d](#here)\n"
        '[e](https://example.org/x) `[f](in_code.md)`\n<img src="none.png" width="3">\n'
        "```\n[g](in_a_block.md)\n```\n"
    )
    assert broken(page) == [
        "other.md#gone: no such heading",
        "lost.png: no such file",
        "none.png: no such file",
    ]


def test_there_are_links_to_check():
    assert sum(len(links(page.read_text())) for page in PAGES) > 100


def test_the_pages_of_the_api_name_modules_that_exist():
    pages = (ROOT / "docs" / "api").glob("*.md")
    names = [name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)]
    assert len(names) > 20
    assert [name for name in names if find_spec(name) is None] == []


def test_the_navigation_of_the_site_lists_every_page():
    named = re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    listed = {page for page in named if not page.startswith("source/")}  # pages of files elsewhere
    docs = ROOT / "docs"
    assert listed == {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}


def test_the_front_page_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170
