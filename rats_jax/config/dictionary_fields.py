"""Fields of a dictionary of parts that is learned during training."""

from rats_jax.config.checks import NOT_NEGATIVE, POSITIVE
from rats_jax.config.field import Field

DICTIONARY = (
    Field(
        "dictionary.entries",
        0,
        "Entries of the dictionary that is learned with the backbone, from the registers of the "
        "student's global crops (section 4.4 of the paper; chosen: 4,096, or 32,768 for its large "
        "vocabulary). 0 for no dictionary.",
        check=NOT_NEGATIVE,
        fixed=True,
        old_runs=0,
    ),
    Field(
        "dictionary.weight",
        0.1,
        "Weight of the squared distance between a register, scaled to length 1, and its nearest "
        "entry, in the loss. Adam moves entries as far for a small weight as for a large one; a "
        "small one changes the backbone less.",
        check=NOT_NEGATIVE,
        old_runs=0.1,
    ),
    Field(
        "dictionary.beta",
        0.25,
        "Weight of the same distance for the registers, relative to that for the entries: how much "
        "registers are moved to their entries.",
        check=NOT_NEGATIVE,
        old_runs=0.25,
    ),
    Field(
        "dictionary.diversity",
        0.01,
        "Weight of the entropy of the mean assignment of a batch, which is subtracted from the "
        "loss: entries that no register is near to are moved to registers. If it is not 0, and "
        "`optimizer.accumulation` is more than 1, a step computes the student's global crops once "
        "more, since the mean is over the whole batch.",
        check=NOT_NEGATIVE,
        old_runs=0.01,
    ),
    Field(
        "dictionary.temperature",
        0.05,
        "Temperature of the softmax over squared distances in this mean assignment. If it is far "
        "above the squared distances between registers, the mean is even though few entries are "
        "used; if it is far below, unused entries have no gradient. 0.05 had the lowest "
        "quantization error on registers of drawings, untrained and trained.",
        check=POSITIVE,
        old_runs=0.05,
    ),
)
