"""What a folder of images holds, on a disk or in a tar file."""

from dataclasses import dataclass, field
from typing import TypeAlias

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".gif")
"""Of image files; other files in a class folder are passed over, and counted if they look like images."""
Found: TypeAlias = tuple[int, int]
"""Size and stamp of a file, as they were when its split was opened."""


@dataclass(slots=True)
class Listing:
    """What a folder holds. Hidden files and folders are none of it."""

    folders: list[str] = field(default_factory=list)
    pictures: list[tuple[str, Found]] = field(default_factory=list)
    """Each image file by name."""
    others: list[str] = field(default_factory=list)
    """What looks like an image, and is read from a class's folder only or not at all."""
    broken: list[str] = field(default_factory=list)
    """Links to nothing."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data: macOS and file systems leave such."""
    return name.startswith(".") or name in ("__MACOSX", "lost+found")
