"""Reports of a run: the metrics between two reports, and the line for the log."""

from rats_jax.runs.reporting import Interval, duration


class SegmentationInterval(Interval):
    """As for pretraining; the line has the losses of segmentation."""

    def line(self, step: int, scalars: dict[str, float]) -> str:
        parts = [
            f"step {step}/{self._steps}",
            f"epoch {scalars['epoch']:.2f}",
            f"loss {scalars['loss']:.4f}",
            f"class {scalars['class_loss']:.3f}",
            f"mask {scalars['mask_loss']:.3f}",
            f"dice {scalars['dice_loss']:.3f}",
            f"gradient {scalars['gradient_norm']:.2g}",
            f"lr {scalars['learning_rate']:.2e}",
        ]
        if "images_per_second" in scalars:
            parts += [
                f"{scalars['images_per_second']:.1f} images/s",
                f"input wait {scalars['input_wait']:.0%}",
                f"left {duration(scalars['seconds_left'])}",
            ]
        return "  ".join(parts)
