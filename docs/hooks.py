"""What the site has beyond Markdown: the table of config fields, and pages of linked files."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MARKER = "<!-- config fields: by hooks.py -->"
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".sh": "bash", ".sbatch": "bash", ".yaml": "yaml", ".md": "markdown"}


class Field(NamedTuple):
    """One config field: its dotted name, its default, and what it means."""

    name: str
    default: object
    text: str


def fields() -> list[Field]:
    """Every config field, in the order of declaration: all that the site reads of the config."""
    from rats_jax import config

    return [Field(field.name, field.default, described(field)) for field in config.fields()]


def described(field) -> str:
    """The text of a declared field, with the accepted values and what a resume allows."""
    values = f" Values: {field.values}." if field.values else ""
    return f"{field.text}{values}" + (" Fixed for a run." if field.fixed else "")


def table() -> str:
    """All fields as Markdown, with a heading for each group."""
    head = ["| field | default | meaning |", "|---|---|---|"]
    lines, group = [*head], ""
    for field in fields():
        if (of := field.name.rpartition(".")[0]) != group:
            group = of
            lines += ["", f"### {group}", "", *head]
        text = field.text.replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| `{field.name}` | `{field.default!r}` | {text} |")
    return "\n".join(lines)


def outside(page: str, target: str) -> str | None:
    """The path in the repository that a page's link means, if it is a file outside docs/."""
    if re.match(r"[a-z]+:", target):
        return None
    path = normpath(str(PurePosixPath("docs") / PurePosixPath(page).parent / target))
    return None if path.startswith(("docs/", "..")) else path


def source_page(path: str) -> str:
    """Where the site shows a file of the repository."""
    return f"source/{path}.md"


def on_files(files, config):
    """Adds a page for each file of the repository that a page links to."""
    from mkdocs.structure.files import File

    linked = set()
    for file in files.documentation_pages():
        targets = LINK.findall(file.content_string)
        linked |= {outside(file.src_uri, target) for target, _ in targets} - {None}
    for path in sorted(linked):
        language = LANGUAGES.get(Path(path).suffix, "")
        text = (ROOT / path).read_text()
        page = f"# {path}\n\n`````{language}\n{text}\n`````\n"
        files.append(File.generated(config, source_page(path), content=page))
    return files


def on_page_markdown(markdown, page, config, files):
    """Fills the table of fields; links to files outside docs/ lead to the pages that show them."""
    if page.file.src_uri.startswith("source/"):
        return markdown
    here = page.file.src_uri

    def shown(link: re.Match) -> str:
        path = outside(here, link["target"])
        if path is None:
            return link[0]
        return f"]({relpath(source_page(path), str(PurePosixPath(here).parent))})"

    if MARKER in markdown:
        markdown = markdown.replace(MARKER, table())
    return LINK.sub(shown, markdown)
