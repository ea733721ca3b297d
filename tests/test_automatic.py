"""Automatic settings: every rule for every number of images, and what stays by hand."""

import importlib.util
import itertools
from pathlib import Path

import pytest

from rats_jax.assemble import without_automatic
from rats_jax.config import AUTO, AUTO_TEXT, default_config, fields, schedules, value
from rats_jax.config.automatic import Choice, automatic_fields, resolve, table
from rats_jax.config.automatic_rules import RULES
from rats_jax.config.sizes import with_size
from rats_jax.config_flag import load_recipe
from rats_jax.errors import UserError
from rats_jax.models import SIZES
from rats_jax.runs.spans import span_warnings
from rats_jax.validation import validate
from tests.runs.tiny import tiny_config

GIB = 2**30
IMAGES = (1, 2, 7, 10, 50, 99, 200, 1000, 2000, 10_000, 11_834, 100_000, 500_000, 1_281_167, 10**7)


def chosen(images: int, memory: float | None = 24, devices: int = 1, **by_hand):
    """The config of image_folder, with a byte count as simple as can be."""
    config = load_recipe("image_folder")
    config.update_from_flattened_dict({name.replace("__", "."): x for name, x in by_hand.items()})
    return resolve(
        config,
        images=images,
        memory=None if memory is None else int(memory * GIB),
        step_bytes=needs,
        devices=devices,
    )[0]


def needs(config) -> int:
    of_image = {"none": 0.4, "dots": 0.12, "full": 0.05}[config.model.remat]
    parts = config.optimizer.batch_size / config.optimizer.accumulation
    return int((0.7 + of_image * parts) * GIB)


def test_each_automatic_field_has_a_rule_and_image_folder_uses_all():
    declared = [field.name for field in fields() if field.automatic]
    assert sorted(declared) == sorted(rule.field for rule in RULES)
    assert automatic_fields(load_recipe("image_folder")) == set(declared)
    assert automatic_fields(default_config()) == set()


#: Field -> its values for 200, 2,000, 11,834, 100,000 and 1,281,167 images on 24 GiB.
VALUES = {
    "head.prototypes": (1024, 1024, 1024, 4096, 65_536),
    "optimizer.batch_size": (32, 32, 64, 256, 1024),
    "model.remat": ("none", "none", "dots", "dots", "dots"),
    "optimizer.accumulation": (1, 1, 1, 2, 8),
    "optimizer.epochs": (800.0, 530.0, 340.0, 200.0, 110.0),
    "optimizer.learning_rate": (0.00141, 0.00141, 0.001, 5e-4, 5e-4),
    "optimizer.warmup_epochs": (80.0, 53.0, 34.0, 20.0, 9.99),
    "dino.freeze_last_layer_epochs": (24.0, 15.9, 6.79, 3.21, 0.999),
    "dino.teacher_temperature": (0.02, 0.02, 0.02, 0.023, 0.07),
    "dino.teacher_temperature_start": (0.02, 0.02, 0.02, 0.021, 0.04),
    "dino.teacher_temperature_warmup_epochs": (0, 0, 0, 60, 29),
    "dino.teacher_momentum": (0.99, 0.99, 0.992, 0.9936, 0.996),
    "run.log_every": (48, 50, 50, 50, 50),
    "run.checkpoint_every": (240, 1000, 1000, 1000, 1000),
    "compute_dtype": ("bfloat16",) * 5,
}


def test_the_values_of_the_rules():
    by_name = {field.name: field for field in fields()}
    configs = [chosen(images) for images in (200, 2000, 11_834, 100_000, 1_281_167)]
    got = {name: tuple(value(config, by_name[name]) for config in configs) for name in VALUES}
    assert got == VALUES
    assert VALUES.keys() == {rule.field for rule in RULES}


@pytest.mark.parametrize("images", IMAGES)
def test_any_number_of_images_on_any_memory_makes_a_run_in_good_order(images):
    for memory, devices in itertools.product((None, 1, 4, 24, 80, 200), (1, 2, 8)):
        if devices > images:
            with pytest.raises(UserError, match=f"and there are {devices} devices: a batch takes "):
                chosen(images, memory, devices)
            continue
        config = chosen(images, memory, devices)
        validate(config)
        optimizer = config.optimizer
        assert not automatic_fields(config)
        assert optimizer.batch_size <= images
        assert optimizer.batch_size % (devices * optimizer.accumulation) == 0
        s = schedules(config, images=images)
        assert s.warmup_steps <= s.steps / 10 and s.freeze_last_layer_steps <= s.warmup_steps
        assert s.peak_learning_rate > s.end_learning_rate
        assert 0.98 < s.momentum_start < 1 and s.temperature_start <= s.temperature_end
        if images >= 50:
            assert span_warnings(config, s) == []


def test_what_grows_with_the_images_and_what_falls():
    configs = [chosen(images) for images in IMAGES]

    def values(name: str) -> list:
        section, _, last = name.partition(".")
        return [config[section][last] for config in configs]

    for name in ("head.prototypes", "optimizer.batch_size", "dino.teacher_temperature"):
        assert values(name) == sorted(values(name)), name
    for name in ("optimizer.epochs", "optimizer.learning_rate"):
        assert values(name) == sorted(values(name), reverse=True), name


def test_less_memory_takes_more_parts_and_never_another_recipe():
    parts, others = [], []
    for memory in (200, 80, 40, 24, 16, 8, 4, 2, 1):
        config = chosen(100_000, memory)
        parts.append((config.model.remat, config.optimizer.accumulation))
        config.model.remat, config.optimizer.accumulation = "none", 1
        others.append(config.to_dict())
    assert parts[0] == ("none", 1) and parts[1] == ("dots", 1)
    assert [p for _, p in parts] == sorted(p for _, p in parts)
    assert parts[-1][1] == 256  # an image at once, though it does not fit
    assert all(other == others[0] for other in others)


def test_what_is_set_by_hand_stays_and_the_others_follow():
    config = chosen(11_834, optimizer__batch_size=128, optimizer__epochs=1.0)
    assert (config.optimizer.batch_size, config.optimizer.epochs) == (128, 1.0)
    assert config.optimizer.warmup_epochs == pytest.approx(9 / 92, rel=0.01)
    assert config.optimizer.learning_rate == 0.000707
    assert config.run.checkpoint_every == 4 and config.run.log_every == 1
    config = chosen(11_834, optimizer__accumulation=3, dino__teacher_temperature=0.05)
    assert config.optimizer.accumulation == 3 and config.optimizer.batch_size == 63
    assert config.dino.teacher_temperature_start == 0.032
    assert chosen(11_834, model__remat="full").optimizer.accumulation == 1


def test_a_config_without_automatic_values_is_returned_as_it_is():
    config = tiny_config()
    same, choices = resolve(config, images=40, memory=GIB, step_bytes=needs)
    assert same.to_dict() == config.to_dict() and choices == []
    plain = chosen(1000)
    again, choices = resolve(plain, images=10**6, memory=GIB, step_bytes=needs)
    assert again.to_dict() == plain.to_dict() and choices == []


def test_too_few_images_name_what_splits_the_batch():
    with pytest.raises(UserError) as error:
        chosen(3, devices=8)
    assert str(error.value) == (
        "config.data has 3 images and there are 8 devices: a batch takes at least 8 images, so "
        "give more images or fewer devices (CUDA_VISIBLE_DEVICES)"
    )
    with pytest.raises(
        UserError, match="1 device, and config.optimizer.accumulation is 4: a batch"
    ):
        chosen(3, optimizer__accumulation=4)


def test_the_reason_of_the_parts_is_true():
    def reason(memory: float) -> str:
        config = tiny_config(optimizer__accumulation=AUTO, optimizer__batch_size=8)
        options = {"images": 40, "memory": int(memory * GIB), "step_bytes": needs}
        return resolve(config, **options)[1][0].reason

    assert reason(1) == "not even one image at once fits in 80% of 1.0 GiB"
    assert reason(1.4) == "1 image at once fits in 80% of 1.4 GiB"
    assert reason(2) == "2 images at once fit in 80% of 2.0 GiB"
    assert reason(9) == "the whole batch fits in 80% of 9.0 GiB"


def test_a_rule_reads_what_it_says():
    """Its value follows each of these fields, and no other that is set by hand."""
    by_name = {field.name: field for field in fields()}
    by_hand = {
        "optimizer.batch_size": 32,
        "optimizer.epochs": 3.0,
        "dino.teacher_temperature": 0.021,
        "dino.teacher_temperature_start": 0.023,
    }
    usual = {
        "optimizer.batch_size": 256,
        "optimizer.accumulation": 1,
        "model.remat": "none",
        "dino.teacher_temperature": 0.023,
        "dino.teacher_temperature_start": 0.021,
    }

    def of(field: str, given: dict) -> object:
        names = {name.replace(".", "__"): x for name, x in given.items() if name != field}
        return value(chosen(100_000, **names), by_name[field])

    for rule in RULES:
        if rule.field in ("optimizer.accumulation", "model.remat"):
            continue
        follows = {
            name
            for name, given in by_hand.items()
            for epochs in (10.0, 200.0)  # where the bounds of a rule do not hide it
            if of(rule.field, before := usual | {"optimizer.epochs": epochs})
            != of(rule.field, before | {name: given})
        }
        assert follows == set(rule.reads), rule.field
    assert not any(by_name[rule.field].fixed and rule.reads for rule in RULES)


def test_earlier_choices_are_kept_and_a_device_gets_its_own():
    config = tiny_config(optimizer__batch_size=AUTO, optimizer__accumulation=AUTO)
    config.model.remat = AUTO_TEXT
    kept = [
        Choice("optimizer.batch_size", 64, "3 steps per epoch", True),
        Choice("head.prototypes", 5, "not automatic here", True),
    ]
    options = {"images": 10_000, "step_bytes": needs, "kept": kept}
    for memory, devices, remat, parts in (
        (40, 1, "none", 1),
        (8, 1, "dots", 2),
        (8, 64, "dots", 1),
    ):
        same, choices = resolve(config, memory=memory * GIB, devices=devices, **options)
        assert (same.optimizer.batch_size, same.head.prototypes) == (64, 32)
        assert (same.model.remat, same.optimizer.accumulation) == (remat, parts)
        assert [choice.field for choice in choices if choice.kept] == ["optimizer.batch_size"]


def test_the_table_is_aligned_and_says_why():
    config = tiny_config(optimizer__batch_size=AUTO, run__log_every=AUTO)
    _, choices = resolve(config, images=4000, memory=None, step_bytes=None)
    assert table(choices) == [
        "  optimizer.batch_size  32  125 steps per epoch",
        "  run.log_every         10  100 reports in the run",
    ]


def test_the_bytes_of_the_step_are_those_of_the_model():
    config = tiny_config(optimizer__accumulation=AUTO, optimizer__batch_size=32)
    config.model.remat = "dots"
    plain, _ = without_automatic(config, images=40, memory=10 * GIB)
    assert plain.optimizer.accumulation == 1
    less, _ = without_automatic(config, images=40, memory=2**20)
    assert less.optimizer.accumulation > 1


def test_the_table_in_the_docs_is_that_of_the_rules():
    docs = Path(__file__).parents[1] / "docs"
    spec = importlib.util.spec_from_file_location("automatic_table", docs / "automatic_table.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    page = (docs / "train_on_your_images.md").read_text()
    assert tables.filled(page) == page, "run python docs/automatic_table.py"
    assert (
        page.count("| `optimizer.batch_size` | 32 | 32 | 32 | 64 | 64 | 256 | 512 | 1,024 |") == 1
    )


def test_a_size_is_width_depth_and_heads():
    config = tiny_config(model__size="B")
    assert with_size(config).model.to_dict() == config.model.to_dict() | SIZES["B"] | {"size": ""}
    assert config.model.width == 24 and with_size(tiny_config()).model.width == 24
    ours = tiny_config(model__size="B", model__depth=3)  # the recipe has the size, the user a depth
    assert with_size(ours, by_hand={"model.depth"}).model.depth == 3
    with pytest.raises(UserError, match="size=B sets config.model.depth too: leave out one"):
        with_size(ours, by_hand={"model.depth", "model.size"})
    with pytest.raises(UserError, match="size is 'XL': choose one of Ti, S, B, L, g"):
        with_size(tiny_config(model__size="XL"))
