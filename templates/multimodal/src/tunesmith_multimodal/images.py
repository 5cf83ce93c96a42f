"""Image files: found, checked, measured and opened, in the size that a model gets to see."""

from __future__ import annotations

import io
from math import sqrt
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from tunesmith.contracts import BadMedia
from tunesmith.data.conversation import Media

#: The EXIF tag that says how a camera was held, and its values for pictures that lie on their side.
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)


def place_of(path: str, root: Path | None) -> Path:
    """The file that a row names.

    :param root: what it must lie in once all links are followed; ``None`` where whoever asks has seen to that.
    :raises BadMedia: it is not there, or lies elsewhere.
    """
    if "://" in path or path.startswith("data:"):
        raise BadMedia(f"the image {path[:60]!r} is an address; rows name files", "images")
    try:
        found = ((root / path) if root else Path(path)).resolve()
        inside, there = root is None or found.is_relative_to(root.resolve()), found.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise BadMedia(f"the image {path!r} cannot be looked at: {error}", "images") from error
    if not inside:
        raise BadMedia(f"the image {path} lies outside {root}", "images")
    if not there:
        raise BadMedia(f"there is no image {found}", "images")
    return found


def measure(media: Media) -> tuple[int, int]:
    """Width and height of an image as it is seen, from its header. It is decoded once, coarsely where its format allows that:
    an image that turns out to be damaged hours later ends a run.

    :raises BadMedia: it is no image, is damaged, or is too large to be opened safely.
    """
    try:
        with _open(media) as image:
            width, height = image.size
            if width * height > (Image.MAX_IMAGE_PIXELS or 0):
                raise Image.DecompressionBombError(f"{width} × {height} pixels are more than {Image.MAX_IMAGE_PIXELS:,}")
            sideways = image.getexif().get(ORIENTATION) in SIDEWAYS
            image.draft("RGB", (1, 1))
            image.load()
    except UnidentifiedImageError as error:
        raise BadMedia(f"{media.path} is no image of a kind that is known here", "images") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise BadMedia(f"the image {media.path} cannot be read: {error}", "images") from error
    return (height, width) if sideways else (width, height)


def open_image(media: Media, least: int, most: int) -> Image.Image:
    """An image upright, in RGB, with between ``least`` and ``most`` pixels.

    :raises BadMedia: it cannot be read.
    """
    try:
        with _open(media) as file:
            image = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise BadMedia(f"the image {media.path} cannot be read: {error}", "images") from error
    size = bounded(*image.size, least, most)
    return image if size == image.size else image.resize(size)


def bounded(width: int, height: int, least: int, most: int) -> tuple[int, int]:
    """The size nearest to ``width`` and ``height`` in their ratio with between ``least`` and ``most`` pixels, about."""
    for limit, beyond in ((most, width * height > most), (least, width * height < least)):
        if beyond:
            factor = sqrt(limit / (width * height))
            width, height = max(1, int(width * factor)), max(1, int(height * factor))
    return width, height


def _open(media: Media) -> Image.Image:
    return Image.open(io.BytesIO(media.data) if media.data else media.path)
