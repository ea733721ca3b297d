"""The one table of sources is what training, evaluation, validation and --help know."""

import pytest
from absl import flags

import rats_jax.evaluate  # noqa: F401  defines --dataset
from rats_jax.assemble import make_source
from rats_jax.classification.labelled import open_labelled
from rats_jax.config import default_config, fields
from rats_jax.data import kinds
from rats_jax.data.source_kinds import SOURCES, SourceKind
from rats_jax.errors import UserError
from tests.contributing.new.squares_source import Squares
from tests.runs.tiny import tiny_config


@pytest.mark.parametrize("kind", SOURCES)
def test_a_kind_is_in_the_help_and_in_the_text_of_its_field(kind):
    pattern = kinds.pattern(kind)
    assert SOURCES[kind].written.startswith(pattern) and pattern.startswith(f"{kind}:")
    assert pattern in flags.FLAGS["dataset"].help
    (field,) = (field for field in fields() if field.name == "data.source")
    assert kind in field.text


@pytest.mark.parametrize("kind", SOURCES)
def test_a_kind_reads_fields_that_there_are_and_refuses_to_do_without_those_it_needs(kind):
    data = default_config().data
    assert set(SOURCES[kind].needs) <= set(SOURCES[kind].reads) <= set(data)
    given = {f"data__{name}": "x" for name in SOURCES[kind].needs if data[name] == ""}
    for name, remedy in SOURCES[kind].needs.items():
        config = tiny_config(data__source=kind, **given)
        config.data[name] = data[name]
        with pytest.raises(UserError) as error:
            make_source(config)
        given_as = "empty" if data[name] == "" else data[name]
        assert str(error.value) == f"config.data.{name} is {given_as}: {remedy}"


def test_an_entry_in_the_table_is_all_that_a_source_takes(monkeypatch):
    squares = SourceKind(
        open=Squares,
        reads=("length",),
        needs={"length": "say how many squares"},
        open_place=lambda place: Squares(int(place)),
        written="squares:COUNT",
    )
    monkeypatch.setitem(SOURCES, "squares", squares)
    monkeypatch.setitem(kinds.LABELLED, "squares", squares.written)
    assert len(make_source(tiny_config(data__source="squares", data__length=12))) == 12
    with pytest.raises(UserError, match=r"^config\.data\.length is 0: say how many squares$"):
        make_source(tiny_config(data__source="squares", data__length=0))
    assert open_labelled("squares:7").read(3)[1] == 1
