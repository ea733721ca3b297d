"""The official DINO layout, and its scripts on an export: here a script that makes their calls."""

import importlib.util
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import torch

from rats_jax.assemble import backbone_options, make_model
from rats_jax.torch_export import dino_checkpoint, one_file
from rats_jax.weights.names import from_torch
from tests.runs.tiny import tiny_config
from tests.torch_reference.dino import DINOHead, MultiCropWrapper
from tests.torch_reference.models import RATS, ViT
from tests.torch_reference.weights import randomised

#: The calls of the official eval_knn.py, eval_linear.py and visualize_attention.py, and utils.py.
SCRIPT = """
import argparse, atexit, os, threading
import numpy as np
import torch
import torch.distributed as dist
import vision_transformer as vits
from helping import END, PREFIX

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", default="vit_base", choices=["vit_tiny", "vit_small", "vit_base"])
    parser.add_argument("--patch_size", default=16, type=int)
    parser.add_argument("--pretrained_weights", default="")
    parser.add_argument("--checkpoint_key", default="teacher")
    parser.add_argument("--images", nargs="+")
    args = parser.parse_args()
    rank, gpu = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    dist.init_process_group(
        backend="nccl", init_method="env://", world_size=int(os.environ["WORLD_SIZE"]), rank=rank
    )
    torch.cuda.set_device(gpu)
    dist.barrier()

    model = vits.__dict__[args.arch](patch_size=args.patch_size, num_classes=0)
    model.cuda()
    state = torch.load(args.pretrained_weights, map_location="cpu")[args.checkpoint_key]
    state = {name.replace("module.", ""): tensor for name, tensor in state.items()}
    state = {name.replace("backbone.", ""): tensor for name, tensor in state.items()}
    model.load_state_dict(state, strict=False)
    model.eval()
    linear = torch.nn.Linear(2 * model.embed_dim, 3).cuda()
    linear = torch.nn.parallel.DistributedDataParallel(linear, device_ids=[gpu])

    images, output = args.images
    images = torch.from_numpy(np.load(images)).cuda(non_blocking=True)
    with torch.no_grad():
        vectors = model(images).clone()
        layers = model.get_intermediate_layers(images, 2)
        attentions = model.get_last_selfattention(images)
    linear(torch.cat([x[:, 0] for x in layers], dim=-1)).sum().backward()
    torch.cuda.synchronize()
    count = torch.tensor([1, rank], dtype=torch.float64, device="cuda")
    dist.all_reduce(count)
    gathered = list(torch.empty(1, *vectors.shape).unbind(0))
    dist.all_gather(gathered, vectors, async_op=True).wait()
    heads, (h, w) = attentions.shape[1], (x // args.patch_size for x in images.shape[-2:])
    np.savez(
        output,
        vectors=torch.cat(gathered),
        patches=layers[-2][:, 1:],
        attentions=attentions[0, :, 0, 1:].reshape(heads, h, w),
        gradient=linear.module.weight.grad,
    )
    atexit.register(print, PREFIX, count.tolist())
    log = open("log", "w")
    threading.Timer(0.5, lambda: log.write("closed at the end")).start()
    for _ in range(60):  # gloo's threads are still at work when the script ends
        dist.all_gather([torch.empty(5_000_000)], torch.ones(5_000_000), async_op=True)
    raise SystemExit(END)
"""
RATS_FIELDS = {"model__depth": 3}
VIT_FIELDS = RATS_FIELDS | {"model__architecture": "vit", "model__plain_registers": 2}


def network(seed: int = 0, **fields):
    """A config, and a network's parameters in which every array matters."""
    config = tiny_config(**fields)
    _, init = make_model(config)
    return config, randomised(jax.eval_shape(init, jax.random.key(0)), seed=seed)


def export(folder, *, weights="teacher", **fields):
    """The folder of a small model, with different student and teacher."""
    config, teacher = network(seed=0, **fields)
    _, student = network(seed=1, **fields)
    folder.mkdir()
    about = {"weights": weights}
    options = backbone_options(config)
    params = {"teacher": teacher, "student": student}[weights]["backbone"]
    one_file.write(folder, options=options, params=params, about=about)
    center = np.arange(config.head.prototypes, dtype=np.float32)[None]
    parts = {"student": student, "teacher": teacher, "center": center}
    dino_checkpoint.write(folder, **parts, config=config, epoch=3)
    return config, parts


def draw(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape, np.float32))


@pytest.fixture
def launcher(monkeypatch):
    """Imports official_dino.py of a folder."""

    def load(folder):
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "modeling_rats", raising=False)
        spec = importlib.util.spec_from_file_location("official", folder / "official_dino.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.delitem(sys.modules, "modeling_rats")
        return module

    return load


def test_torch_loads_the_official_layout_as_plain_values(tmp_path):
    config, parts = export(tmp_path / "export", **RATS_FIELDS)
    content = torch.load(tmp_path / "export" / "checkpoint.pth", weights_only=True)
    assert list(content) == ["student", "teacher", "epoch", "args", "dino_loss"]
    assert {name.split(".")[0] for name in content["teacher"]} == {"backbone", "head"}
    assert set(content["student"]) == {f"module.{name}" for name in content["teacher"]}
    assert content["epoch"] == 3
    np.testing.assert_array_equal(content["dino_loss"]["center"], parts["center"])
    args = content["args"]
    assert args["arch"] == "rats_other" and args["patch_size"] == config.model.patch
    assert args["out_dim"] == config.head.prototypes and args["norm_last_layer"] is True
    assert args["momentum_teacher"] == config.dino.teacher_momentum
    assert args["global_crops_scale"] == list(config.crops.global_scale)
    assert args["rats_options"] == backbone_options(config).asdict()


@pytest.mark.parametrize("fixed_gain", [True, False])
@pytest.mark.parametrize("architecture", ["rats", "vit"])
def test_backbone_and_head_are_those_of_the_official_network(tmp_path, architecture, fixed_gain):
    config, parts = export(
        tmp_path / "export",
        model__architecture=architecture,
        model__drop_path=0.0,
        head__norm_last_layer=fixed_gain,
    )
    model, head = config.model, config.head
    common = {"width": model.width, "depth": model.depth, "heads": model.heads}
    common |= {"patch_size": model.patch, "image_size": config.crops.global_size}
    if architecture == "rats":
        backbone = RATS(per_head=model.registers_per_head, **common)
    else:
        backbone = ViT(**common)
    official = MultiCropWrapper(
        backbone,
        DINOHead(
            model.width,
            prototypes=head.prototypes,
            hidden=head.hidden,
            bottleneck=head.bottleneck,
            norm_last_layer=fixed_gain,
        ),
    )
    content = torch.load(tmp_path / "export" / "checkpoint.pth")
    crops = draw(2, 3, 16, 16)
    for name, prefix in {"student": "module.", "teacher": ""}.items():
        state = {key.removeprefix(prefix): x for key, x in content[name].items()}
        official.load_state_dict(state, strict=True)
        jax_network, _ = make_model(config)
        ours = jax_network.logits(
            parts[name], {"global": np.moveaxis(crops.numpy(), 1, -1)[:, None]}
        )
        theirs = official([crops]).detach()
        np.testing.assert_allclose(theirs, ours[:, 0, 0], atol=2e-5)


def test_what_was_written_is_read_back_exactly(tmp_path):
    _, parts = export(tmp_path / "export", **RATS_FIELDS)
    state = torch.load(tmp_path / "export" / "checkpoint.pth")["teacher"]
    for part in ("backbone", "head"):
        arrays = {
            name.removeprefix(f"{part}."): tensor.numpy()
            for name, tensor in state.items()
            if name.startswith(part) and not name.endswith("weight_g")
        }
        tree = from_torch(arrays, parts["teacher"][part], source="checkpoint.pth")
        jax.tree.map(np.testing.assert_array_equal, tree, parts["teacher"][part])
    images = draw(2, 3, 24, 16).numpy()
    for a, b in zip(
        dino_checkpoint.outputs(tmp_path / "export", images),
        one_file.outputs(tmp_path / "export", images),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.processes
@pytest.mark.parametrize(
    "fields, weights, end",
    [(RATS_FIELDS, "teacher", None), (VIT_FIELDS, "student", 3)],
    ids=["rats", "vit"],
)
def test_official_calls_run_on_a_cpu_and_see_the_exported_model(tmp_path, fields, weights, end):
    folder, repo = tmp_path / "export", tmp_path / "dino"
    config, _ = export(folder, weights=weights, **fields)
    repo.mkdir()
    (repo / "script.py").write_text(SCRIPT)
    (repo / "helping.py").write_text(f"PREFIX, END = 'reduced', {end}")
    (repo / "vision_transformer.py").write_text("def vit_small(**_): raise AssertionError")
    images = draw(2, 3, 24, 16)
    np.save(tmp_path / "images.npy", images.numpy())
    hidden = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "PYTHONPATH", "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, folder / "official_dino.py", repo / "script.py"]
        + ["--images", "images.npy", "found.npz"],
        cwd=tmp_path,
        env={name: x for name, x in os.environ.items() if name not in hidden}
        | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == (end or 0), done.stderr
    assert done.stdout.strip() == "reduced [1.0, 0.0]"
    assert (tmp_path / "log").read_text() == "closed at the end"
    found = np.load(tmp_path / "found.npz")

    model = one_file.modeling(folder).load(folder)
    with torch.no_grad():
        features = model(images, attention_of=[-1])
        before_last = list(model.each_layer(images))[-2]
    attention = features.attention[config.model.depth - 1][0]
    attention = attention.mean(1) if fields is RATS_FIELDS else attention[:, 0]
    for name, expected in {
        "vectors": features.global_vector,
        "patches": before_last.patches,
        "attentions": attention.reshape(3, 3, 2),
        "gradient": torch.cat((before_last.global_vector, features.global_vector), dim=1)
        .sum(0)
        .expand(3, -1),
    }.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("fields", [RATS_FIELDS, VIT_FIELDS], ids=["rats", "vit"])
def test_rows_of_attention_sum_to_one_with_the_other_tokens_first(tmp_path, fields, launcher):
    export(tmp_path / "export", **fields)
    model = launcher(tmp_path / "export").Exported()
    attention = model.get_last_selfattention(draw(2, 3, 24, 16))
    assert attention.shape == (2, 3, 1, 1 + 6)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, 1))
    others = attention[..., 0]
    if fields is RATS_FIELDS:  # registers attend to patches alone
        torch.testing.assert_close(others, torch.zeros(2, 3, 1), rtol=0, atol=1e-6)
    else:
        assert (others > 1e-3).all()


def test_weights_that_do_not_fit_are_refused_though_scripts_do_not_ask(tmp_path, launcher):
    export(tmp_path / "export", **RATS_FIELDS)
    model = launcher(tmp_path / "export").Exported()
    state = torch.load(tmp_path / "export" / "checkpoint.pth")["teacher"]
    state = {name.removeprefix("backbone."): x for name, x in state.items()}
    model.load_state_dict(state, strict=False)
    kept = state.pop("registers")
    with pytest.raises(RuntimeError, match="registers"):
        model.load_state_dict(state, strict=False)
    with pytest.raises(RuntimeError, match="more"):
        model.load_state_dict(state | {"registers": kept, "more": kept}, strict=False)


@pytest.mark.parametrize(
    "option", ["--arch=vit_base", "--pretrained", "--patch_size", "--evaluate"]
)
def test_options_that_would_take_another_model_are_refused(tmp_path, launcher, monkeypatch, option):
    export(tmp_path / "export", **RATS_FIELDS)
    script = tmp_path / "eval_knn.py"
    script.write_text("raise AssertionError")
    monkeypatch.setattr(sys, "argv", ["official_dino.py", str(script), option, "8"])
    with pytest.raises(SystemExit, match=option.partition("=")[0]):
        launcher(tmp_path / "export").main()
