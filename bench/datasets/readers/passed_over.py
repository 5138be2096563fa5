"""What lies among the samples, looks like an image and is not read: it is counted, so that nobody misses it."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# fmt: off
_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".jfi", ".pjpeg", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".jp2", ".j2k", ".jpx", ".jxl", ".avif", ".avifs",
    ".heic", ".heif", ".ico", ".pcx", ".psd", ".sgi", ".exr", ".hdr", ".dng", ".cr2", ".nef", ".arw", ".raw", ".svg",
))
# fmt: on
"""Of what people call an image, whether it can be read or not."""
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Files of a split that look like images and are not its samples."""

    names: tuple[str, ...]
    read: str
    """What is read, in words that complete `samples are …`."""


def visible(paths: Iterable[Path]) -> list[Path]:
    """Paths in order, without the hidden, such as the `._x` that macOS leaves beside every file."""
    return sorted(path for path in paths if not path.name.startswith("."))


def has_image_name(name: str) -> bool:
    """Whether a file is an image by its name.

    >>> has_image_name("a.v2.JFIF"), has_image_name("a.txt"), has_image_name("._a.png")
    (True, False, False)
    """
    path = PurePosixPath(name)
    return not path.name.startswith(".") and path.suffix.lower() in _SUFFIXES


def looks_like_image(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry of a folder is an image by its name, or by its content where its name has no ending."""
    if "." in entry.name or not entry.is_file():
        return has_image_name(entry.name)
    try:
        with open(entry.path, "rb") as file:
            return file.read(8).startswith(_BEGINNINGS)
    except OSError:
        return False


def images_below(folder: Path, root: Path) -> Iterator[str]:
    """Paths, from `root`, of what looks like an image in a folder and those within, hidden ones left out."""
    for inner, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.relpath(os.path.join(inner, name), root) for name in files if has_image_name(name))
