"""State dicts in the layouts of others, with tensors of any values."""

import re

import numpy as np

from rats_jax.weights.layout_tables import BIAS_MASK, LAYOUTS, PERIODS
from rats_jax.weights.layouts import Recognised, recognise
from rats_jax.weights.renaming import Tensors
from rats_jax.weights.sets import choose

WIDTH, DEPTH, HIDDEN, PATCH, GRID = 128, 3, 256, 4, 5
BY_TITLE = {layout.title: layout for layout in LAYOUTS}


def shape_of(ours: str, *, parts: int) -> tuple[int, ...]:
    """What a tensor is in its file when ours is made of `parts` like it."""
    shapes = {
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "pos_embed": (1, 1 + GRID**2, WIDTH),
        "cls_token": (1, 1, WIDTH),
        "registers": (1, 2, WIDTH),
        PERIODS: (16,),
        "attn.qkv.weight": (3 * WIDTH // parts, WIDTH),
        "attn.qkv.bias": (3 * WIDTH // parts,),
        "attn.qkv.bias_mask": (3 * WIDTH,),
        "attn.proj.weight": (WIDTH, WIDTH),
        "mlp.fc1.weight": (HIDDEN, WIDTH),
        "mlp.fc1.bias": (HIDDEN,),
        "mlp.fc2.weight": (WIDTH, HIDDEN),
        "mlp.w12.weight": (2 * HIDDEN // parts, WIDTH),
        "mlp.w12.bias": (2 * HIDDEN // parts,),
        "mlp.w3.weight": (WIDTH, HIDDEN),
    }
    return shapes.get(ours.removeprefix("blocks.{i}."), (WIDTH,))


def state_dict(title: str, *, gated: bool = False, prefix: str = "") -> dict[str, np.ndarray]:
    """All that the layout has a name for, with one kind of MLP; and a mask token in Meta's own."""
    rng, state = np.random.default_rng(0), {}
    for ours, theirs in BY_TITLE[title].names.items():
        if re.search(r"mlp\.fc" if gated else r"mlp\.w", ours):
            continue
        for i in range(DEPTH) if "{i}" in ours else (0,):
            for name in theirs:
                shape = shape_of(ours, parts=len(theirs))
                array = rng.uniform(1, 2, shape).astype(np.float32)
                array = array.round() - 1 if ours == BIAS_MASK else array
                state[prefix + name.format(i=i)] = array
    if title.startswith("DINOv"):
        state[prefix + "mask_token"] = np.zeros((1, WIDTH), np.float32)
    return state


def recognised(state: dict, settings: dict | None, *, source: str, weights="teacher") -> Recognised:
    """The backbone in a file with these tensors."""
    chosen = choose(state, weights, source=source)
    arrays = {name: state[key] for name, key in chosen.keys.items()}
    tensors = Tensors(source, chosen.prefix, arrays, chosen.keys, chosen.left_out)
    return recognise(tensors, settings)
