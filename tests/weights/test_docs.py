"""docs/weights.md says what the code does."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_tables_of_names_are_those_of_the_code():
    spec = importlib.util.spec_from_file_location("name_tables", DOCS / "name_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    page = tables.PAGE.read_text()
    assert page.count("blocks.{i}.attn.qkv") > 5
    assert tables.filled(page) == page, "run python docs/name_tables.py"
