"""Draws what a backbone sees in images, for python -m rats_jax.visualize."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.data.reading import LeftOut
from rats_jax.errors import BrokenImage, UserError
from rats_jax.gallery.entry_pages import EntryPages
from rats_jax.gallery.html import Pages
from rats_jax.gallery.image_files import ImageFiles
from rats_jax.gallery.looking import first_look, fitted_images, looking
from rats_jax.gallery.pca import principal_components
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.paths import printable
from rats_jax.progress import Progress
from rats_jax.results_folder import file_names
from rats_jax.voice import say

LISTED = 50  # up to this number of images the log names each; with more it shows only progress


class Drawn(NamedTuple):
    """images: how many are drawn, of `total`. left_out: a line for each image that cannot be read.
    ended: the exception that ended drawing early, to be raised when the folder is in its place;
    else None."""

    images: int
    total: int
    left_out: list[str]
    ended: BaseException | None

    def __str__(self) -> str:
        """A text for people if not all images are drawn; else empty."""
        if not (self.ended or self.left_out):
            return ""
        text = f"{self.images:,} of {self.total:,} images are drawn"
        text += f"; {len(self.left_out):,} cannot be read" if self.left_out else ""
        return text + ("; drawing ended early" if self.ended else "")


def draw(
    backbone: Backbone,
    images: Sequence[tuple[str, Path]],
    folder: Path,
    *,
    top_k: int,
    resolution: int,
    skip_broken: bool = False,
    dictionary: Dictionary | None = None,
) -> Drawn:
    """Writes into a folder, for each (name, file) of an image:

    - regions/NAME.png: the image, its K regions, the principal components of its patches;
    - labels/NAME.png: the regions as ids, at the image's original size (a palette colours them);
    - maps/NAME.png: the K best registers, or all heads of a ViT: where each is strong;
    - attention/NAME.png: the attention of each head to the patches;

    and index.html with all images, or several such pages; and left_out.txt if images were left out.
    With a dictionary also:

    - named/NAME.png: the image, and a heat map of each part, or entry, that is found in it;
    - entries.html, and entries/ENTRY.html for each entry that is found: its best images.

    If drawing ends early, but after the first image (a broken image, Ctrl-C, a full disk, too
    little memory), the pages are still written, with the images that are drawn.

    top_k: K, from `number_of_maps`. resolution: see `images.resized`. skip_broken: leave out files
    that cannot be read.

    Raises:
      UserError: a file is not an image. Any other error before the first image is drawn is raised
        too.
    """
    left_out = LeftOut(skip_broken=skip_broken)
    look = looking(backbone, resolution=resolution, dictionary=dictionary)
    count = fitted_images(resolution=resolution, patch=backbone.options.patch)
    seen = first_look(look, images, left_out, count=count)
    components = principal_components(
        [np.asarray(one.features.patches[0]) for one in seen.values()]
    )
    sets = next(iter(seen.values())).sets
    about = {"origin": backbone.origin, "sets": sets, "top_k": top_k, "pca": str(components)}
    pages = Pages(folder, dictionary=dictionary, **about)
    entries = EntryPages(folder, dictionary) if dictionary else None
    files = ImageFiles(folder, top_k, backbone.options, components, dictionary)
    stems, progress = file_names([name for name, _ in images]), Progress("drawn", len(images))
    drawn, ended, unfinished = 0, None, None
    try:
        for i, (name, path) in enumerate(images):
            name = printable(name)
            try:
                one = seen.pop(i) if i in seen else look(path)
            except BrokenImage as error:
                left_out.add(error)
            else:
                if len(images) <= LISTED:
                    height, width = one.grid
                    say(f"image {i + 1} of {len(images)}: {name}, {height} x {width} patches")
                unfinished = stems[i]
                page = pages.add(files.write(one, name, unfinished))
                if entries:
                    entries.add(one, name, page)
                drawn, unfinished = drawn + 1, None
            progress.add(1)
    except BaseException as error:
        if not drawn:
            raise
        ended = error
        if isinstance(error, OSError):  # from writing, since reading raises BrokenImage
            reason = error.strerror or error
            ended = UserError(
                f"the pictures cannot be written ({reason}): free some space, or choose another "
                "--output"
            )
        if unfinished:
            files.remove(unfinished)
    found = Drawn(drawn, len(images), left_out.lines, ended)
    _close(pages, entries, folder, found)
    return found


def _close(pages: Pages, entries: EntryPages | None, folder: Path, drawn: Drawn) -> None:
    """Completes the folder. Ignores a second Ctrl-C meanwhile, which would lose all pictures."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pages.close(str(drawn))
        if entries:
            entries.close()
        if drawn.left_out:
            text = "".join(f"{line}\n" for line in drawn.left_out)
            (folder / "left_out.txt").write_text(text)
    except OSError as error:
        if not drawn.ended:
            raise
        say(f"a page could not be written ({error.strerror or error}): the PNG files are complete")
    finally:
        signal.signal(signal.SIGINT, before)
