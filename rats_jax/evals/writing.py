"""The earlier path of rats_jax/writing.py."""

from rats_jax.writing import (
    draw_if_possible,
    markdown_table,
    with_interval,
    write_csv,
    write_json,
    write_text,
)

__all__ = [
    "draw_if_possible",
    "markdown_table",
    "with_interval",
    "write_csv",
    "write_json",
    "write_text",
]
