"""What the site has beyond Markdown: the tables of config fields, and pages of linked files."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "source/"  # where the pages of files outside docs/ are
#: By command whose configs have the fields: where their tables are.
MARKERS = {
    "train": "<!-- config fields: by hooks.py -->",
    "finetune": "<!-- config fields of finetune: by hooks.py -->",
}
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".sh": "bash", ".sbatch": "bash", ".yaml": "yaml"}


class Field(NamedTuple):
    """One config field: its dotted name, its default as it is written on a command line, the values
    that it accepts, and what it means."""

    name: str
    default: str
    values: str
    text: str


def fields(command: str = "train") -> list[Field]:
    """Every field of a command's configs, in the order of declaration: all that the site reads of
    the config."""
    from rats_jax import config
    from rats_jax.config_text import accepted, shown

    return [
        Field(field.name, shown(field, field.default), accepted(field), described(field))
        for field in config.fields_of(command)
    ]


def described(field) -> str:
    """The text of a declared field, and what a resume allows."""
    return field.text + ("" if field.may_change_on_resume else " Fixed for a run.")


def table(command: str = "train") -> str:
    """All fields as Markdown, with a heading for each group."""
    head = ["| field | default | values | meaning |", "|---|---|---|---|"]
    lines, group = [*head], ""
    suffix = "" if command == "train" else f" ({command})"
    for field in fields(command):
        if (of := field.name.rpartition(".")[0]) != group:
            group = of
            lines += ["", f"### {group}{suffix}", "", *head]
        text = field.text.replace("|", "\\|").replace("<", "&lt;")
        default = f"`{field.default}`" if field.default else "empty"
        lines.append(f"| `{field.name}` | {default} | {field.values} | {text} |")
    return "\n".join(lines)


def repository_path(page: str) -> str:
    """The file that a page of the site shows."""
    if page.startswith(SOURCE):
        return page.removeprefix(SOURCE).removesuffix(".md")
    return f"docs/{page}"


def target_path(page: str, target: str) -> str | None:
    """The path in the repository that a page's link means; None for a URL."""
    if re.match(r"[a-z]+:", target):
        return None
    return normpath(str(PurePosixPath(repository_path(page)).parent / target))


def outside(page: str, target: str) -> str | None:
    """As `target_path`, if it is a file outside docs/."""
    path = target_path(page, target)
    return None if path is None or path.startswith(("docs/", "..")) else path


def source_page(path: str) -> str:
    """Where the site shows a file of the repository."""
    return f"{SOURCE}{path}.md"


def source_text(path: str) -> str:
    """What the site shows of it: a Markdown file as it is, code as a block."""
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n`````{LANGUAGES.get(Path(path).suffix, '')}\n{text}\n`````\n"


def on_files(files, config):
    """Adds a page for each file of the repository that a page links to."""
    from mkdocs.structure.files import File

    pages = [(file.src_uri, file.content_string) for file in files.documentation_pages()]
    added: set[str] = set()
    while pages:
        page, text = pages.pop()
        targets = [link["target"] for link in LINK.finditer(text)]
        for path in {outside(page, target) for target in targets} - {None} - added:
            added.add(path)
            content = source_text(path)
            files.append(File.generated(config, source_page(path), content=content))
            if path.endswith(".md"):
                pages.append((source_page(path), content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Fills the table of fields; links to files outside docs/ lead to the pages that show them."""
    here = page.file.src_uri
    if here.startswith(SOURCE) and not repository_path(here).endswith(".md"):
        return markdown

    def shown(link: re.Match) -> str:
        path = target_path(here, link["target"])
        if path is None or path.startswith(".."):
            return link[0]
        is_page = path.startswith("docs/")
        to = path.removeprefix("docs/") if is_page else source_page(path)
        anchor = (link["anchor"] or "") if path.endswith(".md") else ""
        return f"]({relpath(to, str(PurePosixPath(here).parent))}{anchor})"

    for command, marker in MARKERS.items():
        if marker in markdown:
            markdown = markdown.replace(marker, table(command))
    return LINK.sub(shown, markdown)
