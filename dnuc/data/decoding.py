"""From the bytes of a JPEG or PNG file to pixels: the same for every source, so the same bits from all of them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from dnuc.errors import DataError
from dnuc.traffic import count_traffic

SUFFIXES = (".jpeg", ".jpg", ".png")  # in any case
FORMATS = ("JPEG", "PNG")  # Pillow's names: it decides by content, and for other formats may start other programs
# What Pillow and its decoders raise for files that are truncated, damaged, no images, or too large to be one.
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


def decode(file: Path | BinaryIO, sample_id: str, where: str) -> np.ndarray:
    """One image as stored (no rotation by EXIF), converted to RGB: (height, width, 3) uint8.

    Pillow decodes without Python's global lock, so several threads decode at once.

    Parameters
    ----------
    file : what to read; sample_id, where : of the image, for the message.

    Raises
    ------
    DataError
        If the file is missing, damaged, no JPEG or PNG, or has more than 8 bits a channel (which a conversion would
        clip, silently).
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(f"more than 8 bits a channel (Pillow's mode {picture.mode})")
            pixels = np.array(picture.convert("RGB"))
            count_traffic(read=file.stat().st_size if isinstance(file, Path) else file.seek(0, io.SEEK_END))
            return pixels
    except UNREADABLE as error:
        raise DataError(
            f"image {sample_id!r} ({where}) cannot be read: {error}; replace or remove the file, or let the job "
            "skip it: data.max_unreadable is the number of images that may be skipped"
        ) from error


def is_image(name: str) -> bool:
    """Whether a file is listed as an image, by its name."""
    # macOS writes a hidden ._x.JPEG beside x.JPEG on foreign disks; it is no image.
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)
