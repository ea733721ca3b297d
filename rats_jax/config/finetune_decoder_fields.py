"""Fields of the decoder that predicts masks, and of its losses.

The defaults are those of Mask2Former (Cheng et al., 2022).
"""

from rats_jax.config.checks import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE, one_of
from rats_jax.config.field import Field

DECODER = (
    Field(
        "decoder.name",
        "mask2former",
        "What predicts masks: Mask2Former, in PyTorch (`mask2former`); a small head in JAX whose "
        "mask queries are the registers of the last block (`registers`); or a linear layer on "
        "patches, in JAX, semantic only (`linear`).",
        check=one_of("mask2former", "registers", "linear"),
        fixed=True,
    ),
    Field(
        "decoder.queries",
        "registers",
        "mask2former: what the queries of the decoder start from: the registers of the last block, "
        "one query each (`registers`), or parameters, as usual (`learned`).",
        check=one_of("registers", "learned"),
        fixed=True,
    ),
    Field(
        "decoder.learned_queries",
        100,
        "mask2former: number of queries with `decoder.queries=learned`.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "decoder.width",
        256,
        "Channels of the decoder and of mask embeddings. mask2former: divisible by 32 and by "
        "`decoder.heads`.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "decoder.layers",
        9,
        "mask2former: layers of the transformer decoder.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "decoder.pixel_layers",
        6,
        "mask2former: layers of the pixel decoder.",
        check=POSITIVE,
        fixed=True,
    ),
    Field("decoder.heads", 8, "mask2former: attention heads.", check=POSITIVE, fixed=True),
    Field(
        "decoder.feedforward",
        2048,
        "mask2former: hidden channels of an MLP of the transformer decoder.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "decoder.pixel_feedforward",
        1024,
        "mask2former: hidden channels of an MLP of the pixel decoder.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "decoder.upscale",
        4,
        "registers: how many times finer than the patches the masks are: 1, 2, 4 or 8. Decoders in "
        "JAX only.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "decoder.supervised",
        4,
        "registers: after how many of the last blocks masks are predicted and trained (deep "
        "supervision); 1 for the last block alone. Decoders in JAX only.",
        check=POSITIVE,
    ),
)

LOSS = (
    Field(
        "loss.class_weight",
        2.0,
        "Weight of the cross-entropy of classes, in the loss and in the matching of queries to "
        "objects.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "loss.mask_weight",
        5.0,
        "Weight of the binary cross-entropy of masks, likewise.",
        check=NOT_NEGATIVE,
    ),
    Field("loss.dice_weight", 5.0, "Weight of the dice loss, likewise.", check=NOT_NEGATIVE),
    Field(
        "loss.no_object",
        0.1,
        "Weight of queries without an object in the cross-entropy of classes.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "loss.points",
        12_544,
        "Points of a mask at which its losses are computed.",
        check=POSITIVE,
    ),
    Field(
        "loss.oversample",
        3.0,
        "How many times as many points are drawn at random before the most uncertain are chosen.",
        check=AT_LEAST_ONE,
    ),
    Field(
        "loss.importance",
        0.75,
        "Share of the points that are chosen by uncertainty; the others are random.",
        check=SHARE,
    ),
)
