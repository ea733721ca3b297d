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
from rats_jax.classification.labelled import LabelledImages
from rats_jax.classification.views import central_crop
from rats_jax.data.subset import evenly
from rats_jax.dino.augment import normalize
from rats_jax.errors import UserError
from rats_jax.parallel.mesh import replicated
from rats_jax.parts.datasets import VOID
from rats_jax.parts.region_metrics import RegionScores, score
from rats_jax.procedural_parts import ProceduralParts
from rats_jax.runs import loop, metric_files, observer
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.events import Events
from rats_jax.runs.guards.watchdog import Watchdog
from rats_jax.runs.loop import train
from rats_jax.runs.metric_files import MetricFiles
from rats_jax.runs.online.data import DRAWN_SEED, headline
from rats_jax.runs.online.evaluation import OnlineEvaluation, open_evaluation
from rats_jax.runs.online.evaluator import Moment
from rats_jax.runs.online.evaluators import knn as online_knn
from rats_jax.runs.online.evaluators import parts as online_parts
from rats_jax.runs.online.evaluators.knn import OnlineKNN
from rats_jax.runs.online.pictures import COUNT, Shown, part_picture
from rats_jax.runs.online.pictures import SIDE as PICTURE
from rats_jax.runs.online.spread import Spread
from rats_jax.runs.reporting import Interval
from rats_jax.runs.restore import restore
from rats_jax.runs.tensorboard import SummaryWriter
from tests.runs.event_files import events, pictures, scalars
from tests.runs.online.evaluated import IMAGES, PATCH, SIDE, evaluated, measured, measuring

MOMENT = Moment(None, first=True, beat=lambda: None, on_error=print)
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
        scores.append(score(labels, sample.parts))
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
    assert "best by parts/m2o_2" in (folder / f"checkpoints/{best}/kept.txt").read_text()
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
    with pytest.raises(UserError, match="has parts/m2o_2, .*knn/top1_3, .*registers/distinct"):
        open_evaluation(config, make_dino(config, images=40), one_device(config))


def test_the_lowest_score_is_not_kept_as_the_best_by_mistake():
    config = evaluated(run__best_is="lowest")
    with pytest.raises(UserError, match="for which higher is better"):
        open_evaluation(config, make_dino(config, images=40), one_device(config))


def test_figures_are_the_same_on_a_mesh(tmp_path):
    fields = {"model__heads": 4, "evaluation__images": 11}
    alone = measured(evaluated(**fields), Events(tmp_path))
    config = evaluated(**fields)
    config.mesh.update(data=1, fsdp=2, tensor=2)
    spread = measured(config, Events(tmp_path), devices=4)
    assert spread == pytest.approx(alone, rel=1e-4, abs=1e-5)
    assert 0.1 < alone["parts/m2o_4"] < 1 and alone["evaluation/left_out"] == 0


@pytest.mark.parametrize("architecture", ["rats", "vit", "perceiver"])
def test_without_images_the_registers_of_a_batch_are_judged(tmp_path, architecture):
    config = evaluated(
        model__architecture=architecture, evaluation__parts="", run__best_metric="loss"
    )
    config.model.update(plain_registers=3, depth=3)
    config.evaluation.update(knn_train="", knn_test="")
    found = measured(config, Events(tmp_path))
    assert 0.5 < found["registers/attention_entropy"] <= 1
    known = open_evaluation(config, make_dino(config, images=40), one_device(config)).names
    assert set(known) == {
        name for name in found if name.startswith(("registers/", "heads/", "patches/"))
    }
    count = {"rats": 6, "vit": 3, "perceiver": 96}[architecture]
    assert 1 < found["registers/distinct"] <= count
    assert ("heads/similarity_2" in found) == (architecture == "rats")


def test_a_vit_has_a_region_a_head(tmp_path, monkeypatch):
    regions, sigmas = online_parts.attention_regions, []

    def spied(*, sigma, **rest):
        sigmas.append(sigma)
        return regions(sigma=sigma, **rest)

    monkeypatch.setattr(online_parts, "attention_regions", spied)
    config = evaluated(model__architecture="vit", evaluation__top_k=(), run__keep_best=0)
    config.evaluation.update(knn_train="", knn_test="")
    found = measured(config, Events(tmp_path))
    assert 0 < found["parts/m2o_3"] < 1 and not any(name.endswith("_6") for name in found)
    assert {*sigmas} == {0.7}


def test_void_pixels_count_nowhere():
    rng = np.random.default_rng(0)
    labels, mask = rng.integers(0, 3, (1, 8, 8)), rng.integers(0, 3, (8, 8))
    mask[:, 5:] = VOID
    ((found,),) = online_parts._scored(labels, mask, (3,), grid=False)
    assert found == pytest.approx(score(labels[0, :, :5], mask[:, :5]))


def test_knn_compares_classes_by_their_names():
    class Stored(list):
        images = LabelledImages("stored", [], ())

        def vectors(self, *_, **__):
            return np.eye(2, dtype=np.float32), np.array(self)

    knn = object.__new__(OnlineKNN)
    knn._k, knn._program, knn._as_in_train = 1, print, np.array([1, 0])
    knn._train, knn._test = Stored([0, 1]), Stored([1, 0])
    found = knn.measure({}, MOMENT)
    assert found.scalars == {"knn/top1_1": 1.0} and found.left_out == 0


def test_labels_of_any_size_come_through_the_mesh(monkeypatch):
    """JAX has 32 bits; ids of a catalogue, and hashes, may have 63."""
    ids = [0, 5, 2**31, 2**40 + 3, 2**63 - 1] * 4
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    images = LabelledImages("ids", [(pixels, label) for label in ids], ())
    monkeypatch.setattr(online_knn, "open_labelled", lambda _: images)
    mesh = make_mesh(evaluated(), jax.devices())
    labelled = online_knn._Labelled(evaluated().evaluation, "knn_train", SIDE, mesh)

    def look(images, labels):
        return jax.device_put((images[:, 0, 0].astype(np.float32), labels), replicated(mesh))

    _, found = labelled.vectors(look, beat=lambda: None, on_error=print)
    assert found.tolist() == ids


def test_images_that_cannot_be_read_are_left_out_and_named(tmp_path, capsys):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        noise = rng.integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"images/{i}.jpg")
        Image.fromarray(noise[:, :, 0] // 64).save(tmp_path / f"masks/{i}.png")
    (tmp_path / "images/3.jpg").write_bytes(b"no picture")
    config = evaluated(evaluation__parts=f"folder:{tmp_path}", evaluation__images=0)
    config.evaluation.update(knn_train="", knn_test="")
    config.evaluation.top_k = (2,)
    events = Events(tmp_path)
    measure = measuring(config, events)
    scalars, judged, _ = measure(1)
    assert scalars["evaluation/left_out"] == 1 and "parts/m2o_2" in judged
    told = [json.loads(line) for line in events.file.read_text().splitlines()]
    (reason,) = [e["reason"] for e in told if e["event"] == "evaluation_left_out"]
    assert "3.jpg is not a readable image" in reason
    said = capsys.readouterr().out
    assert reason in said
    assert f"M2O (K = 2) {100 * scalars['parts/m2o_2']:.1f} %" in said

    (tmp_path / "images/1.jpg").unlink()
    scalars, judged, _ = measure(2)
    assert "parts/m2o_2" in scalars and judged == {}
    assert (
        "at step 2 leaves out 2 images, but the first evaluation left out 1"
        in capsys.readouterr().out
    )

    shutil.rmtree(tmp_path / "images")
    assert measure(3) == ({}, {}, {})
    assert "warning: no score at step 3: config.evaluation.parts: " in capsys.readouterr().out
    assert json.loads(events.file.read_text().splitlines()[-1])["event"] == "evaluation_failed"
    with pytest.raises(UserError, match="could be read and scored"):
        measure(0)


def test_masks_of_one_region_are_warned_of_or_refused(tmp_path, capsys):
    """As `evaluate` has it; two crowds of the three objects of one image are said as well."""
    (tmp_path / "val2017").mkdir()
    squares = [[4 * i, 0, 4 * i + 3, 0, 4 * i + 3, 9, 4 * i, 9] for i in range(3)]

    def write(crowds):
        for i in range(3):
            Image.new("RGB", (40, 40)).save(tmp_path / f"val2017/{i}.png")
        annotations = [
            {"id": i, "image_id": i, "segmentation": [squares[i]], "iscrowd": crowds[i]}
            for i in range(3)
        ]
        images = [{"id": i, "file_name": f"val2017/{i}.png"} for i in range(3)]
        content = json.dumps({"images": images, "annotations": annotations})
        (tmp_path / "instances.json").write_text(content)

    write([0, 1, 1])
    config = evaluated(evaluation__parts=f"coco-instances:{tmp_path}/instances.json")
    config.evaluation.update(knn_train="", knn_test="", images=0)
    events = Events(tmp_path)
    measure = measuring(config, events)
    assert "warning: 2 of 3 objects are crowds" in capsys.readouterr().out
    assert "parts/m2o_2" in measure(0).scalars
    said = capsys.readouterr().out
    line = "warning: 2 of 3 images have a single region"
    assert said.count(line) == 1 and "(config.evaluation.parts)" in said
    (event,) = [json.loads(text) for text in events.file.read_text().splitlines()]
    assert (event["masks"]["single"], event["masks"]["images"]) == (2, 3)
    assert event["masks"]["report"][1].startswith(line)
    assert event["masks"]["notes"][0].startswith("warning: 2 of 3 objects are crowds")
    measure(1)
    assert line not in capsys.readouterr().out

    Image.new("RGB", (2, 2)).save(tmp_path / "val2017/0.png")  # the square covers all of it
    with pytest.raises(UserError, match="config.evaluation.parts: no image of .* has two regions"):
        measure(0)


def test_images_of_one_class_are_refused_and_strangers_warned_of(capsys):
    class Stored(list):
        images = LabelledImages("stored", [], ())

        def vectors(self, *_, **__):
            return np.eye(len(self), dtype=np.float32), np.array(self)

    knn = object.__new__(OnlineKNN)
    knn._k, knn._program, knn._as_in_train = 1, print, None
    knn._train, knn._test = Stored([4, 4]), Stored([4, 4])
    with pytest.raises(UserError, match="stored has images of fewer than two classes"):
        knn.measure({}, MOMENT)
    knn._train, knn._test = Stored([4, 5]), Stored([4, 6])
    for _ in range(2):
        knn.measure({}, MOMENT)
    said = capsys.readouterr().out
    assert said.count("warning: 1 of 2 images are of classes of which knn_train has no image") == 1


def test_pictures_that_fail_are_said_and_end_nothing(tmp_path, capsys, monkeypatch):
    given = []

    def fails(shown, *, k):
        given.extend(shown)
        raise ValueError("no such colour")

    config = evaluated(evaluation__knn_train="", evaluation__knn_test="")
    measure = measuring(config, Events(tmp_path))
    assert measure(1).pictures.keys() == {"parts/regions"}
    monkeypatch.setattr(online_parts, "part_picture", fails)
    found = measure(2)
    assert found.pictures == {} and "parts/m2o_2" in found.scalars
    assert "warning: the parts at step 2 could not be drawn (no such colour)" in (
        capsys.readouterr().out
    )

    assert len(given) == COUNT
    for shown, i in zip(given, evenly(IMAGES, COUNT), strict=True):
        drawn = ProceduralParts(size=SIDE, length=IMAGES, seed=DRAWN_SEED).sample(int(i))
        np.testing.assert_array_equal(shown.image, drawn.image)
        np.testing.assert_array_equal(shown.mask, drawn.parts)
        assert shown.labels.shape == (SIDE // PATCH,) * 2 and {*shown.labels.flat} <= {0, 1}

    class Writer(SummaryWriter):
        def write_images(self, *_):
            raise ValueError("no such format")

    monkeypatch.setattr(metric_files, "SummaryWriter", Writer)
    MetricFiles(tmp_path, start=0).write_pictures(3, {})
    assert "pictures of step 3 could not be written" in capsys.readouterr().out


def test_images_of_any_shape_are_shown():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (32, 32, 3), np.uint8), np.arange(64).reshape(8, 8) // 16
    one, other = (part_picture([Shown(image, mask, labels)], k=4) for labels in (mask, mask.T))
    assert one.shape == other.shape and (one != other).any()
    for height, width in ((40, 90), (500, 30), (1, 700)):
        mask = rng.integers(-1, 3, (height, width))
        image = rng.integers(0, 256, (32, 32, 3), np.uint8)
        found = part_picture([Shown(image, mask, rng.integers(0, 4, (4, 4)))], k=4)
        assert found.dtype == np.uint8 and found.shape[2] == 3


def test_the_images_that_are_shown_are_of_process_0_and_spread(monkeypatch):
    spread = object.__new__(Spread)
    spread._images, spread.batch_size, spread._rows = 21, 8, np.array([0, 1, 5])
    assert spread.own().tolist() == [0, 1, 5, 8, 9, 13, 16, 17]


def test_the_headline_is_the_best_metrics_number_of_regions():
    assert headline((6, 12, 33), "parts/ari_33") == 33
    assert headline((6, 12, 33), "loss") == headline((6, 12), "parts/m2o_8") == 12
    assert headline((2, 4), "knn/top1_2") == headline((2, 4), "parts/x") == 4


def test_images_are_chosen_evenly():
    assert evenly(5, 0).tolist() == evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]


def test_its_time_does_not_count_in_images_per_second(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("rats_jax.runs.reporting.time.perf_counter", lambda: clock[0])
    progress = Interval(batch_size=8, steps=10, steps_per_epoch=5)
    for _ in range(3):
        progress.add({"loss": np.float32(1), "skipped_in_a_row": np.int32(0)})
        clock[0] += 1
        with progress.paused():
            clock[0] += 100
    assert progress.report(3, seconds_waited=0)["images_per_second"] == pytest.approx(16 / 3)


def test_a_start_from_the_beginning_forgets_the_evaluation_before_it(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 0, "parts/m2o_2": 0.1}\n{"step": 5}\n')
    MetricFiles(tmp_path, start=5).close()
    assert len(file.read_text().splitlines()) == 2
    MetricFiles(tmp_path, start=0).close()
    assert file.read_text() == ""
    old = tmp_path / "metrics.old.jsonl"
    assert len(old.read_text().splitlines()) == 2
    file.write_text('{"step": 1}\n')
    MetricFiles(tmp_path, start=0).close()
    assert len(old.read_text().splitlines()) == 2 and file.read_text() == ""
