"""Small pictures of single images, as data URIs, as far as the data are here and room is left for them."""

import base64
import io
from collections.abc import Iterator

from PIL import Image

from bench.datasets import Library, OpenedSplit, datasets
from bench.datasets.crops import picture_of
from bench.errors import BenchError
from bench.records import Array, ImageSet
from bench.text import size

_SIDE = 96
"""Of what is larger, the long side, pixels."""
_LOSSLESS = 64
"""Long side up to which a picture is kept as PNG, which is then no larger than a JPEG; pixels."""


class Thumbnails:
    """Pictures by data set and id, each once.

    Args:
        library: where the data are.
        limit: bytes of data URIs in total.
    """

    def __init__(self, library: Library, limit: int) -> None:
        self._library, self._left, self._limit = library, limit, limit
        self._indices: dict[ImageSet, dict[str, int]] = {}
        self.pictures: dict[str, str] = {}
        """Key to data URI."""
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> Iterator[str]:
        """Why some pictures are missing."""
        return iter(self._notes)

    def key(self, images: ImageSet, sample: str, fingerprint: str) -> str:
        """The key of a picture in `pictures`; empty where it is not to be had.

        Args:
            images: the set, whose computed corruptions are not made again here.
            sample: the image's id.
            fingerprint: of the split that was measured: what lies here now must be that.
        """
        opened = self._open(images, fingerprint)
        if opened is None:
            return ""
        key = f"{images.dataset}/{images.split}/{sample}"
        if key not in self.pictures:
            index = self._indices[images].get(sample)
            try:
                uri = "" if index is None else _data_uri(picture_of(opened.samples, index))
            except BenchError:
                self._notes[f"{images.dataset} has pictures that cannot be read: of these, ids alone are shown."] = None
                return ""
            if not uri or len(uri) > self._left:
                self._notes[f"{size(self._limit)} of pictures are shown; of the other images, ids alone."] = None
                return ""
            self.pictures[key] = uri
            self._left -= len(uri)
        return key

    def _open(self, images: ImageSet, fingerprint: str) -> OpenedSplit | None:
        """The split, where it is here and has the contents that were measured."""
        name = images.dataset
        if name not in datasets:
            self._notes[f"{name} is not registered here: of its images, ids alone are shown."] = None
            return None
        try:
            opened = self._library.open(name, images.split)
        except BenchError:
            self._notes[f"{name} is not here (--data {name}=PATH): of its images, ids alone are shown."] = None
            return None
        if opened.fingerprint != fingerprint:
            self._notes[f"{name} has other contents here than were measured: of its images, ids alone are shown."] = (
                None
            )
            return None
        if images not in self._indices:
            self._indices[images] = {str(sample): index for index, sample in enumerate(opened.samples.ids)}
        return opened


def _data_uri(picture_HWC: Array) -> str:
    """PNG or JPEG, at most `_SIDE` pixels long."""
    image = Image.fromarray(picture_HWC)
    kind, saved = ("png", io.BytesIO()) if max(image.size) <= _LOSSLESS else ("jpeg", io.BytesIO())
    image.thumbnail((_SIDE, _SIDE))
    image.save(saved, format=kind, **({"optimize": True} if kind == "png" else {"quality": 80}))
    return f"data:image/{kind};base64,{base64.b64encode(saved.getvalue()).decode()}"
