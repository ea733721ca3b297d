"""Which kinds of data sets have ids that mean the same part everywhere, and a known background."""

from rats_jax.procedural_parts import BACKGROUND

#: Kind of data set -> the id of the background, for kinds where it is always the same.
BACKGROUNDS = {"procedural_parts": BACKGROUND, "partimagenet": 40}

#: Kinds of data sets whose ids mean the same part in every image.
KINDS = ("folder", "ade20k", "imagenet-s", "partimagenet", "procedural_parts")
