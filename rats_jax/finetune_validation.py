"""Checks of a config of fine-tuning that depend on several fields, and on the backbone."""

from ml_collections import ConfigDict

from rats_jax.config.checks import check
from rats_jax.models.options import Options
from rats_jax.voice import say

#: Finer masks than patches that the head `registers` can make.
UPSCALES = (1, 2, 4, 8)
#: Metrics of reports by which the best checkpoint may be chosen.
REPORTED = {
    *("loss", "class_loss", "mask_loss", "dice_loss", "class_accuracy", "pixel_accuracy"),
    *("epoch", "learning_rate", "gradient_norm", "skipped_steps", "skipped_in_a_row"),
    *("images_per_second", "input_wait", "seconds_left", "unreadable_images"),
}


def check_fields(config: ConfigDict) -> None:
    """Raises UserError for the first fields that contradict each other."""
    name, jax_decoder = config.decoder.name, config.decoder.name != "mask2former"
    check(
        name != "linear" or config.task == "semantic",
        "config.decoder.name=linear labels pixels and cannot separate objects: set "
        "config.task=semantic, or another config.decoder.name",
    )
    check(
        config.compute_dtype != "float16" or not jax_decoder,
        f"config.compute_dtype=float16 is for config.decoder.name=mask2former: use bfloat16 with "
        f"{name}",
    )
    whole = {"data": (-1, 1), "fsdp": (1,), "tensor": (1,)}
    sizes = [axis for axis in whole if config.mesh[axis] not in whole[axis]]
    check(
        jax_decoder or not sizes,
        f"config.mesh.{sizes[0] if sizes else ''} is for the decoders registers and linear: leave "
        "it out, and start mask2former on several GPUs with `accelerate launch -m "
        "rats_jax.finetune`",
    )
    _check_decoder(config)
    _check_losses(config)
    _check_rates(config)
    _check_metric(config)
    low, high = config.evaluation.short_side, config.evaluation.long_side
    check(
        low <= high,
        f"config.evaluation.short_side {low} is longer than config.evaluation.long_side {high}",
    )
    check(
        config.data.scale[0] > 0,
        f"config.data.scale is {tuple(config.data.scale)}: images cannot be resized to nothing",
    )


def check_backbone(config: ConfigDict, options: Options) -> None:
    """Raises UserError if the config cannot be trained with this backbone. Reports fields that have
    no effect with it."""
    decoder, crop, patch = config.decoder, config.data.crop, options.patch
    wants = {
        "mask2former": decoder.queries == "registers" and "config.decoder.queries=registers",
        "registers": "config.decoder.name=registers",
    }.get(decoder.name)
    remedy = {
        "mask2former": "set --queries=learned",
        "registers": "set --decoder=mask2former --queries=learned, or --decoder=linear",
    }.get(decoder.name)
    check(
        options.registers or not wants,
        f"{wants} needs a backbone with registers, and this {options.title} has none: {remedy}, or "
        "give another --checkpoint",
    )
    nearest = max(round(crop / patch), 1) * patch
    check(
        crop == nearest,
        f"config.data.crop {crop} is not a multiple of the backbone's patch, {patch} pixels; the "
        f"nearest is {nearest}",
    )
    deepest = options.depth if options.registers_in_every_layer else 1
    check(
        decoder.name != "registers" or decoder.supervised <= deepest,
        f"config.decoder.supervised {decoder.supervised}: masks can be predicted after the last "
        f"{deepest} blocks of this {options.title}; choose {deepest} or fewer",
    )
    wanted, has = config.model.parallel, getattr(options, "parallel", "none")
    check(
        has in ("none", wanted),
        f"config.model.parallel is {wanted}, and this {options.title} was trained with {has}: set "
        f"config.model.parallel={has}",
    )
    if wanted != "none" and "parallel" not in options.types():
        say(f"config.model.parallel has no effect: only RATS has it, not a {options.title}")


def _check_decoder(config: ConfigDict) -> None:
    decoder = config.decoder
    if decoder.name == "mask2former":
        check(
            decoder.width % decoder.heads == 0,
            f"config.decoder.width {decoder.width} is not divisible by config.decoder.heads "
            f"{decoder.heads}",
        )
    check(
        decoder.upscale in UPSCALES,
        f"config.decoder.upscale is {decoder.upscale}: choose one of "
        f"{', '.join(map(str, UPSCALES))}",
    )


def _check_losses(config: ConfigDict) -> None:
    weights = ("class_weight", "mask_weight", "dice_weight")
    check(
        config.decoder.name == "linear" or any(config.loss[name] for name in weights),
        "config.loss.class_weight, mask_weight and dice_weight are all 0, so nothing would be "
        "trained: set one of them above 0",
    )


def _check_rates(config: ConfigDict) -> None:
    model, optimizer = config.model, config.optimizer
    steps = optimizer.steps
    check(
        optimizer.warmup_steps < steps,
        f"config.optimizer.warmup_steps {optimizer.warmup_steps} is not below "
        f"config.optimizer.steps {steps}; shorten the one or lengthen the other",
    )
    if optimizer.schedule == "steps":
        check(
            optimizer.milestones,
            "config.optimizer.milestones is empty: give the steps at which the rate falls, such "
            f"as ({steps * 8 // 9},{steps * 26 // 27}), or set config.optimizer.schedule=poly",
        )
        check(
            max(optimizer.milestones, default=0) < steps,
            f"config.optimizer.milestones {tuple(optimizer.milestones)} go beyond "
            f"config.optimizer.steps {steps}: lower them",
        )
    if model.freeze == "backbone":
        check(
            optimizer.layer_decay == 1,
            f"config.optimizer.layer_decay {optimizer.layer_decay} has no effect with "
            "config.model.freeze=backbone: leave out one of the two",
        )
        check(
            not model.drop_path,
            f"config.model.drop_path {model.drop_path} makes a frozen backbone random: set it to "
            "0, or config.model.freeze=none",
        )
    check(
        optimizer.batch_size % optimizer.accumulation == 0,
        f"config.optimizer.batch_size {optimizer.batch_size} cannot be computed in "
        f"config.optimizer.accumulation {optimizer.accumulation} equal parts",
    )


def _check_metric(config: ConfigDict) -> None:
    """The best checkpoint is chosen by a metric that this task has."""
    from rats_jax.runs.metric_names import PLAIN  # which imports this module

    metric, own = config.run.best_metric, f"{config.task}/"
    measured = [name for name in PLAIN if name.startswith(own)]
    check(
        metric in measured or metric in REPORTED,
        f"config.run.best_metric={metric} is not measured with config.task={config.task}: set "
        f"config.run.best_metric={measured[0]}, or one of {', '.join(measured[1:])}",
    )
