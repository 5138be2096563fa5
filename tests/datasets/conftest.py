"""Small pictures, and writers of the forms that data comes in; the writers use none of the package's code."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench.records import ClassSpace


@pytest.fixture
def birds() -> ClassSpace:
    return ClassSpace(name="birds", classes=("crow", "robin", "wren"))


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    """Nine PNG files, each another picture."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(9):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).save(file, "png")
        files.append(file.getvalue())
    return files


@pytest.fixture
def write_parquet() -> Callable[..., Path]:
    """A function that writes a file as the hub has it: `image` a struct of bytes and path, `label` a ClassLabel."""

    def _write(
        path: Path,
        images: Sequence[bytes | None],
        labels: Sequence[Any] | None,
        names: Sequence[str] | None = None,
        *,
        rows_a_group: int = 2,
        columns: tuple[str, str] = ("image", "label"),
        plain: bool = False,
    ) -> Path:
        image, label = columns
        cells = images if plain else [{"bytes": data, "path": None} for data in images]
        kind = pa.binary() if plain else pa.struct({"bytes": pa.binary(), "path": pa.string()})
        table = {image: pa.array(cells, kind)}
        if labels is not None:
            table[label] = pa.array(labels)
        metadata = {}
        if names is not None:
            features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": list(names)}}
            metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table).replace_schema_metadata(metadata), path, row_group_size=rows_a_group)
        return path

    return _write


@pytest.fixture
def write_tar() -> Callable[..., Path]:
    """A function that writes a tar file of the members given."""

    def _write(path: Path, members: Mapping[str, bytes]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as tar:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return path

    return _write


@pytest.fixture
def write_bird_shards(images: list[bytes], write_tar: Callable[..., Path]) -> Callable[[Path], Path]:
    """A function that writes `birds-000.tar` to `birds-002.tar`, three samples each, into a folder."""

    def _write(folder: Path) -> Path:
        for shard in range(3):
            members = {}
            for number in range(3 * shard, 3 * shard + 3):
                members[f"{number:04d}.png"] = images[number]
                members[f"{number:04d}.cls"] = f"{number % 3}\n".encode()
            write_tar(folder / f"birds-{shard:03d}.tar", members)
        return folder

    return _write


@pytest.fixture
def bird_folders(tmp_path: Path, birds: ClassSpace, images: list[bytes]) -> Path:
    """`birds/`, a folder a class with three pictures each."""
    for number, data in enumerate(images):
        folder = tmp_path / "birds" / birds.classes[number // 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(data)
    return tmp_path / "birds"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets that $RTBENCH_TEST_DATA names."""
    place = os.environ.get("RTBENCH_TEST_DATA")
    if not place:
        pytest.skip("RTBENCH_TEST_DATA names no folder of real data")
    return Path(place)
