"""Runs a script of the official DINO code (facebookresearch/dino), as it is, on this model:

    python EXPORT/official_dino.py DINO/eval_knn.py --data_path IMAGENET
    torchrun --nproc_per_node=8 EXPORT/official_dino.py DINO/eval_linear.py --data_path IMAGENET
    python EXPORT/official_dino.py DINO/visualize_attention.py --image_path dog.jpg

The options are the script's own. Those that say which model (--arch, --patch_size,
--pretrained_weights) are filled in, and the weights must match in every tensor, which the scripts
themselves do not ask for. Without a GPU the scripts run on the CPU.
"""

import atexit
import contextlib
import gc
import io
import json
import os
import runpy
import sys
import threading
import traceback
from pathlib import Path

import torch
from modeling_rats import build
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

HERE = Path(__file__).resolve().parent
CONFIG = json.loads((HERE / "config.json").read_text())
OPTIONS = CONFIG["options"]
FILLED_IN = {
    "--arch": "vit_small",  # a name that all scripts know: it stands for this model
    "--patch_size": str(OPTIONS["patch"]),
    "--pretrained_weights": str(HERE / "checkpoint.pth"),
}


class Exported(nn.Module):
    """This model, with what the scripts use of the official VisionTransformer."""

    def __init__(self):
        super().__init__()
        self.model = build(OPTIONS)
        self.embed_dim = self.num_features = self.model.embed_dim

    def load_state_dict(self, state, strict=True):
        """Strict, whatever the script says; the projection head is no part of it."""
        backbone = {name: x for name, x in state.items() if not name.startswith("head.")}
        return self.model.load_state_dict(backbone, strict=True)

    def forward(self, images: Tensor) -> Tensor:
        """Global vectors [B, D]."""
        return self.model(images).global_vector

    def get_intermediate_layers(self, images: Tensor, n: int = 1) -> list[Tensor]:
        """Of the last n layers, [B, 1 + L, D]: the global vector, then the patches."""
        last = list(self.model.each_layer(images))[-n:]
        return [torch.cat((x.global_vector[:, None], x.patches), dim=1) for x in last]

    def get_last_selfattention(self, images: Tensor) -> Tensor:
        """[B, H, 1, 1 + L]: how [CLS] attends to itself and other tokens that are no patches
        (together, first) and to each patch. Of RATS, in its place, the mean over each head's
        registers."""
        layer = self.model.attending_layers[-1]
        attention = self.model(images, attention_of=[layer]).attention[layer]
        row = attention[:, :, :1] if self.model.has_cls else attention.mean(2, True)
        return torch.cat((1 - row.sum(-1, keepdim=True), row), dim=-1)


class OnCPU(TorchFunctionMode):
    """While it lasts, "cuda" means the CPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is Tensor.cuda:
            return args[0]
        if kwargs.get("device") == "cuda":
            kwargs = kwargs | {"device": "cpu"}
        return function(*args, **kwargs)

    def __enter__(self):
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "0")  # any that is free
        for name, alone in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
            os.environ.setdefault(name, alone)
        torch.cuda.set_device = lambda device: None
        torch.cuda.synchronize = lambda: None
        parallel, start = nn.parallel.DistributedDataParallel, torch.distributed.init_process_group
        nn.parallel.DistributedDataParallel = lambda module, device_ids: parallel(module)
        torch.distributed.init_process_group = lambda backend, **others: start("gloo", **others)
        return super().__enter__()


def run(script: str) -> int:
    """The exit status that Python would end with."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def leave(status: int) -> None:
    """Ends the process as Python does, but keeps the interpreter.

    DistributedDataParallel keeps gloo's threads alive, and one that drops its last tensor while the
    interpreter is being taken down aborts the process.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    for file in gc.get_objects():  # standard output, and files that the script has not closed
        if type(file) in (io.TextIOWrapper, io.BufferedWriter) and not file.closed:
            try:
                file.flush()
            except OSError:
                status = status or 120  # Python's own, where output is lost
    os._exit(status)


def main() -> None:
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        sys.exit(f"give a script of the official DINO code first:\n\n{__doc__}")
    script, *given = sys.argv[1:]
    for argument in given:
        name = argument.partition("=")[0]
        if any(len(name) > 2 and option.startswith(name) for option in FILLED_IN):
            sys.exit(f"omit {name}: it is set for the exported model")
        if len(name) > 2 and "--evaluate".startswith(name):
            sys.exit("--evaluate is for official weights: it loads the classifier made for them")

    sys.path.insert(0, str(Path(script).resolve().parent))
    import vision_transformer

    for name in ("vit_tiny", "vit_small", "vit_base"):
        setattr(vision_transformer, name, lambda **_: Exported())
    # As in model.safetensors, unless --checkpoint_key is given.
    default = ["--checkpoint_key", CONFIG["made_from"]["weights"]]
    sys.argv = [
        script,
        *default,
        *given,
        *(word for option in FILLED_IN.items() for word in option),
    ]
    on_cpu = not torch.cuda.is_available()
    with OnCPU() if on_cpu else contextlib.nullcontext():
        status = run(script)
        if not status and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if on_cpu:
        leave(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
