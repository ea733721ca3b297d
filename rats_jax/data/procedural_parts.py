"""Moved to `rats_jax.procedural_parts` in version 0.2.0; this path goes in 0.3.0."""

from rats_jax.procedural_parts import BACKGROUND, PARTS, SUPER_CATEGORIES, ProceduralParts, render

__all__ = ["BACKGROUND", "PARTS", "SUPER_CATEGORIES", "ProceduralParts", "render"]

if __name__ == "__main__":
    import runpy

    runpy.run_module("rats_jax.procedural_parts", run_name="__main__", alter_sys=True)
