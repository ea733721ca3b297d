"""Time the exported RATS-S in PyTorch beside transformers' ViT-S: a forward pass, and its memory.

python benchmarks/exported.py [--pixels=512] [--batch=16] [--turns=5] [--dtype=float32]

The paper's Table 3 (on a GPU, 512 px) has RATS-S at 2.12 times ViT-S's speed, in .49 for 1.08 GB.
Both in one process, which take turns, on the GPU if there is one; each with fused attention
(scaled_dot_product_attention) and with unfused (every matrix of probabilities is made). Weights are
random: no value matters. Peak memory is of a process of its own: what a forward pass without
gradients adds to the weights (CPU: its resident memory; GPU: torch's count).
"""

import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from absl import app, flags
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import ViTConfig, ViTModel

sys.path.insert(0, str(Path(__file__).parents[1] / "rats_jax" / "torch_export" / "files"))
import modeling_rats  # noqa: E402

PIXELS = flags.DEFINE_integer("pixels", 512, "Height and width.")
BATCH = flags.DEFINE_integer("batch", 16, "Images.")
TURNS = flags.DEFINE_integer("turns", 5, "Turns of each.")
DTYPE = flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "Of weights and images.")
MEMORY_OF = flags.DEFINE_string("memory_of", "", "Measure one side's memory, and print it.")

SMALL = {"width": 384, "depth": 12, "heads": 6}
SIDES = ("RATS-S, fused", "ViT-S, fused", "RATS-S, unfused", "ViT-S, unfused")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make(side: str):
    """A function that runs one forward pass of the side."""
    fused = side.endswith(", fused")
    dtype = getattr(torch, DTYPE.value)
    if side.startswith("RATS"):
        model = modeling_rats.build({"architecture": "rats", **SMALL})
        # Ours has one way to say attention; this is how PyTorch takes it apart.
        attention = nullcontext if fused else lambda: sdpa_kernel(SDPBackend.MATH)
    else:
        config = ViTConfig(
            hidden_size=384,
            num_hidden_layers=12,
            num_attention_heads=6,
            intermediate_size=1536,
            image_size=PIXELS.value,
            attn_implementation="sdpa" if fused else "eager",
        )
        model, attention = ViTModel(config, add_pooling_layer=False), nullcontext
    model = model.to(DEVICE, dtype).eval()
    images = torch.randn(BATCH.value, 3, PIXELS.value, PIXELS.value, device=DEVICE, dtype=dtype)

    @torch.inference_mode()
    def forward() -> None:
        with attention():
            model(images)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return forward


def seconds(forward) -> float:
    started = time.perf_counter()
    forward()
    return time.perf_counter() - started


def peak_of(side: str) -> int:
    """Bytes, in a process of its own."""
    command = [sys.executable, __file__, f"--memory_of={side}"]
    command += [f"--pixels={PIXELS.value}", f"--batch={BATCH.value}", f"--dtype={DTYPE.value}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_peak(side: str) -> int:
    forward = make(side)
    if DEVICE == "cuda":
        before = torch.cuda.memory_allocated()
        forward()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _resident("VmRSS")
    forward()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main(_) -> None:
    if MEMORY_OF.value:
        print(measure_peak(MEMORY_OF.value))
        return
    name = (
        torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(f"{DEVICE} ({name}), torch {torch.__version__}, {DTYPE.value}, ", end="")
    print(f"batch {BATCH.value} of {PIXELS.value} px, {TURNS.value} turns")
    forwards = {side: make(side) for side in SIDES}
    for forward in forwards.values():
        forward()
    times = {side: [] for side in SIDES}
    for _ in range(TURNS.value):
        for side, forward in forwards.items():
            times[side].append(seconds(forward))
    medians = {side: statistics.median(values) for side, values in times.items()}
    columns = ("attention", "RATS-S, s", "ViT-S, s", "ViT-S / RATS-S", "over turns")
    columns += ("RATS-S, GB", "ViT-S, GB")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for way in ("fused", "unfused"):
        rats, vit = f"RATS-S, {way}", f"ViT-S, {way}"
        ratios = sorted(v / r for r, v in zip(times[rats], times[vit], strict=True))
        memory = " | ".join(f"{peak_of(side) / 1e9:.2f}" for side in (rats, vit))
        print(
            f"| {way} | {medians[rats]:.3f} | {medians[vit]:.3f} | "
            f"{medians[vit] / medians[rats]:.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} | {memory} |"
        )


if __name__ == "__main__":
    app.run(main)
