"""rats export --checkpoint=DIR --output=DIR [--format=safetensors,dino,hf,onnx]

Exports the backbone of a run, or of other weights, to a folder that PyTorch, transformers, the
official DINO code or onnxruntime can load. Needs requirements-export.txt.
"""

from absl import flags

from rats_jax import command_line

CHECKPOINT, WEIGHTS = command_line.define_checkpoint()
OUTPUT = flags.DEFINE_string("output", "", "The folder to create.")
FORMAT = flags.DEFINE_list(
    "format", ["safetensors"], "Formats to write: safetensors, dino, hf, onnx."
)


def main() -> None:
    from rats_jax.torch_export.run import export

    command_line.require(
        (CHECKPOINT, "a run's workdir, or a file of weights"),
        (OUTPUT, "the folder to create"),
    )
    export(
        CHECKPOINT.value,
        OUTPUT.value,
        formats=FORMAT.value,
        weights=WEIGHTS.value,
    )


if __name__ == "__main__":
    command_line.run(main, out_of_memory="export on a machine with more memory")
