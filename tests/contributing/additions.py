"""One toy of each kind that CONTRIBUTING.md describes, as the changes that add it.

Its new files are those of `new/`, where the linter reads them; the rest are edits of files.
"""

from dataclasses import dataclass
from pathlib import Path

NEW = Path(__file__).parent / "new"


@dataclass(frozen=True)
class Edit:
    """In a file, `old`, which must be there once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Addition:
    """section: the heading in CONTRIBUTING.md. name: what NAME means in the paths there.
    new: by path, the file in `new/` that is put there."""

    section: str
    name: str = ""
    new: dict[str, str]
    edits: tuple[Edit, ...]

    def apply(self, root: Path) -> None:
        """To a copy of the repository, or of the parts of it that are edited."""
        for path, file in self.new.items():
            assert not (root / path).exists(), f"{path} is not new"
            (root / path).write_text((NEW / file).read_text())
        for edit in self.edits:
            text = (root / edit.file).read_text()
            assert text.count(edit.old) == 1, (
                f"{edit.file} has this {text.count(edit.old)} times instead of once; adapt "
                f"tests/contributing/additions.py:\n{edit.old}"
            )
            (root / edit.file).write_text(text.replace(edit.old, edit.new))


BACKBONE = Addition(
    section="A backbone",
    name="joint",
    new={"rats_jax/models/joint.py": "joint.py"},
    edits=(
        Edit(
            "rats_jax/models/options.py",
            "OPTIONS: dict[str, type[Options]] = {\n",
            """@dataclass(frozen=True, kw_only=True)
class JointOptions(Options):
    architecture: ClassVar[str] = "joint"
    title: ClassVar[str] = "Joint"

    queries: int = 96

    @property
    def registers(self) -> int:
        return self.queries


OPTIONS: dict[str, type[Options]] = {
""",
        ),
        Edit(
            "rats_jax/models/options.py",
            "ViTOptions, PerceiverOptions)",
            "ViTOptions, PerceiverOptions, JointOptions)",
        ),
        Edit(
            "rats_jax/models/__init__.py",
            "from rats_jax.models.options import",
            "from rats_jax.models.joint import Joint\nfrom rats_jax.models.options import",
        ),
        Edit(
            "rats_jax/models/__init__.py",
            '"perceiver": Perceiver}',
            '"perceiver": Perceiver, "joint": Joint}',
        ),
        Edit(
            "rats_jax/models/flops.py",
            "LAYERS = ",
            """def _joint(options: Options, patches: int) -> Counter:
    return _times(options.depth, _block(options, options.registers + patches))


LAYERS = """,
        ),
        Edit(
            "rats_jax/models/flops.py",
            '"perceiver": _perceiver}',
            '"perceiver": _perceiver, "joint": _joint}',
        ),
        Edit(
            "rats_jax/torch_export/files/modeling_rats.py",
            '"perceiver": Perceiver}',
            '"perceiver": Perceiver, "joint": Joint}',
        ),
        Edit(
            "rats_jax/torch_export/files/modeling_rats.py",
            "class PatchEmbed(nn.Module):\n",
            '''class Joint(Encoder):
    """Queries and patches attend to each other; the queries are what registers are in RATS."""

    def __init__(self, *, queries: int = 96, **common):
        super().__init__(**common)
        self.queries = nn.Parameter(torch.zeros(1, queries, self.embed_dim))
        self.blocks.extend(
            Block(self.embed_dim, self.heads, self.hidden) for _ in range(self.depth)
        )
        self.reset_parameters()

    def embed(self, images: Tensor) -> tuple[Tensor]:
        queries = self.queries.expand(images.shape[0], -1, -1)
        return (torch.cat([queries, self.embed_patches(images)], dim=1),)

    def layer(self, i: int, tokens: tuple[Tensor]) -> tuple[Tensor]:
        return (self.blocks[i](*tokens),)

    def attention(self, i: int, tokens: tuple[Tensor]) -> Tensor:
        first = self.queries.shape[1]
        return super().attention(i, tokens)[:, :, :first, first:]

    def features(self, tokens: tuple[Tensor]) -> Features:
        tokens, first = self.norm(tokens[0]), self.queries.shape[1]
        queries = tokens[:, :first]
        return Features(queries, tokens[:, first:], queries.mean(1), {})


class PatchEmbed(nn.Module):
''',
        ),
        Edit(
            "docs/architecture.md",
            "    rats.py vit.py perceiver.py     the backbones",
            "    rats.py vit.py perceiver.py joint.py    the backbones",
        ),
    ),
)

SOURCE = Addition(
    section="A source of images",
    name="squares",
    new={"rats_jax/data/squares_source.py": "squares_source.py"},
    edits=(
        Edit(
            "rats_jax/data/source_kinds.py",
            "from rats_jax.data.tars import Tars\n",
            "from rats_jax.data.squares_source import Squares\n"
            "from rats_jax.data.tars import Tars\n",
        ),
        Edit(
            "rats_jax/data/source_kinds.py",
            '    "procedural_parts": SourceKind(\n',
            """    "squares": SourceKind(
        open=Squares,
        reads=("length",),
        needs={"length": "say how many squares"},
        open_place=lambda place: Squares(int(place)),
        written="squares:COUNT",
        which=int,
    ),
    "procedural_parts": SourceKind(
""",
        ),
        Edit(
            "docs/architecture.md",
            "    records.py tars.py tfds_source.py       other sources\n",
            "    records.py tars.py tfds_source.py squares_source.py     other sources\n",
        ),
    ),
)

METRIC = Addition(
    section="A part metric",
    new={},
    edits=(
        Edit(
            "rats_jax/parts/region_metrics.py",
            "    fg_ari: float\n",
            "    fg_ari: float\n    purity: float\n",
        ),
        Edit(
            "rats_jax/parts/region_metrics.py",
            '"mBO", "FG-ARI")',
            '"mBO", "FG-ARI", "purity")',
        ),
        Edit(
            "rats_jax/parts/region_metrics.py",
            "        fg_ari,\n",
            "        fg_ari,\n        _purity(counts),\n",
        ),
        Edit(
            "rats_jax/parts/region_metrics.py",
            "def adjusted_rand(",
            """def _purity(counts: np.ndarray) -> float:
    return float(counts.max(0).sum() / counts.sum())


def adjusted_rand(""",
        ),
    ),
)

EVALUATION = Addition(
    section="An evaluation during training",
    name="patch_norm",
    new={"rats_jax/runs/online/evaluators/patch_norm.py": "patch_norm.py"},
    edits=(
        Edit(
            "rats_jax/runs/online/evaluators/__init__.py",
            "from rats_jax.runs.online.evaluators.registers import",
            "from rats_jax.runs.online.evaluators.patch_norm import PatchNorm\n"
            "from rats_jax.runs.online.evaluators.registers import",
        ),
        Edit(
            "rats_jax/runs/online/evaluators/__init__.py",
            '    "knn": OnlineKNN,\n',
            '    "knn": OnlineKNN,\n    "patch_norm": PatchNorm,\n',
        ),
    ),
)

TASK = Addition(
    section="A task of rats evaluate",
    name="likeness",
    new={"rats_jax/evals/tasks/likeness.py": "likeness.py"},
    edits=(
        Edit(
            "rats_jax/evals/tasks/__init__.py",
            "import consistency, knn, linear,",
            "import consistency, knn, likeness, linear,",
        ),
        Edit(
            "rats_jax/evals/tasks/__init__.py",
            '    "norms": norms,\n',
            '    "norms": norms,\n    "likeness": likeness,\n',
        ),
    ),
)

FIELD = Addition(
    section="A config field",
    new={},
    edits=(
        Edit(
            "rats_jax/config/method_fields.py",
            '    Field(\n        "optimizer.clip",\n',
            """    Field(
        "optimizer.beta2",
        0.999,
        "Decay of Adam's second moment.",
        check=SHARE,
        old_runs=0.999,
    ),
    Field(
        "optimizer.clip",
""",
        ),
        Edit(
            "rats_jax/assemble.py",
            "        clip=config.optimizer.clip,\n",
            "        clip=config.optimizer.clip,\n        beta2=config.optimizer.beta2,\n",
        ),
        Edit(
            "rats_jax/dino/step.py",
            "    accumulation: int = 1\n",
            "    accumulation: int = 1\n    beta2: float = 0.999\n",
        ),
        Edit(
            "rats_jax/dino/step.py",
            "                clip=self.clip,\n",
            "                clip=self.clip,\n                beta2=self.beta2,\n",
        ),
        Edit(
            "rats_jax/dino/optimizer.py",
            "    last_layer_frozen: jax.Array,\n",
            "    last_layer_frozen: jax.Array,\n    beta2: float = 0.999,\n",
        ),
        Edit(
            "rats_jax/dino/optimizer.py",
            "    rest, rest_state = ADAM.update(rest,",
            "    adam = optax.scale_by_adam(b1=0.9, b2=beta2, eps=1e-8)\n"
            "    rest, rest_state = adam.update(rest,",
        ),
        Edit(
            "rats_jax/dino/optimizer.py",
            "last_layer, last_state = ADAM.update(",
            "last_layer, last_state = adam.update(",
        ),
    ),
)

ADDITIONS = (BACKBONE, SOURCE, METRIC, EVALUATION, TASK, FIELD)
