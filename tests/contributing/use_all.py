"""Uses every addition together: `python -m tests.contributing.use_all COPY FOLDER`, started by
tests/test_contributing.py with the package of COPY, where they have been made."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags
from jax.sharding import SingleDeviceSharding

import rats_jax
from rats_jax import evaluate
from rats_jax.assemble import backbone_options, make_dino
from rats_jax.models.flops import forward_macs
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.loop import train
from rats_jax.torch_export.run import export
from tests.runs.tiny import tiny_config

BETA2 = 0.9


def config():
    """Two steps of the new backbone on images of the new source, with the new field and the new
    evaluation."""
    config = tiny_config(
        model__architecture="joint",
        model__queries=4,
        data__source="squares",
        data__length=16,
        optimizer__beta2=BETA2,
        optimizer__epochs=1.0,
        optimizer__warmup_epochs=0.0,
        run__checkpoint_every=1,
        evaluation__every_epochs=1.0,
        evaluation__parts="procedural_parts",
        evaluation__measures=("parts", "patch_norm"),
        evaluation__images=4,
        evaluation__resolution=16,
        evaluation__top_k=(2,),
    )
    config.dino.teacher_temperature_warmup_epochs = 0
    return config


def moments_of_one_step(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Adam's two moments of one parameter, after the first step."""
    state = jax.eval_shape(lambda: make_dino(config(), images=16).init(0))
    place = SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        {"optimizer": state["optimizer"]},
    )
    with Checkpoints(run, read_only=True) as checkpoints:
        adam = checkpoints.restore_step(1, like).state["optimizer"]["rest"]
    return tuple(np.asarray(x["backbone"]["patch_embed"]["kernel"]) for x in (adam.mu, adam.nu))


def evaluated(run: Path, *, task: str, dataset: str) -> dict:
    """results.json of a task of `rats evaluate`, in a folder of its name beside the run."""
    folder = run.parent / task
    given = {"checkpoint": run, "task": task, "dataset": dataset, "output": folder}
    arguments = [f"--{name}={value}" for name, value in given.items()]
    flags.FLAGS(["evaluate", *arguments, "--resolution=16"])
    evaluate.main()
    return json.loads((folder / "results.json").read_text())


def main(copy: Path, folder: Path) -> None:
    assert Path(rats_jax.__file__).is_relative_to(copy), "this is not the copy with the additions"
    run = folder / "run"

    print("a backbone: it has FLOPs, trains on the source, and is the same in PyTorch", flush=True)
    assert forward_macs(backbone_options(config()), pixels=16) > 0
    train(config(), str(run))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]
    export(run, folder / "export", formats=["safetensors"])

    print("a config field: the first step has used it", flush=True)
    first, second = moments_of_one_step(run)  # (1 - 0.9) g, (1 - beta2) g^2
    moved = np.abs(first) > 1e-6
    assert moved.any()
    np.testing.assert_allclose((second / first**2)[moved], (1 - BETA2) / 0.01, rtol=1e-3)

    print("an evaluation during training: it is reported", flush=True)
    assert all(row["patch_norm/mean"] > 0 for row in rows if "parts/m2o_2" in row)
    assert sum("patch_norm/mean" in row for row in rows) == 2

    print("a task of evaluate: it is in --help, and runs on the source", flush=True)
    assert "With --task=likeness" in evaluate.__doc__
    found = evaluated(run, task="likeness", dataset="squares:6")
    assert found["dataset"].startswith("squares") and -1 <= found["likeness"]["model"] <= 1

    print("a part metric: it is in the table, and measured during training", flush=True)
    found = evaluated(run, task="parts", dataset="procedural_parts:4")
    assert 0 < found["scores"]["16"]["4"]["model: registers"]["mean"]["purity"] <= 1
    header, *_ = (folder / "parts" / "table.md").read_text().splitlines()
    assert "| purity" in header, header
    assert any("parts/purity_2" in row for row in rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
