"""Agreement over a data set: scikit-learn's, whatever is pooled; and the command."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from rats_jax.parts.consistency import Pooled
from rats_jax.procedural_parts import BACKGROUND
from rats_jax.procedural_parts.folder import write_folder

VOID = -1


def pooled(pairs, **options) -> Pooled:
    found = Pooled()
    for parts, ids in pairs:
        found.add(parts, ids, **options)
    return found


@pytest.mark.parametrize("related", [0.0, 0.6, 1.0])
def test_agreement_is_scikit_learns_over_all_pixels(related):
    rng = np.random.default_rng(0)
    pairs = []
    for shape in ((7, 9), (30, 20), (1, 1), (50, 50)):
        parts = rng.choice([0, 3, 7, 2**24, VOID], shape)
        other = rng.integers(0, 12, shape)
        pairs.append((parts, np.where(rng.random(shape) < related, parts + 100, other)))
    parts, ids = (np.concatenate([of.ravel() for of in side]) for side in zip(*pairs, strict=True))
    found = pooled(pairs, void=VOID)
    for background, kept in ((None, parts != VOID), (0, (parts != VOID) & (parts != 0))):
        agreement = found.agreement(background)
        nmi = normalized_mutual_info_score(parts[kept], ids[kept])
        ari = adjusted_rand_score(parts[kept], ids[kept])
        np.testing.assert_allclose(agreement.mean, (nmi, ari, np.nan), atol=1e-10)
        assert agreement.pixels == kept.sum()


def test_ids_that_change_their_meaning_between_images_agree_less():
    """Each image is perfect by itself."""
    parts = np.repeat([[0, 1, 2, 3]], 4, 0)
    same = pooled([(parts, parts), (parts, parts)]).agreement()
    swapped = pooled([(parts, parts), (parts, parts[:, ::-1])]).agreement()
    assert (
        same.mean[:2] == pytest.approx((1, 1)) and swapped.mean.nmi < 0.6 and swapped.mean.ari < 0.5
    )


def test_one_class_and_no_pixel():
    ones = np.ones((3, 3), int)
    assert pooled([(ones, ones)]).agreement().mean[:2] == (1, 1)
    nothing = pooled([(ones, ones)]).agreement(1)
    assert nothing.pixels == 0 and np.isnan(nothing.mean.nmi)
    with pytest.raises(ValueError, match="ids are"):
        Pooled().add(ones, ones[:2])


def images(count: int, related: float, seed: int = 0) -> list:
    """(parts, ids) of images that differ in how much the two are related."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        parts = rng.integers(0, 5, (6, 6))
        sure = rng.random((6, 6)) < related * rng.random()
        found.append((parts, np.where(sure, parts, rng.integers(0, 5, (6, 6)))))
    return found


def test_resampled_agreement_is_scikit_learns_of_the_images_that_were_drawn():
    pairs = images(7, 0.9)
    _, resampled, _ = pooled(pairs)._resampling(0)
    drawn = np.random.default_rng(0).multinomial(7, np.full(7, 1 / 7), size=3)
    for times, row in zip(drawn, resampled, strict=False):
        parts, ids = (
            np.concatenate(
                [np.tile(pair[i].ravel(), n) for pair, n in zip(pairs, times, strict=True)]
            )
            for i in (0, 1)
        )
        kept = parts != 0
        expected = (
            normalized_mutual_info_score(parts[kept], ids[kept]),
            adjusted_rand_score(parts[kept], ids[kept]),
        )
        np.testing.assert_allclose(row, (*expected, np.nan), atol=1e-10)


def test_intervals_hold_the_agreement_of_many_images():
    """In about 95 of 100 samples of 60 images."""
    true = pooled(images(20_000, 0.8, seed=1)).agreement().mean[:2]
    held = np.zeros(2)
    for seed in range(100):
        measured = pooled(images(60, 0.8, seed=100 + seed)).agreement()
        held += (np.array(measured.low[:2]) <= true) & (true <= np.array(measured.high[:2]))
    assert (held >= 80).all(), held


def test_an_id_of_the_class_alone_agrees_between_classes_and_not_within():
    """Each class has parts of its own, and all pixels of an image the id of its class."""
    rng = np.random.default_rng(0)
    found = Pooled()
    for i in range(12):
        parts = 10 * (i % 3) + rng.integers(0, 3, (5, 5))
        found.add(parts, np.full_like(parts, i % 3), of_class=f"class {i % 3}")
    agreement = found.agreement()
    assert agreement.mean.nmi > 0.6
    np.testing.assert_allclose([of.within for of in agreement[:3]], 0, atol=1e-9)


def test_within_is_the_mean_over_classes_of_scikit_learns_nmi():
    rng = np.random.default_rng(3)
    found, of_class = Pooled(), {"a": [], "b": [], "one part": []}
    for i in range(30):
        name = list(of_class)[i % 3]
        parts = rng.integers(0, 1 if name == "one part" else 4, (4, 6 + i % 3))
        ids = np.where(rng.random(parts.shape) < 0.5, parts, rng.integers(0, 4, parts.shape))
        found.add(parts, ids, of_class=name)
        of_class[name].append((parts.ravel(), ids.ravel()))
    expected, pixels = [], []
    for name in ("a", "b"):  # the other has nothing to tell apart
        parts, ids = (np.concatenate(of) for of in zip(*of_class[name], strict=True))
        expected.append(normalized_mutual_info_score(parts, ids))
        pixels.append(parts.size)
    assert found.agreement().mean.within == pytest.approx(np.average(expected, weights=pixels))


def test_differences_are_paired():
    """Two ids that agree equally well on every image differ by nothing, however images differ."""
    pairs = images(40, 0.9)
    one, other = pooled(pairs), pooled([(parts, 100 - ids) for parts, ids in pairs])
    difference = one.difference(other)
    np.testing.assert_allclose([of[:2] for of in difference[:3]], 0, atol=1e-12)
    assert one.agreement().high.nmi - one.agreement().low.nmi > 0.03


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "drawings"
    for _ in write_folder(folder, count=40, size=32, seed=5):
        pass
    return folder


def command(run_folder, dataset, output, *more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "rats_jax.evaluate", "--task=consistency", "--resolution=32"]
        + [f"--checkpoint={run_folder}", f"--dataset={dataset}", f"--output={output}", *more],
        capture_output=True,
        text=True,
    )


@pytest.mark.processes
def test_the_command_scores_every_second_image(run_folder, drawings, tmp_path):
    output = tmp_path / "out"
    more = ["--entries=6", f"--background={BACKGROUND}", "--untrained"]
    done = command(run_folder, f"folder:{drawings}", output, *more)
    assert done.returncode == 0, done.stderr
    results = json.loads((output / "results.json").read_text())
    ways = ("image entries", "patch entries", "register index", "register entries")
    assert set(results["scores"]) == {
        *(f"{model}: {way}" for model in ("model", "untrained") for way in ways),
        *("colour entries", "grid cells"),
    }
    assert results["images"] == 20 and results["entries"] == 6
    masks = sorted((drawings / "masks").rglob("*.png"))[1::2]
    pixels = np.concatenate([np.asarray(Image.open(mask)).ravel() for mask in masks])
    for row in results["scores"].values():
        assert row["all"]["pixels"] == pixels.size
        assert row["parts"]["pixels"] == (pixels != BACKGROUND).sum()
        assert (
            0
            <= row["all"]["low"]["nmi"]
            <= row["all"]["mean"]["nmi"]
            <= row["all"]["high"]["nmi"]
            <= 1
        )
    for way in ways:
        difference = results["differences"][f"model: {way} - untrained: {way}"]["parts"]["mean"]
        one, other = (
            results["scores"][f"{of}: {way}"]["parts"]["mean"] for of in ("model", "untrained")
        )
        assert difference["nmi"] == pytest.approx(one["nmi"] - other["nmi"])
    for null in ("model: image entries", "colour entries", "grid cells"):
        assert f"model: register entries - {null}" in results["differences"]
    images = results["scores"]["model: image entries"]["parts"]["mean"]
    assert images["nmi"] > 0 and 0 <= images["within"] < 0.2  # of classes of one image or two
    assert "| NMI within classes |" in done.stdout
    assert "with only 20 images, all rows are higher" in done.stdout
    assert (output / "table.md").read_text().strip() in done.stdout


@pytest.mark.processes
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--entries=100000"],
            "--entries=100000: half of the images have only .* vectors of .*; choose a smaller",
        ),
        (
            ["--entries=4", "--background=999"],
            "--background=999 is not an id of these masks, which have",
        ),
        (["--limit=1"], "has only one image: two are needed"),
        (["--top_k=3"], "--top_k belongs to --task=parts"),
        (["--resolution=32,64"], "takes only one --resolution"),
    ],
)
def test_a_mistake_is_one_line(run_folder, drawings, tmp_path, more, message):
    import re

    done = command(run_folder, f"folder:{drawings}", tmp_path / "out", *more)
    assert done.returncode == 2 and re.search(message, done.stderr)
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.processes
def test_rows_of_a_model_do_not_depend_on_what_stands_beside_it(run_folder, drawings, monkeypatch):
    from rats_jax.backbones import open_backbone
    from rats_jax.evals import consistency_evaluation as module
    from rats_jax.evals import consistency_ids
    from rats_jax.parts.datasets import open_dataset

    monkeypatch.setattr(module, "BATCH", 4)
    for of in (module, consistency_ids):
        monkeypatch.setattr(of, "SAMPLED", 100)
    model = open_backbone(run_folder)
    options = dict(entries=5, resolution=32, background=BACKGROUND, skip_broken=False)
    data = open_dataset(f"folder:{drawings}")
    alone = module.evaluate_consistency({"model": model}, data, **options)
    twin = module.evaluate_consistency({"untrained": model, "model": model}, data, **options)
    for row, of_row in alone.rows.items():
        assert of_row.parts.mean == twin.rows[row].parts.mean
    same = twin.differences["model: register entries - untrained: register entries"].parts
    assert same.mean == same.low == same.high == (0, 0, 0)


@pytest.mark.processes
def test_no_more_vectors_are_kept_than_entries_are_fitted_on(run_folder, drawings, monkeypatch):
    """However many images there are; and entries of a sample are much like those of all."""
    from rats_jax.backbones import open_backbone
    from rats_jax.evals import consistency_evaluation as module
    from rats_jax.evals import consistency_ids
    from rats_jax.parts.datasets import open_dataset

    kmeans, fitted = consistency_ids.kmeans2, []
    monkeypatch.setattr(module, "BATCH", 4)
    for of in (module, consistency_ids):
        monkeypatch.setattr(of, "SAMPLED", 100)
    monkeypatch.setattr(
        consistency_ids,
        "kmeans2",
        lambda x, *rest, **more: fitted.append(len(x)) or kmeans(x, *rest, **more),
    )
    found = module.evaluate_consistency(
        {"model": open_backbone(run_folder)},
        open_dataset(f"folder:{drawings}"),
        entries=5,
        resolution=32,
        background=BACKGROUND,
        skip_broken=False,
    )
    assert fitted and max(fitted) == 100 and found.images == 20
    assert all(0 <= of.parts.mean.nmi < 1 for of in found.rows.values())
