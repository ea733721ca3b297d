"""A small ImageNet as found in the wild: JPEG files by class, and every kind of odd or bad file."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

CLASSES = 10
ODD_EVERY = 8  # every so many files one is odd
VAL_SHARE = 0.2
ORIENTATION = 0x0112


def build(folder: Path, *, files: int = 2000, seed: int = 0) -> dict[str, dict]:
    """Writes `folder`/train/<wnid>/, `folder`/val/ (flat) and the development kit.

    Returns:
      {"train" and "val": {"readable", "unreadable", "skipped": names relative to the split's
      folder, sorted; "wnids": the class of each name}}; together `files` names.
    """
    rng = np.random.default_rng(seed)
    wnids = sorted(f"n{number:08d}" for number in rng.choice(10**8, CLASSES, replace=False))
    in_val = round(files * VAL_SHARE)
    drawn = rng.choice(wnids, in_val).tolist()
    names = {
        "train": [f"{wnids[k % CLASSES]}/{wnids[k % CLASSES]}_{k}" for k in range(files - in_val)],
        "val": [f"ILSVRC2012_val_{k + 1:08d}" for k in range(in_val)],
    }
    kinds = odd_files(rng)
    pictures = [_picture(rng) for _ in range(8)]
    facts = {}
    for split, stems in names.items():
        facts[split] = {"readable": [], "unreadable": [], "skipped": [], "wnids": {}}
        for k, stem in enumerate(stems):
            if k % ODD_EVERY:
                extension, fate = "JPEG", "readable"
                data = encode(Image.fromarray(np.roll(pictures[k % 8], k, axis=1)), "JPEG")
            elif k == ODD_EVERY * len(kinds):  # one alone: it takes its time
                huge = Image.new("L", (12_500, 8_000), 90)
                extension, data, fate = "JPEG", encode(huge, "JPEG"), "readable"
            else:
                extension, data, fate = kinds[k // ODD_EVERY % len(kinds)]
            name = f"{stem}.{extension}"
            path = folder / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            facts[split][fate].append(name)
            facts[split]["wnids"][name] = drawn[k] if split == "val" else path.parent.name
        for fate in ("readable", "unreadable", "skipped"):
            facts[split][fate].sort()
    (folder / "train" / wnids[0] / "a_folder.jpg").mkdir()
    (folder / "val" / "a_folder.jpg").mkdir()
    _write_devkit(folder / "ILSVRC2012_devkit_t12.tar.gz", wnids, drawn, rng)
    return facts


def odd_files(rng: np.random.Generator) -> list[tuple[str, bytes, str]]:
    """(extension, content, "readable" or "unreadable" or "skipped") of one file of each kind."""
    image = Image.fromarray(_picture(rng))
    jpeg = encode(image, "JPEG")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    deep = Image.fromarray(rng.integers(0, 2**16, (30, 40), dtype=np.uint16))
    return [
        ("JPEG", encode(image, "JPEG", exif=exif), "readable"),
        ("JPEG", encode(image.convert("L"), "JPEG"), "readable"),
        ("JPEG", encode(image.convert("CMYK"), "JPEG"), "readable"),
        ("JPEG", encode(image.convert("RGBA"), "PNG"), "readable"),
        ("png", encode(deep, "PNG"), "readable"),
        ("JPEG", encode(image, "JPEG", progressive=True), "readable"),
        ("JPEG", encode(image.crop((0, 0, 1, 1)), "JPEG"), "readable"),
        ("JPEG", jpeg + b"garbage" * 100, "readable"),
        ("webp", jpeg, "readable"),
        ("JPEG", jpeg[: len(jpeg) // 2], "unreadable"),
        ("JPEG", b"", "unreadable"),
        ("jpg", b"no image at all\n", "unreadable"),
        ("JPEG", encode(image, "PNG")[:40], "unreadable"),
        ("txt", jpeg, "skipped"),
        ("gif", encode(image, "GIF"), "skipped"),
    ]


def pack(folder: Path, into: Path) -> None:
    """The split folders that `build` wrote, as the tars that ImageNet is distributed in."""
    into.mkdir()
    with tarfile.open(into / "ILSVRC2012_img_val.tar", "w") as tar:
        for path in sorted((folder / "val").iterdir(), reverse=True):
            tar.add(path, arcname=path.name)
    with tarfile.open(into / "ILSVRC2012_img_train.tar", "w") as tar:
        for path in sorted((folder / "train").iterdir(), reverse=True):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as class_tar:
                for file in sorted(path.iterdir()):
                    class_tar.add(file, arcname=file.name)
            _add(tar, f"{path.name}.tar", inner.getvalue())
    kit = "ILSVRC2012_devkit_t12.tar.gz"
    (into / kit).write_bytes((folder / kit).read_bytes())


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _picture(rng: np.random.Generator) -> np.ndarray:
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(small.resize((80, 60), Image.Resampling.BICUBIC))


def _write_devkit(path: Path, wnids: list[str], of_val: list[str], rng: np.random.Generator):
    # ImageNet's ids are in another order than the wnids; inner nodes of the tree come after them.
    ids = dict(zip(wnids, (rng.permutation(CLASSES) + 1).tolist(), strict=True))
    rows = [(number, wnid, 0) for wnid, number in ids.items()]
    rows = [*sorted(rows), (CLASSES + 1, "n99999999", CLASSES)]
    fields = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "num_children")]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, fields)})
    truth = "".join(f"{ids[wnid]}\n" for wnid in of_val)
    data = "ILSVRC2012_devkit_t12/data/"
    with tarfile.open(path, "w:gz") as tar:
        _add(tar, f"{data}meta.mat", meta.getvalue())
        _add(tar, f"{data}ILSVRC2012_validation_ground_truth.txt", truth.encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
