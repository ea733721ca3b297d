"""The options of a backbone: one frozen dataclass for each architecture.

Code that needs a fact about a backbone reads it from the options: how many registers there are,
which layer attends to the patches, whether there is a [CLS]. No other code compares names of
architectures.

    options = options_of({"architecture": "rats", "width": 384, "depth": 12, "heads": 6})
    options.registers, options.attended_layer, options.layer_tokens(224)  # 96, 11, 292
    options.asdict()  # the dict again

Configs, exports and checkpoints hold the dict.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from rats_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options(ABC):
    """Options of all architectures: arguments of the module, as plain values.

    width, depth, heads, ...: as in `RATS`. written: the names that `asdict` always returns, in this
    order; all names if it is empty. Fields that are added to an architecture later are therefore
    not in the files of older models.
    """

    architecture: ClassVar[str]
    title: ClassVar[str]  # for display
    least_depth: ClassVar[int] = 1
    #: Other arguments of the module, used in training: fields of config.model.
    training: ClassVar[tuple[str, ...]] = ("drop_path", "remat", "unroll")
    #: Options for weights of other implementations; they are not in config.model.
    imported: ClassVar[tuple[str, ...]] = ()
    #: With [CLS], it is the global vector, and regions are made from the attention of [CLS] or of
    #: plain registers. Without it, the global vector is the mean of the registers, and regions are
    #: made from the registers.
    has_cls: ClassVar[bool] = False
    #: Whether registers are ordered by head, with the same number for each, so that every head can
    #: have its own loss.
    registers_by_head: ClassVar[bool] = False
    #: Whether every layer outputs the registers, not only the last layer.
    registers_in_every_layer: ClassVar[bool] = True
    #: Names for one register, for several registers, and for a token that reads the patches.
    unit: ClassVar[str] = "register"
    units: ClassVar[str] = "registers"
    reader: ClassVar[str] = "register"

    width: int
    depth: int
    heads: int
    patch: int = 16
    mlp_ratio: float = 4
    position_offset: float = 0.1
    image_size: int = 224
    written: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    @abstractmethod
    def registers(self) -> int:
        """N, the number of registers in the last layer."""

    @property
    def owning_heads(self) -> int:
        """How many heads own registers (the same number each); 0 if heads do not own registers."""
        return 0

    @property
    def attended_layer(self) -> int:
        """The last layer that attends to the patches."""
        return self.depth - 1

    @property
    def trained_size(self) -> int | None:
        """Side of the training images in pixels; None if the weights do not determine it."""
        return self.image_size

    def patches(self, pixels: int) -> int:
        """L for a square image of `pixels` x `pixels`."""
        return (pixels // self.patch) ** 2

    def layer_tokens(self, pixels: int) -> int:
        """The number of tokens that a layer processes for a square image."""
        return self.patches(pixels) + self.registers + self.has_cls

    @classmethod
    def types(cls) -> dict[str, Any]:
        """The type of each option, by name."""
        return {each.name: each.type for each in fields(cls) if each.name != "written"}

    @classmethod
    def config_fields(cls) -> list[str]:
        """The options that are fields of config.model, in the order of the files."""
        return [name for name in cls.types() if name not in (*cls.imported, "image_size")]

    def arguments(self) -> dict[str, Any]:
        """These options as arguments of the module."""
        return {name: getattr(self, name) for name in self.types()}

    def asdict(self) -> dict[str, Any]:
        """Plain values for configs and files, from which `options_of` makes the same options."""
        defaults = {each.name: each.default for each in fields(self)}
        values = self.arguments()
        more = [
            name
            for name, value in values.items()
            if name not in self.written
            and (not self.written or defaults[name] is MISSING or value != defaults[name])
        ]
        plain = {name: values[name] for name in (*self.written, *more)}
        plain = {name: list(x) if isinstance(x, tuple) else x for name, x in plain.items()}
        return {"architecture": self.architecture} | plain


@dataclass(frozen=True, kw_only=True)
class RATSOptions(Options):
    architecture: ClassVar[str] = "rats"
    title: ClassVar[str] = "RATS (Register Attention Transformer)"
    training: ClassVar[tuple[str, ...]] = (*Options.training, "register_std")
    registers_by_head: ClassVar[bool] = True

    registers_per_head: int = 16
    communicate: str = "parameter_free"
    sharing: str = "partitioned"
    parallel: str = "none"

    @property
    def registers(self) -> int:
        return self.heads * self.registers_per_head

    @property
    def owning_heads(self) -> int:
        return self.heads if self.sharing == "partitioned" else 0


@dataclass(frozen=True, kw_only=True)
class ViTOptions(Options):
    architecture: ClassVar[str] = "vit"
    title: ClassVar[str] = "ViT"
    has_cls: ClassVar[bool] = True
    imported: ClassVar[tuple[str, ...]] = tuple(
        "norm_eps layer_scale gated_mlp positions rope_periods".split()
    )

    plain_registers: int = 0
    norm_eps: float = 1e-6
    layer_scale: bool = False
    gated_mlp: bool = False
    positions: str = "learned"
    rope_periods: tuple[float, ...] | None = None

    @property
    def registers(self) -> int:
        return self.plain_registers

    @property
    def trained_size(self) -> int | None:
        """None for rotary positions, which are not tied to an image size."""
        return None if self.positions == "rope" else self.image_size


@dataclass(frozen=True, kw_only=True)
class PerceiverOptions(Options):
    """The registers are the output queries, which exist only in the last layer. Only the latents
    read the patches, in the first layer."""

    architecture: ClassVar[str] = "perceiver"
    title: ClassVar[str] = "Perceiver"
    least_depth: ClassVar[int] = 3
    registers_in_every_layer: ClassVar[bool] = False
    unit: ClassVar[str] = "query"
    units: ClassVar[str] = "output queries"
    reader: ClassVar[str] = "latent"

    latents: int = 80
    queries: int = 96

    @property
    def registers(self) -> int:
        return self.queries

    @property
    def attended_layer(self) -> int:
        return 0

    def layer_tokens(self, pixels: int) -> int:
        return self.latents


#: Options class by architecture.
OPTIONS: dict[str, type[Options]] = {
    kind.architecture: kind for kind in (RATSOptions, ViTOptions, PerceiverOptions)
}


def options_class(architecture: object) -> type[Options]:
    """Raises UserError for an architecture that does not exist."""
    if not isinstance(architecture, str) or architecture not in OPTIONS:
        raise UserError(
            f"unknown architecture {architecture!r:.80}: choose one of {', '.join(OPTIONS)}"
        )
    return OPTIONS[architecture]


def options_of(given: Options | Mapping[str, Any]) -> Options:
    """The options in a dict of plain values with "architecture"; options are returned as they are.

    Raises:
      UserError: for an architecture that does not exist.
      TypeError: for an option that this architecture does not have, or for one that is missing.
    """
    if isinstance(given, Options):
        return given
    values = {name: tuple(x) if isinstance(x, list) else x for name, x in given.items()}
    kind = options_class(values.pop("architecture", None))
    return kind(**values, written=tuple(values))
