"""Time the training step of rats_jax beside a PyTorch port of it, on whatever device is there.

python benchmarks/train_step.py --config=configs/rats_s16_in1k.py [--batch_size=4]
    [--compute_dtype=float32] [--repeats=5] [--json=FILE] [--no-torch] [--config.FIELD=VALUE ...]

Each side is a process of its own (`workers.py`); the two take turns, so that neither's threads are
in the other's way and a slow minute of the machine falls on both. A step is everything of training
but data and photometrics: teacher, student, loss, backward pass, clipping, AdamW, center and moving
average, on the same normalised float crops.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

sys.path.insert(0, str(Path(__file__).parents[1]))

from rats_jax import command_line  # noqa: E402
from rats_jax.assemble import backbone_options  # noqa: E402
from rats_jax.errors import UserError  # noqa: E402
from rats_jax.models.flops import training_flops  # noqa: E402
from rats_jax.validation import validate  # noqa: E402
from rats_jax.voice import say  # noqa: E402

CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe, by name or path.")
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 0, "Images a step, on one device; 0: 4 on a CPU, else 64, or 16 above ViT-S."
)
DTYPE = flags.DEFINE_enum(
    "compute_dtype", "", ("", "float32", "bfloat16"), "By default float32 on a CPU, else as config."
)
REPEATS = flags.DEFINE_integer("repeats", 5, "Turns of each side.", lower_bound=1)
JSON = flags.DEFINE_string("json", "", "File to write the results to.")
NO_TORCH = flags.DEFINE_bool("no-torch", False, "Time rats_jax alone.")

TURN_SECONDS = 2  # a turn has as many steps as fit, and at least one
CEILING = {"cpu": 1024}  # size of the matrix products; 8192 elsewhere


class Worker:
    """A side of the comparison, in a process that does one thing at a time."""

    def __init__(self, side: str, **job):
        self.side = side
        command = [sys.executable, str(Path(__file__).with_name("workers.py")), side]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.about = self.ask(**job)

    def ask(self, **order) -> dict:
        """Sends one order, waits for its answer."""
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            status = self.process.wait()
            raise UserError(f"the {self.side} side ended ({status}); its error is above") from None

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    if CONFIG.value is None:
        raise UserError("no --config: name a recipe, such as --config=configs/rats_s16_in1k.py")
    config = CONFIG.value
    config.data.path = config.data.path or "none"  # noise is what is fed
    validate(config)
    job = {"config": config.to_dict(), "batch_size": BATCH_SIZE.value}
    workers = [Worker("rats_jax", **job, compute_dtype=DTYPE.value)]
    about = workers[0].about
    platform, batch = about["platform"], about["batch_size"]
    say(f"{about['device']}, {about['version']}, batch {batch}, {about['compute_dtype']}")
    reason = why_no_port(config, platform)
    if reason:
        say(f"no PyTorch port beside it: {reason}")
    else:
        shared = {
            name: about[name] for name in ("platform", "batch_size", "compute_dtype", "rates")
        }
        workers.append(Worker("torch", config=job["config"], **shared))
        say(f"the port: {workers[1].about['version']}, the paper's full QKV on every token")

    turns, ceiling = take_turns(workers, CEILING.get(platform, 8192))
    flops = batch * training_flops(backbone_options(config), crops=config.crops)
    results = {
        **{name: about[name] for name in ("device", "version", "batch_size", "compute_dtype")},
        "ceiling_flops": ceiling,
        "step_flops": flops,
    }
    for worker in workers:
        spent = {n: [turn[n] for turn in turns[worker.side]] for n in ("seconds", "cpu_seconds")}
        seconds = statistics.median(spent["seconds"])
        results[worker.side] = {
            "images_per_second": batch / seconds,
            "utilisation": flops / seconds / ceiling,
            **spent,
            "compile_seconds": worker.about["compile_seconds"],
            **worker.ask(memory=True),
        }
        worker.close()
    if len(workers) == 2:
        for ratio, spent in (("speedup", "seconds"), ("cpu_speedup", "cpu_seconds")):
            pairs = zip(results["torch"][spent], results["rats_jax"][spent], strict=True)
            results[ratio] = [theirs / ours for theirs, ours in pairs]
    report(results)
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(results, indent=1) + "\n")
        say(f"written to {JSON.value}")


def why_no_port(config: ConfigDict, platform: str) -> str:
    """Empty where there is one."""
    model = config.model
    if NO_TORCH.value:
        return "--no-torch"
    if platform not in ("cpu", "gpu"):
        return f"it does not run on a {platform}"
    plain = (model.communicate, model.sharing, model.parallel) == (
        "parameter_free",
        "partitioned",
        "none",
    )
    if model.architecture not in ("rats", "vit") or model.architecture == "rats" and not plain:
        return "it has plain RATS and ViT only"
    if config.dino.loss_scope != "all":
        return "it has no loss for each head"
    return ""


def take_turns(workers: list[Worker], size: int) -> tuple[dict[str, list[dict]], float]:
    """Answers to every turn, and the fastest matrix products seen on either side, FLOP/s."""
    steps = {}
    for worker in workers:  # the first steps are slower: not counted
        seconds = worker.ask(steps=1)["seconds"]
        steps[worker.side] = max(1, round(TURN_SECONDS / seconds))
    turns, ceilings = {worker.side: [] for worker in workers}, []
    for turn in range(REPEATS.value):
        for worker in workers:
            ceilings.append(worker.ask(ceiling=size)["flops"])
            worker.ask(steps=1)  # not counted: it wakes what the other's turn put to sleep
            answer = worker.ask(steps=steps[worker.side])
            turns[worker.side].append(answer)
            say(
                f"turn {turn + 1}: {worker.side:8} {answer['seconds']:.4g} s a step, "
                f"{answer['cpu_seconds']:.4g} s of CPU, loss {answer['loss']:.3f}"
            )
    return turns, max(ceilings)


def report(results: dict) -> None:
    say(
        f"\n{results['step_flops'] / 1e9:,.4g} GFLOP a step in the minimal form (backbone); "
        f"matrix products reach {results['ceiling_flops'] / 1e12:.3g} TFLOP/s"
    )
    say("side      images/s  s/step  MFU   peak memory  compile")
    for side in ("rats_jax", "torch"):
        if side not in results:
            continue
        row = results[side]
        peak = row["device_peak"] or row["process_peak"]
        seconds = statistics.median(row["seconds"])
        say(
            f"{side:8}  {row['images_per_second']:8.4g}  {seconds:6.4g}  {row['utilisation']:4.1%}"
            f"  {peak / 2**30:7.2f} GiB  {row['compile_seconds']:5.1f} s"
        )
    say("Peak memory is the device's, or on a CPU the process's. Compile of torch: its first step.")
    if results["rats_jax"]["compiled"]:
        say(f"The compiled step plans for {results['rats_jax']['compiled'] / 2**30:.2f} GiB.")
    for name, per in (("speedup", "second"), ("cpu_speedup", "second of CPU time")):
        if ratios := results.get(name):
            say(
                f"rats_jax / torch, images a {per}: {statistics.median(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f} over {len(ratios)} pairs of turns)"
            )


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose a smaller batch, or a smaller model")
