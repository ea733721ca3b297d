"""What docs/hooks.py adds to the site: config fields, and pages of linked source files."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from rats_jax.config import default_config, fields, finetune_config
from rats_jax.config_text import written

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_every_field_with_its_default_and_meaning(hooks):
    fields = {field.name: field for field in hooks.fields()}
    config = default_config()
    for name, field in fields.items():
        section, _, last = name.rpartition(".")
        assert written((config[section] if section else config)[last]) == field.default
    sections = [x for x in config.values() if isinstance(x, ConfigDict)]
    assert len(fields) == len(config) - len(sections) + sum(map(len, sections))
    assert fields["optimizer.batch_size"].default == "1024"
    assert "0 for threads" in fields["data.workers"].text
    assert "cannot be read" in fields["data.max_unreadable"].text
    rows = hooks.table().splitlines()
    row = f"| `data.workers` | `0` | a whole number, 0 or more | {fields['data.workers'].text} |"
    assert row in rows
    heads = "| `model.heads` | `6` | a whole number, more than 0 | Attention heads of a block. "
    assert f"{heads}Fixed for a run. |" in rows
    assert [row for row in rows if row.startswith("| `data.path` | empty | text | ")]


def test_links_to_files_outside_docs_lead_to_pages_that_show_them(hooks):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="quickstart/a.md"))
    text = "[a](../data.md#prepare) [b](../../rats_jax/errors.py) [c](https://example.org/x.py)"
    shown = hooks.on_page_markdown(text, page, None, None)
    assert "[a](../data.md#prepare)" in shown and "[c](https://example.org/x.py)" in shown
    assert "[b](../source/rats_jax/errors.py.md)" in shown


def test_a_markdown_file_outside_docs_is_a_page_whose_links_lead_to_pages(hooks):
    text = hooks.source_text("CONTRIBUTING.md")
    assert text.startswith("# Contributing")
    assert hooks.source_text("rats_jax/errors.py").startswith("# rats_jax/errors.py\n\n`````python")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="source/CONTRIBUTING.md.md"))
    shown = hooks.on_page_markdown("[a](docs/data.md#prepare) [b](Makefile)", page, None, None)
    assert shown == "[a](../data.md#prepare) [b](Makefile.md)"
    page.file.src_uri = "data.md"
    shown = hooks.on_page_markdown("[a](../CONTRIBUTING.md#set-up)", page, None, None)
    assert shown == "[a](source/CONTRIBUTING.md.md#set-up)"


def test_the_page_of_the_configuration_is_filled(hooks):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="configuration.md"))
    filled = hooks.on_page_markdown((DOCS / "configuration.md").read_text(), page, None, None)
    assert not any(marker in filled for marker in hooks.MARKERS.values())
    assert "`evaluation.smoothing`" in filled and "\n### decoder (finetune)\n" in filled
    rows = filled.splitlines()
    for field in fields(finetune_config()):
        assert [row for row in rows if row.startswith(f"| `{field.name}` | ")], field.name
    steps = "| `optimizer.steps` | `160000` | a whole number, more than 0 | Length of the run, in"
    assert f"{steps} steps. |" in rows
