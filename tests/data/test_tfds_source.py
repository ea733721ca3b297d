"""A TFDS data set made here without TensorFlow, read by name."""

import json
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from rats_jax.data.tfds_source import TFDS
from rats_jax.errors import UserError

IMAGES = [random.Random(i).randbytes(20_000 + i) for i in range(7)]
LABELS = [0, 1, 1, -1, 0, 1, 0]
NAMES = [f"pet_{i}.JPEG" for i in range(7)]
EXPECTED = list(zip(IMAGES, LABELS, strict=True))
FEATURES = "tensorflow_datasets.core.features."
IMAGE = {
    "pythonClassName": FEATURES + "image_feature.Image",
    "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}},
}
LABEL = {
    "pythonClassName": FEATURES + "class_label_feature.ClassLabel",
    "classLabel": {"numClasses": "2"},
}
TEXT = {"pythonClassName": FEATURES + "text_feature.Text", "text": {}}
ALL = {"image": IMAGE, "label": LABEL, "file_name": TEXT, "mask": IMAGE}


def varint(number: int) -> bytes:
    number %= 2**64
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(**features: bytes | int) -> bytes:
    """A tf.train.Example: features.feature[name].{bytes_list, int64_list}.value."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = field(1, field(1, value))
        else:
            feature = field(3, field(1, varint(value)))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def make(data_dir, folder="pets/2.0.1", features=ALL, format="array_record", shards=(4, 3)):
    """Writes `shards` examples to shards of a split `train`, as TFDS lays them out."""
    path = data_dir / folder
    path.mkdir(parents=True)
    name, version = path.parts[-2:]
    indices = iter(range(7))
    for number, count in enumerate(shards):
        shard = path / f"{name}-train.array_record-{number:05d}-of-{len(shards):05d}"
        writer = ArrayRecordWriter(str(shard), "group_size:1")
        for i in (next(indices) for _ in range(count)):
            record = {"file_name": NAMES[i].encode(), "image": IMAGES[i], "label": LABELS[i]}
            writer.write(example(**{k: v for k, v in record.items() if k in features}))
        writer.close()
    split = {
        "name": "train",
        "shardLengths": [str(count) for count in shards],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    info = {"name": name, "version": version, "fileFormat": format, "splits": [split]}
    # Real data sets name the code that made them, which imports TensorFlow.
    info["moduleName"] = "tensorflow_datasets.image_classification.imagenet"
    (path / "dataset_info.json").write_text(json.dumps(info))
    dictionary = {"pythonClassName": FEATURES + "features_dict.FeaturesDict"}
    dictionary["featuresDict"] = {"features": features}
    (path / "features.json").write_text(json.dumps(dictionary))
    (path / "label.labels.txt").write_text("cat\ndog\n")
    return path


def read_all(source) -> list:
    return [source[i] for i in range(len(source))]


def test_encoded_images_labels_and_names_are_read_by_name(tmp_path):
    make(tmp_path)
    for name in ("pets", "pets:2.0.1"):
        source = TFDS(name, "train", tmp_path)
        assert len(source) == 7 and read_all(source) == EXPECTED
        assert source.classes == ["cat", "dog"] and list(source.files) == NAMES
    for outside in (-1, 7):
        with pytest.raises(IndexError):
            source[outside]


def test_parts_of_splits_are_read(tmp_path):
    make(tmp_path)
    assert read_all(TFDS("pets", "train[3:6]", str(tmp_path))) == EXPECTED[3:6]


def test_labels_and_names_are_optional(tmp_path):
    make(tmp_path, features={"image": IMAGE})
    source = TFDS("pets", "train", tmp_path)
    assert read_all(source) == [(image, -1) for image in IMAGES]
    assert source.files is None and source.classes == []
    assert source.notes == [
        "warning: there is no feature `label` of whole numbers, so the images have no labels"
    ]
    make(tmp_path, "words/1.0.0", {"image": IMAGE, "label": TEXT})
    assert TFDS("words", "train", tmp_path).classes == []


@pytest.mark.processes
def test_it_is_read_by_two_threads_and_by_a_spawned_process(tmp_path):
    make(tmp_path)
    source = TFDS("pets", "train", tmp_path)
    order = [random.Random(0).randrange(7) for _ in range(500)]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(source.__getitem__, order)) == [EXPECTED[i] for i in order]
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        assert workers.apply(read_all, (source,)) == EXPECTED


@pytest.mark.processes
def test_neither_tensorflow_nor_torch_is_imported(tmp_path):
    make(tmp_path)
    (tmp_path / "source").write_bytes(pickle.dumps(TFDS("pets", "train", tmp_path)))
    script = (
        "import pickle, sys\n"
        "import rats_jax.data.tfds_source as module\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
        "source = module.TFDS('pets', 'train', sys.argv[1])\n"
        "copy = pickle.load(open(sys.argv[1] + '/source', 'rb'))\n"
        "assert len(source[0][0]) == len(copy[0][0]) == 20_000\n"
        "assert not {'tensorflow', 'torch', 'jax'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


def test_a_damaged_record_is_an_error_of_its_own(tmp_path):
    path = make(tmp_path) / "pets-train.array_record-00000-of-00002"
    data = bytearray(path.read_bytes())
    data[data.index(IMAGES[1]) + 10_000] ^= 1
    path.write_bytes(data)
    source = TFDS("pets", "train", tmp_path)
    with pytest.raises(OSError, match="image 1 of pets/2.0.1: "):
        source[1]
    assert source[2] == EXPECTED[2] and source.files[1] == "image 1"


@pytest.mark.parametrize("record", [b"", b"\xff\xff", example(label=1)])
def test_a_record_that_holds_no_image_is_an_error(tmp_path, record):
    path = make(tmp_path, shards=(1,))
    writer = ArrayRecordWriter(str(path / "pets-train.array_record-00000-of-00001"), "group_size:1")
    writer.write(record)
    writer.close()
    with pytest.raises(OSError, match="image 0 of pets/2.0.1"):
        TFDS("pets", "train", tmp_path)[0]


def test_a_data_set_that_is_not_there_is_a_users_mistake(tmp_path):
    with pytest.raises(
        UserError, match="does not contain the data set pets \\(it contains none\\); "
    ):
        TFDS("pets", "train", tmp_path / "nowhere")
    make(tmp_path)
    make(tmp_path, "birds/small/1.0.0")
    for name in ("pets:3.0.0", "dogs"):
        with pytest.raises(
            UserError, match=rf"the data set {name} \(it contains birds/small/1.0.0, pets/2"
        ):
            TFDS(name, "train", tmp_path)
    with pytest.raises(UserError, match=r"data set my pets cannot be read \(.*\); give name:ve"):
        TFDS("my pets", "train", tmp_path)


def test_an_unknown_split_is_a_users_mistake(tmp_path):
    make(tmp_path)
    for split in ("test", "", "train[7:7]"):
        with pytest.raises(UserError, match=r"split '.*' of pets.*; it has train$"):
            TFDS("pets", split, tmp_path)


@pytest.mark.parametrize("format", ["tfrecord", "parquet"])
def test_another_file_format_is_a_users_mistake(tmp_path, format):
    path = make(tmp_path, format=format)
    with pytest.raises(UserError, match=f"is in {format} format.* convert_format .*={path} "):
        TFDS("pets", "train", tmp_path)


def test_a_missing_file_is_a_users_mistake(tmp_path):
    os.remove(make(tmp_path) / "pets-train.array_record-00001-of-00002")
    with pytest.raises(UserError, match="00001-of-00002 is missing; complete "):
        TFDS("pets", "train", tmp_path)
    assert len(TFDS("pets", "train[:4]", tmp_path)) == 4


def test_a_data_set_without_encoded_images_is_a_users_mistake(tmp_path):
    depth = {"dtype": "float32", "shape": {"dimensions": ["-1", "-1", "1"]}}
    floats = {**IMAGE, "image": depth}
    for number, features in enumerate([{"picture": IMAGE}, {"image": TEXT}, {"image": floats}]):
        make(tmp_path, f"set{number}/1.0.0", features)
        with pytest.raises(
            UserError, match="has no feature `image` of uint8 or uint16 \\(its features are "
        ):
            TFDS(f"set{number}", "train", tmp_path)


def test_a_missing_package_is_a_users_mistake(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match="pip install tensorflow_datasets"):
        TFDS("pets", "train", tmp_path)


def test_the_home_directory_is_meant_by_a_tilde(tmp_path, monkeypatch):
    make(tmp_path / "tfds")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(TFDS("pets", "train", "~/tfds")) == 7


def test_splits_that_are_not_read_are_named(tmp_path):
    path = make(tmp_path)
    assert TFDS("pets", "train", tmp_path).notes == []
    info = json.loads((path / "dataset_info.json").read_text())
    info["splits"].append({**info["splits"][0], "name": "test", "shardLengths": ["1"]})
    (path / "dataset_info.json").write_text(json.dumps(info))
    for split in ("train", "train[:50%]"):
        assert TFDS("pets", split, tmp_path).notes == ["not read: the splits test"]
