"""The two sides of `train_step.py`, each a process of its own with its own threads and memory.

python benchmarks/workers.py rats_jax|torch

A worker reads one JSON object a line and answers each with one. The first is the job, the arguments
of its side. Then {"steps": k} times k training steps in a row, {"ceiling": n} times products of
n x n matrices, {"memory": true} asks for peaks.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

PRODUCTS = 10
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def random_crops(config: dict, batch_size: int) -> dict[str, np.ndarray]:
    """Noise as the photometrics hand it on: {"global": [B, 2, S, S, 3], "local": [B, V, s, s, 3]},
    float32, normalised."""
    rng, crops = np.random.default_rng(0), config["crops"]
    views = {"global": (2, crops["global_size"])}
    views["local"] = (crops["local_crops"], crops["local_size"])
    return {
        name: (rng.integers(0, 256, (batch_size, v, size, size, 3), np.uint8) / 255 - MEAN) / STD
        for name, (v, size) in views.items()
    }


class JaxSide:
    """The step of `rats_jax.dino`, jitted and donated as in training, on one device. Batch size 0
    and dtype "" are the device's defaults."""

    def __init__(self, config: dict, batch_size: int, compute_dtype: str):
        # Else the first process on a GPU takes three quarters of its memory.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax
        from ml_collections import ConfigDict

        from rats_jax.assemble import make_dino

        self.jax, self.device = jax, jax.devices()[0]
        on_cpu = self.device.platform == "cpu"
        large = config["model"]["width"] > 384
        self.batch_size = batch_size or (4 if on_cpu else 16 if large else 64)
        self.dtype = compute_dtype or ("float32" if on_cpu else config["compute_dtype"])
        config = ConfigDict({**config, "compute_dtype": self.dtype})
        images = max(config.data.length, config.optimizer.batch_size)
        dino = make_dino(config, images=images)
        crops = random_crops(config.to_dict(), self.batch_size)
        self.crops = jax.device_put({k: x.astype(np.float32) for k, x in crops.items()})
        state = jax.jit(dino.init, static_argnums=0)(config.seed)
        # Past warm-up and freeze, where nearly every step of a run is.
        first = max(dino.schedules.warmup_steps, dino.schedules.freeze_last_layer_steps)
        self.state = {**state, "step": jax.numpy.int32(first)}
        start = time.perf_counter()
        step = jax.jit(dino.step, donate_argnums=0)
        self.step = step.lower(self.state, self.crops).compile()
        self.compile_seconds = time.perf_counter() - start
        self.run(1)
        self.rates = {
            "learning_rate": float(self.metrics["learning_rate"]),
            "weight_decay": float(self.metrics["weight_decay"]),
            "momentum": float(self.metrics["teacher_momentum"]),
            "temperature": float(self.metrics["teacher_temperature"]),
        }

    def describe(self) -> dict:
        return {
            "version": f"jax {self.jax.__version__}",
            "platform": self.device.platform,
            "device": self.device.device_kind,
            "batch_size": self.batch_size,
            "compute_dtype": self.dtype,
            "compile_seconds": self.compile_seconds,
            "rates": self.rates,
        }

    def run(self, steps: int) -> float:
        """Runs so many steps; returns the last one's loss."""
        for _ in range(steps):
            self.state, self.metrics = self.step(self.state, self.crops)
        return float(self.metrics["loss"])

    def products(self, size: int) -> None:
        jnp = self.jax.numpy
        a = jnp.ones((size, size), self.dtype)
        for _ in range(PRODUCTS):
            product = jnp.matmul(a, a)
        product.block_until_ready()

    def memory(self) -> dict:
        stats = self.device.memory_stats() or {}
        planned = self.step.memory_analysis()
        total = planned.temp_size_in_bytes + planned.argument_size_in_bytes
        total += planned.output_size_in_bytes - planned.alias_size_in_bytes
        return {"device_peak": stats.get("peak_bytes_in_use"), "compiled": total}


class TorchSide:
    """The port, on the platform, batch, dtype and rates of the other side."""

    def __init__(self, config: dict, batch_size: int, compute_dtype: str, platform: str, rates):
        import torch

        from benchmarks.torch_port import Trainer

        self.torch, self.rates = torch, rates
        self.device = "cuda" if platform == "gpu" else "cpu"
        self.on_gpu = self.device == "cuda"
        if self.on_gpu and not torch.cuda.is_available():
            raise SystemExit("torch sees no GPU")
        self.dtype = getattr(torch, compute_dtype)
        if self.on_gpu and compute_dtype == "float32":
            torch.set_float32_matmul_precision("high")  # TF32, as XLA does
        torch.manual_seed(0)
        self.trainer = Trainer(
            config,
            device=self.device,
            autocast=compute_dtype == "bfloat16",
            compiled=self.on_gpu,
        )
        self.crops = {
            name: torch.tensor(x, dtype=torch.float32, device=self.device)
            .permute(0, 1, 4, 2, 3)
            .contiguous()
            for name, x in random_crops(config, batch_size).items()
        }
        start = time.perf_counter()
        self.run(1)
        self.first_step = time.perf_counter() - start

    def describe(self) -> dict:
        return {"version": f"torch {self.torch.__version__}", "compile_seconds": self.first_step}

    def run(self, steps: int) -> float:
        for _ in range(steps):
            loss = self.trainer.step(self.crops, **self.rates)
        return float(loss)

    def products(self, size: int) -> None:
        a = self.torch.ones((size, size), dtype=self.dtype, device=self.device)
        for _ in range(PRODUCTS):
            a @ a
        if self.on_gpu:
            self.torch.cuda.synchronize()

    def memory(self) -> dict:
        return {"device_peak": self.torch.cuda.max_memory_allocated() if self.on_gpu else None}


def main() -> None:
    # Only answers may reach the pipe: whatever else is printed goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    side = {"rats_jax": JaxSide, "torch": TorchSide}[sys.argv[1]](**json.loads(input()))
    print(json.dumps(side.describe()), file=answers)
    for line in sys.stdin:
        order = json.loads(line)
        if "steps" in order:
            start = np.array([time.perf_counter(), time.process_time()])
            loss = side.run(order["steps"])
            spent = np.array([time.perf_counter(), time.process_time()]) - start
            seconds, cpu_seconds = (spent / order["steps"]).tolist()
            answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "loss": loss}
        elif "ceiling" in order:
            side.products(order["ceiling"])  # the first may compile
            start = time.perf_counter()
            side.products(order["ceiling"])
            flops = 2 * PRODUCTS * order["ceiling"] ** 3
            answer = {"flops": flops / (time.perf_counter() - start)}
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            answer = {**side.memory(), "process_peak": peak}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
