"""The list of unreadable images, and the limit to them."""

import pytest

from rats_jax.errors import UserError
from rats_jax.runs.guards.unreadable import Unreadable


class Named:
    def __init__(self, *files: str, length: int = 10_000):
        self.files = files
        self.length = length

    def __len__(self):
        return self.length


NAMES = [
    "plain.jpg",
    "tab\there.jpg",
    "line\nend.jpg",
    "latin \udce9.jpg",
    "sep\u2028.jpg",
    "né.jpg",
]


def test_names_of_every_kind_are_listed_once_whatever_is_started_again(tmp_path, capsys):
    for _ in range(3):
        unreadable = Unreadable(Named(*NAMES), tmp_path, max_share=1.0, start=1)
        unreadable.add({i: "why" for i in range(6)}, replaced=6, drawn=10)
        assert unreadable.count == 6
    lines = unreadable.file.read_text(encoding="utf-8").splitlines()
    assert lines == [
        "plain.jpg\twhy",
        "tab\\there.jpg\twhy",
        "line\\nend.jpg\twhy",
        "latin \\udce9.jpg\twhy",
        "sep\\u2028.jpg\twhy",
        "né.jpg\twhy",
    ]
    assert capsys.readouterr().out.count("cannot read") == 6


def test_a_run_from_the_beginning_has_a_list_of_its_own(tmp_path):
    first = Unreadable(Named(*NAMES), tmp_path, max_share=1.0, start=0)
    first.add({0: "why"}, replaced=1, drawn=10)
    assert Unreadable(Named(*NAMES), tmp_path, max_share=1.0, start=5).count == 1
    assert Unreadable(Named(*NAMES), tmp_path, max_share=1.0, start=0).count == 0
    assert (tmp_path / "unreadable.old.txt").read_text() == "plain.jpg\twhy\n"
    assert not first.file.exists()


def test_neighbours_that_were_tried_do_not_count_against_the_limit(tmp_path):
    names = [f"{i}.jpg" for i in range(100)]
    unreadable = Unreadable(Named(*names), tmp_path, max_share=0.01, start=1)
    unreadable.add({i: "why" for i in range(100)}, replaced=1, drawn=32)
    assert unreadable.count == 100


def test_the_limit_is_a_share_of_the_images_drawn(tmp_path):
    source = Named(*[f"{i}.jpg" for i in range(100)])
    unreadable = Unreadable(source, tmp_path, max_share=0.01, start=1)
    unreadable.add({}, replaced=0, drawn=4000)
    unreadable.add({i: "why" for i in range(40)}, replaced=40, drawn=100)  # of 4,100
    with pytest.raises(
        UserError, match="42 of the 4,102 images drawn .*listed in .*unreadable.txt"
    ):
        unreadable.add({50: "why"}, replaced=2, drawn=2)


def test_early_on_the_limit_is_that_of_a_thousand_images_or_of_them_all(tmp_path):
    early = Unreadable(Named("a.jpg"), tmp_path / "..", max_share=0.01, start=1)
    early.file = tmp_path / "early.txt"
    early.add({0: "why"}, replaced=10, drawn=20)
    with pytest.raises(UserError):
        early.add({0: "why"}, replaced=1, drawn=20)
    small = Unreadable(Named("a.jpg", length=50), tmp_path, max_share=0.01, start=1)
    with pytest.raises(UserError):
        small.add({0: "why"}, replaced=1, drawn=20)
