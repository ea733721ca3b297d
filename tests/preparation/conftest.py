"""A fake ImageNet, and its shards."""

from pathlib import Path

import pytest

from rats_jax.preparation.run import prepare
from tests.preparation import fake_ilsvrc

SHARD_MB = 0.05


@pytest.fixture(scope="session")
def fake(tmp_path_factory):
    """A fake ILSVRC as folders, and what is in it."""
    folder = tmp_path_factory.mktemp("ilsvrc") / "folders"
    facts = fake_ilsvrc.build(folder)
    return folder, facts


@pytest.fixture(scope="session")
def uninterrupted(fake):
    output = fake[0].parent / "uninterrupted"
    prepare(fake[0], output, workers=2, shard_mb=SHARD_MB, shorter_side=0)
    return output


def content(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file()
    }


def shard_files(output: Path) -> list[Path]:
    return sorted(output.glob("*/*.array_record"))
