"""What each table and figure of the paper compares, and what is needed to run it."""

from collections.abc import Callable
from typing import NamedTuple

from rats_jax.backbones import Backbone
from rats_jax.models import SIZES
from rats_jax.models.options import Options, PerceiverOptions, RATSOptions, ViTOptions

ALL = 0  # as a number of regions: all registers of the model


class Variant(NamedTuple):
    """A row of the paper. fits: whether a backbone is of this kind; None for other programs, whose
    label maps are given by --regions under this name. how: how to get it."""

    name: str
    fits: Callable[[Backbone], bool] | None
    how: str


class Experiment(NamedTuple):
    """name: such as "table 1". variants: rows of the paper. top_k: numbers of regions; empty if
    part masks are not needed. sweep: whether several resolutions are compared. assumed: what the
    sources do not say."""

    name: str
    title: str
    variants: tuple[Variant, ...] = ()
    top_k: tuple[int, ...] = ()
    sweep: bool = False
    assumed: str = ""

    @property
    def has_other_programs(self) -> bool:
        """Whether label maps of other programs have a row."""
        return any(variant.fits is None for variant in self.variants)


def variant_of(experiment: Experiment, backbone: Backbone) -> Variant | None:
    """The first row of the paper that this backbone can be compared with."""
    fitting = (v for v in experiment.variants if v.fits is not None and v.fits(backbone))
    return next(fitting, None)


def of_size(size: str, architecture: type[Options], **values: object) -> Callable:
    """Whether a backbone has the paper's size and these options."""
    wanted = SIZES[size] | {"patch": 16} | values

    def fits(backbone: Backbone) -> bool:
        options = backbone.options
        return type(options) is architecture and all(
            getattr(options, name) == value for name, value in wanted.items()
        )

    return fits


PAPER_RATS = {
    "registers_per_head": 16,
    "communicate": "parameter_free",
    "sharing": "partitioned",
    "parallel": "none",
}


def _train(recipe: str, *fields: str) -> str:
    return " ".join([f"rats train --config={recipe}", *(f"--config.{field}" for field in fields)])


def _rats(size: str, recipe: str) -> Variant:
    return Variant(f"RATS-{size}/16", of_size(size, RATSOptions, **PAPER_RATS), _train(recipe))


def _has(**values: object) -> Callable[[Backbone], bool]:
    """Whether a backbone is a RATS with these options, of any size."""

    def fits(backbone: Backbone) -> bool:
        options = backbone.options
        return isinstance(options, RATSOptions) and all(
            getattr(options, name) == value for name, value in values.items()
        )

    return fits


def _loss(scope: str) -> Callable[[Backbone], bool]:
    return lambda backbone: (
        isinstance(backbone.options, RATSOptions)
        and backbone.config is not None
        and backbone.config.dino.loss_scope == scope
    )


S, B = _rats("S", "rats_s16_in1k"), _rats("B", "rats_b16_in1k")
VIT_S = Variant("ViT-S/16", of_size("S", ViTOptions), _train("dino_vit_s16_in1k"))
VIT_B = Variant("ViT-B/16", of_size("B", ViTOptions), _train("dino_vit_b16_in1k"))

EXPERIMENTS = (
    Experiment(
        "table 1",
        "part discovery, by the number of regions",
        (
            S,
            B,
            Variant(
                "DINO ViT-B/16",
                of_size("B", ViTOptions, plain_registers=0, positions="learned"),
                "the official dino_vitbase16_pretrain.pth",
            ),
            Variant(
                "DINOv3 ViT-B/16",
                of_size("B", ViTOptions, plain_registers=4, positions="rope"),
                "the official weights of DINOv3 ViT-B/16",
            ),
            Variant("AdaSlot", None, "the official code; --regions=AdaSlot=LABEL_MAPS"),
        ),
        (6, 12, 33, 96, 192),
        assumed="the paper's number of regions of DINO and DINOv3 ViT-B is not known: its numbers "
        "are shown beside the 12 heads",
    ),
    Experiment(
        "table 3",
        "variants of the architecture",
        (
            S,
            Variant(
                "learned communication",
                _has(communicate="learned"),
                _train("rats_s16_in1k", "model.communicate=learned"),
            ),
            Variant(
                "shared registers",
                _has(sharing="shared"),
                _train("rats_s16_in1k", "model.sharing=shared"),
            ),
            Variant(
                "Perceiver-IO style",
                lambda backbone: isinstance(backbone.options, PerceiverOptions),
                _train("rats_s16_in1k", "model.architecture=perceiver"),
            ),
            VIT_S,
        ),
        (33, ALL),
        assumed="the paper's number of regions is not known: 33, and all registers",
    ),
    Experiment(
        "table 4",
        "registers per head",
        (
            Variant(
                "8 registers per head",
                of_size("B", RATSOptions, registers_per_head=8),
                _train("rats_b16_in1k", "model.registers_per_head=8"),
            ),
            Variant(
                "16 registers per head",
                of_size("B", RATSOptions, registers_per_head=16),
                _train("rats_b16_in1k"),
            ),
        ),
        (33, ALL),
        assumed="that the models are RATS-B; the paper's number of regions and its data are not "
        "known: 33, and all registers",
    ),
    Experiment(
        "table 5",
        "the number of regions of one model",
        (S,),
        (10, 20, 30, 40, 50, 60, 70, 80),
        assumed="the paper has 10 to 80 regions; steps of 10 are assumed",
    ),
    Experiment(
        "table 6",
        "one loss, or one for each head",
        (
            Variant("one loss", _loss("all"), _train("rats_s16_in1k")),
            Variant(
                "a loss for each head",
                _loss("head"),
                _train("rats_s16_in1k", "dino.loss_scope=head"),
            ),
        ),
        (33, ALL),
        assumed="the paper's number of regions is not known: 33, and all registers",
    ),
    Experiment(
        "figure 6",
        "operations of a forward pass, by resolution",
        (S, VIT_S, B, VIT_B),
        assumed="that this is the number of the paper's figure",
    ),
    Experiment(
        "figure 7",
        "part discovery, by resolution",
        (S, B),
        (33, ALL),
        sweep=True,
        assumed="that this is the number of the paper's figure; the paper has 224 to 1024 pixels",
    ),
    Experiment(
        "figure 8",
        "part discovery, by epoch",
        (S,),
        assumed="33 regions, or all registers if fewer",
    ),
)
BY_NAME = {experiment.name: experiment for experiment in EXPERIMENTS}
