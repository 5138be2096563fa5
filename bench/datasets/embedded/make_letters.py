"""Make the drawn letters of 'digits-transfer': ``python -m bench.datasets.embedded.make_letters --out DIR``.

Upper-case A to Z, drawn as `digits-r` is (see `make_digits`) but in other fonts, in ten of its twenty looks, and in
grey. No face, and no other face of its family, is in both splits. The fonts come from Debian 12 packages, named below.
Same versions of these, Pillow, NumPy and zlib: same bytes.

Shape legend: N images, K classes, M images a class, H height, W width, C colour channels.
"""

from __future__ import annotations

from pathlib import Path
from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.datasets.embedded import make_digits as digits

SEED = 20240608
STEP = 17  # pixel values are multiples of this: 16 levels
LOOKS = ("plain", "tinted", "tilted", "bold", "outline", "inverted", "paper", "texture", "gradient", "shadow")
TRAIN_FONTS = """
fonts-agave             truetype/agave            agave-r-autohinted.ttf
fonts-arapey            opentype/arapey           Arapey-Regular.otf Arapey-Black.otf
fonts-averia-sans-gwf   truetype/averia-gwf       AveriaSansGWF-Bold.ttf
fonts-cardo             truetype/cardo            Cardo104s.ttf
fonts-clear-sans        truetype/clear-sans       ClearSans-Regular.ttf ClearSans-Bold.ttf
fonts-comic-neue        opentype/comic-neue       ComicNeue-Bold.otf
fonts-dosis             opentype/dosis            Dosis-Medium.otf Dosis-ExtraBold.otf
fonts-ebgaramond        opentype/ebgaramond       EBGaramond12-Bold.otf
fonts-essays1743        truetype/essays1743       Essays1743.ttf
fonts-fantasque-sans    opentype/fantasque-sans/LargeLineHeight/OTF FantasqueSansMono-Bold.otf
fonts-firacode          truetype/firacode         FiraCode-Regular.ttf
fonts-goudybookletter   opentype/sortsmill        GoudyBookletter1911.otf
fonts-inter             opentype/inter            Inter-Regular.otf Inter-Black.otf
fonts-junction          opentype/junction         Junction.otf
fonts-klee              truetype/klee             KleeOne-SemiBold.ttf
fonts-league-mono       opentype/league-mono      LeagueMono-Bold.otf
fonts-lindenhill        truetype/lindenhill       LindenHill-Italic.otf
fonts-national-park     opentype/national-park    NationalPark-Regular.otf NationalPark-Heavy.otf
fonts-oldstandard       truetype/fonts-oldstandard OldStandard-Bold.ttf
fonts-prociono          opentype/fonts-prociono   Prociono.otf
fonts-rocknroll         truetype/rocknroll        RocknRollOne-Regular.ttf
fonts-sil-andika        truetype/andika           Andika-Regular.ttf
fonts-tuffy             truetype/tuffy            Tuffy_Bold.ttf
fonts-vollkorn          truetype/vollkorn         Vollkorn-BlackItalic.ttf Vollkorn-Regular.ttf
"""  # Debian package, folder under /usr/share/fonts, face files: 30 of them
TEST_FONTS = """
fonts-b612              opentype/b612             B612-Bold.otf
fonts-cantarell         opentype/cantarell        Cantarell-ExtraBold.otf Cantarell-Regular.otf
fonts-crosextra-caladea truetype/crosextra        Caladea-BoldItalic.ttf
fonts-fanwood           truetype/fanwood          Fanwood.otf
fonts-go                fonts-go                  Go-Bold.ttf Go-Mono.ttf
fonts-inconsolata       truetype/inconsolata      Inconsolata.otf
fonts-jetbrains-mono    truetype/jetbrains-mono   JetBrainsMono-ExtraBold.ttf
fonts-jura              opentype/jura             Jura-Medium.otf
fonts-karla             truetype/karla            Karla-Bold.otf
fonts-le-murmure        opentype/le-murmure       le-murmure.otf
fonts-manrope           truetype/manrope          Manrope-Regular.ttf
fonts-mononoki          truetype/mononoki         mononoki-Bold.ttf
fonts-open-sans         truetype/open-sans        OpenSans-CondBold.ttf OpenSans-Italic.ttf
fonts-oxygen            truetype/oxygen           Oxygen-Sans.ttf
fonts-routed-gothic     truetype/routed-gothic    routed-gothic-wide.ttf
fonts-sil-gentium-basic truetype/gentium-basic    GenBasBI.ttf
fonts-sora              opentype/sora             Sora-SemiBold.otf
"""  # as above: 20 of them
FACE_USES = 2  # of each face in each class: 60 training and 40 test images a class


def letter(character: str, face: Path, package: str, look: str, rng: np.random.Generator) -> digits.Bytes:
    """Draw one image_HW."""
    ink = digits.place(digits.glyph(character, face, package), rng, tilt=30 if look == "tilted" else 8)
    large_HWC = np.rint(digits.LOOKS[look](ink, rng).clip(0, 1) * 255).astype(np.uint8)
    grey = Image.fromarray(large_HWC).convert("L").reduce(digits.LARGE // digits.SIDE)
    return digits.coarser(np.asarray(grey).astype(np.float64), STEP)


def letters(fonts: str, seed: list[int]) -> dict[str, NDArray[np.generic]]:
    """Draw one split: every class meets every look, and every face, equally often."""
    rng = np.random.default_rng(seed)
    packages = digits.packages(fonts)
    per_class = FACE_USES * len(packages)
    faces_KM = [rng.permutation(sorted(map(str, packages)) * FACE_USES) for _ in ascii_uppercase]
    looks_KM = [rng.permutation([*LOOKS] * (per_class // len(LOOKS))) for _ in ascii_uppercase]
    images, labels, ids = [], [], []
    for number in range(len(ascii_uppercase) * per_class):
        turn, label = divmod(number, len(ascii_uppercase))
        face, look = Path(faces_KM[label][turn]), str(looks_KM[label][turn])
        images.append(letter(ascii_uppercase[label], face, packages[face], look, rng))
        labels.append(label)
        ids.append(f"l-{ascii_uppercase[label]}-{face.stem}-{look}-{number:04d}")
    return {"images": np.stack(images), "labels": np.array(labels, np.uint8), "ids": np.array(ids)}


def main() -> None:
    """Write the two files and print their sizes and SHA-256 sums."""
    tables = {"letters-train": letters(TRAIN_FONTS, [SEED, 0]), "letters": letters(TEST_FONTS, [SEED, 1])}
    digits.write(tables, digits.out_folder("make the drawn letters of 'digits-transfer'"))


if __name__ == "__main__":
    main()
