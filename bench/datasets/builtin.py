"""The data sets that the project registers."""

from pathlib import Path

# These two register their sets.
import bench.datasets.cifar
import bench.datasets.imagenet  # noqa: F401
from bench.datasets import Dataset, Samples, datasets
from bench.datasets.arrays import ArraySamples
from bench.datasets.spaces import DIGITS
from bench.errors import BenchError

_EMBEDDED = Path(__file__).parent / "embedded"
_UCI = "CC BY 4.0, UCI Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998)"


def _embedded(name: str, about: str, licence: str, split: str = "test") -> None:
    def open_split(_: str, place: Path | None) -> Samples:
        if place is not None:
            raise BenchError(f"data set {name!r} ships with rtbench; remove its place {place} from bench.toml.")
        return ArraySamples(_EMBEDDED / f"{name}.npz")

    datasets.register(
        Dataset(name=name, class_space=DIGITS, open=open_split, splits=(split,), about=about, licence=licence),
        origin=__name__,
    )


_embedded("digits", "500 handwritten digits at 32×32, by other positions than the training set.", _UCI)
_embedded("digits-v2", "700 more handwritten digits, the rest of the collection.", _UCI)
_embedded("digits-r", "1,000 digits drawn in many fonts and looks, as ImageNet-R is to ImageNet.", "CC BY 4.0")
_embedded("digits-train", "597 handwritten digits, what the digits checkpoints learn from.", _UCI, "train")
