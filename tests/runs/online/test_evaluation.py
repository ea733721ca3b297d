"""Evaluation while a run trains: right figures, the same on any mesh and after any kill, and no
effect on training."""

import io
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.backbones import open_backbone
from rats_jax.classification.views import central_crop
from rats_jax.dino.augment import normalize
from rats_jax.errors import UserError
from rats_jax.parts.region_metrics import RegionScores, score
from rats_jax.procedural_parts import BACKGROUND, ProceduralParts
from rats_jax.runs import loop, observer
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.guards.watchdog import Watchdog
from rats_jax.runs.loop import train
from rats_jax.runs.online.data import DRAWN_SEED
from rats_jax.runs.online.evaluation import OnlineEvaluation, open_evaluation
from rats_jax.runs.online.pictures import COUNT
from rats_jax.runs.online.pictures import SIDE as PICTURE
from rats_jax.runs.restore import restore
from tests.runs.event_files import events, pictures, scalars
from tests.runs.online.evaluated import IMAGES, PATCH, SIDE, evaluated

TIMES = {"time", "images_per_second", "input_wait", "seconds_left", "evaluation/seconds"}


def one_device(config) -> jax.sharding.Mesh:
    return make_mesh(config, jax.devices()[:1])


def metrics(workdir: Path) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Runs of this module train on one device, by one program: to compile it takes the longest."""
    programs, compile_train_step = [], loop.compile_train_step

    def compile_new(*arguments):
        if not programs:
            programs.append(compile_train_step(*arguments))
        return programs[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_mesh", one_device)
        patch.setattr(loop, "compile_train_step", compile_new)
        yield


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    beats, bests, measure, redraw = [], [], OnlineEvaluation.measure, observer.redraw

    def spied(self, *arguments, beat, **rest):
        assert isinstance(beat.__self__, Watchdog)
        beats.append(0)

        def counted():
            beats[-1] += 1
            beat()

        return measure(self, *arguments, beat=counted, **rest)

    def drawn(folder: Path, best):
        bests.append(best)
        return redraw(folder, best)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnlineEvaluation, "measure", spied)
        patch.setattr(observer, "redraw", drawn)
        workdir = train(evaluated(), str(tmp_path_factory.mktemp("evaluated")))
    return workdir, beats, bests


@pytest.fixture(scope="module")
def workdir(whole_run) -> Path:
    return whole_run[0]


def test_a_step_has_one_line_with_its_report_and_its_evaluation(workdir):
    rows = metrics(workdir)
    assert [row["step"] for row in rows] == [0, 2, 3, 4, 6, 8, 9, 10]
    assert [row["step"] for row in rows if "parts/m2o_2" in row] == [0, 3, 6, 9, 10]
    assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6, 8, 10]
    assert rows[2]["epoch"] == 0.6
    (event,) = [
        e
        for e in map(json.loads, (workdir / "events.jsonl").read_text().splitlines())
        if e["event"] == "evaluation"
    ]
    assert event["parts"]["images"] == IMAGES and event["grid"].keys() == {
        f"parts/{part}_{k}" for part in RegionScores._fields for k in (2, 4)
    }
    assert (workdir / "dynamics.png").read_bytes().startswith(b"\x89PNG")
    assert not list(workdir.glob("*.new*"))


def test_tensorboard_shows_the_parts_at_each_evaluation(workdir):
    written = events(workdir / "tensorboard")
    shown = pictures(written)
    assert {*shown} == {(step, "parts/regions") for step in (0, 3, 6, 9, 10)}
    with Image.open(io.BytesIO(shown[6, "parts/regions"])) as image:
        width, height = image.size
    assert width > 3 * PICTURE and height > COUNT * PICTURE  # image, parts, regions
    assert scalars(written)["knn/top1_3"] == [0, 3, 6, 9, 10]


def test_scores_are_those_of_the_teacher_that_is_saved_with_them(workdir):
    row = next(row for row in metrics(workdir) if row["step"] == 6)
    teacher = restore(workdir, step=6)
    drawn = [ProceduralParts(size=SIDE, length=IMAGES, seed=DRAWN_SEED).sample(i) for i in range(6)]
    look = jax.jit(lambda images: teacher.network.features(teacher.params, normalize(images)))
    features = look(np.stack([d.image for d in drawn]))
    scores = []
    for registers, patches, sample in zip(features.registers, features.patches, drawn, strict=True):
        registers, patches = (
            x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (registers, patches)
        )
        cosines = np.asarray(registers @ patches.T).reshape(-1, SIDE // PATCH, SIDE // PATCH)
        best = np.argsort(-cosines.max((1, 2)), kind="stable")[:4]
        smooth = [gaussian_filter(cosines[i], 0.7, mode="reflect") for i in best]
        labels = np.argmax(smooth, axis=0).repeat(PATCH, 0).repeat(PATCH, 1)
        scores.append(score(labels, sample.parts, background=BACKGROUND))
    mean = [row[f"parts/{part}_4"] for part in RegionScores._fields]
    np.testing.assert_allclose(mean, np.mean(scores, axis=0), rtol=1e-6)


def test_knn_is_the_vote_of_the_nearest_vectors(workdir):
    row = next(row for row in metrics(workdir) if row["step"] == 6)
    teacher = restore(workdir, step=6)
    look = jax.jit(lambda images: teacher.network.features(teacher.params, normalize(images)))

    def vectors(seed: int, count: int) -> tuple[np.ndarray, list[int]]:
        samples = [ProceduralParts(size=128, length=count, seed=seed)[i] for i in range(count)]
        found = look(np.stack([central_crop(image, 16) for image, _ in samples])).global_vector
        found = np.asarray(found, np.float64)
        return found / np.linalg.norm(found, axis=1, keepdims=True), [label for _, label in samples]

    (bank, known), (queries, expected) = vectors(7, 20), vectors(8, 9)
    right = 0
    for query, label in zip(queries, expected, strict=True):
        votes = {}
        for i in np.argsort(-(bank @ query))[:3]:
            votes[known[i]] = votes.get(known[i], 0) + np.exp(bank[i] @ query / 0.07)
        right += max(votes, key=votes.get) == label
    assert row["knn/top1_3"] == pytest.approx(right / 9)


@pytest.fixture
def killed(workdir, tmp_path) -> Path:
    """The run, when it had been killed in its eighth step."""
    shutil.copytree(workdir, tmp_path / "run")
    for step in (8, 9, 10):
        shutil.rmtree(tmp_path / "run" / "checkpoints" / str(step))
    return tmp_path / "run"


def test_after_a_kill_the_same_steps_are_measured_alike(workdir, killed):
    assert metrics(train(evaluated(), str(killed))) == metrics(workdir)


def test_a_best_checkpoint_stays_when_other_images_are_scored(workdir, killed, capsys):
    """And is compared with none that is measured on these."""
    rows = {row["step"]: row.get("parts/m2o_2") for row in metrics(workdir)}
    best = max((3, 6), key=lambda step: (rows[step], step))
    folder = train(evaluated(evaluation__images=5, run__keep_checkpoints=1), str(killed))
    left = {int(p.name) for p in (folder / "checkpoints").iterdir()}
    new = json.loads((folder / "checkpoints/10/meta/metadata").read_text())["metrics"]
    assert left >= {best, 10} and len(left) <= 3 and "parts/m2o_2" in new
    assert "best checkpoint by parts/m2o_2" in (folder / f"checkpoints/{best}/kept.txt").read_text()
    said = capsys.readouterr().out
    assert "has changed (the number of images measured was 6 and is 5; the number of" in said
    assert (
        f"kept, though no setting of this start asks for it: the checkpoint at step {best}" in said
    )
    assert "removed at the next save: the checkpoint" in said
    assert "since config.run.keep_checkpoints was 9 and is 1" in said
    with Checkpoints(folder, read_only=True, best_metric="parts/m2o_2", best_is="highest") as found:
        assert found.best()[0] in (9, 10)


def test_training_does_not_notice(workdir, killed):
    config = evaluated(evaluation__every_epochs=0.0, run__keep_best=0)
    plain = [row for row in metrics(train(config, str(killed))) if row["step"] > 6]
    reports = [row for row in metrics(workdir) if row["step"] > 6 and "loss" in row]
    assert [{name: row[name] for name in plain[0]} for row in reports] == plain


def test_only_checkpoints_of_evaluations_have_their_metrics(workdir):
    checkpoints = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())
    assert checkpoints == [3, 4, 6, 8, 9, 10]
    rows = {row["step"]: row for row in metrics(workdir)}
    for step in checkpoints:
        told = json.loads((workdir / f"checkpoints/{step}/meta/metadata").read_text())
        meta, on = told["metrics"], told["about"]["evaluation"]
        assert on["parts"]["smoothing"] == 0.7 and on["knn"]["knn_test"].endswith("9 of 9 images")
        assert meta.get("parts/m2o_2") == rows[step].get("parts/m2o_2")
        assert meta["loss"] == rows[step // 2 * 2]["loss"]  # as last reported


def test_the_watchdog_hears_of_each_batch(whole_run):
    _, beats, _ = whole_run
    assert len(beats) == 5 and min(beats) >= 3  # parts, and both sets of k-NN


def test_the_star_is_at_the_best_checkpoint_so_far(whole_run):
    workdir, _, bests = whole_run
    rows = [row for row in metrics(workdir) if row["step"] and "parts/m2o_2" in row]
    known = [(row["parts/m2o_2"], row["step"]) for row in rows]
    so_far = [max(known[:count])[::-1] for count in (1, 2, 3, 4, 4)]
    assert bests == [None, *so_far]


def saved(workdir: Path, values: dict[int, float]) -> Path:
    """A run that keeps its best, with checkpoints of these values."""
    config = evaluated()
    state = jax.eval_shape(lambda: make_dino(config, images=40).init(0))
    state = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), state)
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(config.to_dict()))
    with Checkpoints(workdir, keep=9) as checkpoints:
        for step, value in values.items():
            about = {"code": "", "config": {}}
            checkpoints.save(step, state, about=about, metrics={"parts/m2o_2": value})
    return workdir


def test_a_workdir_means_its_best_checkpoint_and_training_the_newest(tmp_path, capsys):
    workdir = saved(tmp_path / "run", {2: 0.2, 4: 0.271, 6: 0.25, 8: float("nan")})
    best = open_backbone(str(workdir))
    assert best.step == 4
    assert best.origin == (
        "the teacher of the run in run at step 4, the best of parts/m2o_2 (27.1 %)"
    )
    named = open_backbone(f"{workdir}/checkpoints/8")
    assert named.step == 8 and "best" not in named.origin
    assert restore(workdir).step == 8
    (workdir / "checkpoints/4/state/manifest.ocdbt").unlink()
    assert open_backbone(str(workdir)).step == 6
    assert "the checkpoint at step 4 is damaged" in capsys.readouterr().out
    config = json.loads((workdir / "config.json").read_text())
    config["run"]["best_is"] = "lowest"
    (workdir / "config.json").write_text(json.dumps(config))
    assert open_backbone(str(workdir)).step == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resolution": 30}, r"resolution 30 is not a multiple .*patch 8; the nearest is 32"),
        ({"top_k": (2, 7)}, r"top_k is \(2, 7\): the model has 6 registers; .* from 1 to 6"),
        ({"top_k": (5,), "resolution": 16}, "the model has 4 patches per image"),
        ({"parts": "folder:/nowhere"}, "config.evaluation.parts: .*/nowhere does not exist"),
        ({"images": 0}, "images is 0: give the number of images to draw"),
        ({"knn_test": ""}, "knn_train and knn_test must be given together"),
        ({"knn_test": "photos:/nowhere"}, "config.evaluation.knn_test: labelled images 'photos:"),
        ({"knn_k": 21}, "knn_k 21 is more than the 20 images of config.evaluation.knn_train"),
        (
            {"top_k": (4,)},
            "best_metric is 'parts/m2o_2', which .* measure: choose one of parts/m2o_4",
        ),
        (
            {"parts": ""},
            "best_metric is 'parts/m2o_2', which .* measure: choose one of knn/top1_3, registers/",
        ),
        ({"measures": ("part",)}, "measures has 'part': choose from parts, registers, knn"),
        (
            {"every_epochs": 0.0},
            "which only an evaluation measures: set config.evaluation.every_epochs",
        ),
    ],
)
def test_what_cannot_be_measured_is_told_before_training(fields, message):
    config = evaluated(**{f"evaluation__{name}": value for name, value in fields.items()})
    with pytest.raises(UserError, match=message):
        open_evaluation(config, make_dino(config, images=40), one_device(config))


def test_a_metric_that_no_evaluation_has_is_told_before_training():
    config = evaluated(run__best_metric="registers/distinkt")
    with pytest.raises(UserError, match="one of parts/m2o_2, .*knn/top1_3, .*registers/distinct"):
        open_evaluation(config, make_dino(config, images=40), one_device(config))


def test_the_lowest_score_is_not_kept_as_the_best_by_mistake():
    config = evaluated(run__best_is="lowest")
    with pytest.raises(UserError, match="for which higher is better"):
        open_evaluation(config, make_dino(config, images=40), one_device(config))
