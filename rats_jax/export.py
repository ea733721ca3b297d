"""python -m rats_jax.export --checkpoint=DIR --output=DIR [--format=safetensors,dino,hf,onnx]

A backbone out of a run, or out of other weights, to a folder that PyTorch, transformers, the
official DINO code or onnxruntime loads. Needs requirements-export.txt.
"""

from pathlib import Path

from absl import flags

from rats_jax import command_line
from rats_jax.errors import UserError

CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "",
    "A run's workdir, or one of its checkpoints (WORKDIR/checkpoints/STEP), or weights of DINO, "
    "DINOv2, DINOv3, timm or transformers: a file or a folder.",
)
OUTPUT = flags.DEFINE_string("output", "", "The folder to make.")
FORMAT = flags.DEFINE_list("format", ["safetensors"], "Of safetensors, dino, hf, onnx.")
WEIGHTS = flags.DEFINE_enum("weights", "teacher", ["teacher", "student"], "Whose weights.")


def main() -> None:
    from rats_jax.torch_export.run import export

    if not CHECKPOINT.value:
        raise UserError("no --checkpoint: name a run's workdir, or a file of weights")
    if not OUTPUT.value:
        raise UserError("no --output: name the folder to make")
    export(
        CHECKPOINT.value,
        Path(OUTPUT.value).expanduser(),
        formats=FORMAT.value,
        weights=WEIGHTS.value,
    )


if __name__ == "__main__":
    command_line.run(main)
