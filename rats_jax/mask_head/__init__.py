"""Segmentation in JAX: registers as the queries of mask classification, and a linear baseline.

Further shape letters, in addition to those of `models`:

    Q  queries, one per register     M  masks (targets) of an image, with padding
    C  classes                       P  points of an image
    S  side of a training image      E  width of mask embeddings and pixel features
"""
