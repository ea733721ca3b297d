"""Compiled programs on disk."""

import jax
import pytest

from rats_jax.errors import UserError
from rats_jax.runs.compilation_cache import keep_compiled_programs


@pytest.fixture
def setting():
    before = jax.config.jax_compilation_cache_dir
    yield lambda: jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_folder_is_made_and_used(setting, tmp_path):
    keep_compiled_programs(str(tmp_path / "new" / "one"))
    assert setting() == str(tmp_path / "new" / "one")
    assert (tmp_path / "new" / "one").is_dir()


def test_cpus_keep_nothing_unless_told(setting, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    keep_compiled_programs("auto")
    assert setting() is None


def test_what_the_environment_says_stands_before_auto(setting, monkeypatch, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    keep_compiled_programs("auto")
    assert setting() == str(tmp_path)
    keep_compiled_programs("")
    assert setting() is None


def test_a_folder_that_cannot_be_made_is_a_users_mistake(setting, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="compilation_cache .*file/x cannot be used"):
        keep_compiled_programs(str(tmp_path / "file" / "x"))
