"""A griffe extension for mkdocs.yml: docstrings that name arguments in paragraphs become lists."""

import re

from griffe import Extension, Object

# A paragraph "name: text" or "one, two: text", with its indented continuation lines.
NAMED = re.compile(
    r"^(?P<names>[a-z]\w*(?:, [a-z]\w*)*): (?P<text>\S.*(?:\n[ ]+\S.*)*)", re.MULTILINE
)


def as_lists(docstring: str) -> str:
    """The docstring, in which each such paragraph is an item of a list."""

    def item(found: re.Match) -> str:
        names = ", ".join(f"`{name}`" for name in found["names"].split(", "))
        return f"\n- {names}: " + re.sub(r"\n\s+", "\n  ", found["text"])

    return NAMED.sub(item, docstring)


class NamedParagraphs(Extension):
    """Griffe takes an indented continuation for an admonition, whose title is the first line."""

    def on_object(self, *, obj: Object, **_) -> None:
        if obj.docstring:
            obj.docstring.value = as_lists(obj.docstring.value)
