"""Make the part of cue-conflict that ships: ``python -m bench.datasets.embedded.make_cue_conflict FOLDER --out DIR``.

FOLDER holds pictures of the set, one folder a category. Those whose shape and texture differ are saved as WebP, and
packed. Same pictures, Pillow and libwebp: same bytes.
"""

import argparse
import io
import tarfile
from pathlib import Path

from PIL import Image

from bench.datasets.cue_conflict import texture_of
from bench.datasets.groups import SIXTEEN
from bench.images.decode import decode

QUALITY = 75


def pack(folder: Path, out: Path) -> int:
    """Write the tar file; the number of pictures in it."""
    count = 0
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
        for place, category in enumerate(SIXTEEN.space.classes):
            for path in sorted((folder / category).glob("*.png")):
                if texture_of(path.name) in (place, None):
                    continue
                file = io.BytesIO()
                Image.fromarray(decode(path.read_bytes(), path.name)).save(file, "WEBP", quality=QUALITY, method=6)
                member = tarfile.TarInfo(f"{category}/{path.stem}.webp")
                member.size = len(file.getvalue())
                file.seek(0)
                tar.addfile(member, file)
                count += 1
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    print(pack(arguments.folder, arguments.out / "cue-conflict-demo.tar"))
