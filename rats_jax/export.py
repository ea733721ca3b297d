"""rats export --checkpoint=DIR --output=DIR [--format=safetensors,dino,hf,onnx]

A backbone out of a run, or out of other weights, to a folder that PyTorch, transformers, the
official DINO code or onnxruntime loads. Needs requirements-export.txt.
"""

from absl import flags

from rats_jax import command_line

CHECKPOINT, WEIGHTS = command_line.define_checkpoint()
OUTPUT = flags.DEFINE_string("output", "", "The folder to make.")
FORMAT = flags.DEFINE_list("format", ["safetensors"], "Of safetensors, dino, hf, onnx.")


def main() -> None:
    from rats_jax.torch_export.run import export

    command_line.require(
        (CHECKPOINT, "a run's workdir, or a file of weights"),
        (OUTPUT, "the folder to make"),
    )
    export(
        CHECKPOINT.value,
        OUTPUT.value,
        formats=FORMAT.value,
        weights=WEIGHTS.value,
    )


if __name__ == "__main__":
    command_line.run(main, out_of_memory="export on a machine with more memory")
