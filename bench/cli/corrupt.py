"""`bench corrupt`: what corruptions do to pictures of one's own."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import corruption_options, names_of, new_command, plugin_option, severities_of
from bench.errors import BenchError
from bench.machine.files import writing

if TYPE_CHECKING:
    from PIL import Image


def add_corrupt(commands: Any) -> None:
    """Declare `bench corrupt`."""
    command = new_command(commands, "corrupt", _corrupt, "corrupt pictures of your own, and write them as PNG")
    command.add_argument(
        "image",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="a picture of 8 bits a channel, at least 32 pixels a side; kept are its size and what EXIF would turn, "
        "not its alpha",
    )
    corruption_options(command)
    command.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="gets NAME.CORRUPTION-SEVERITY.png of each"
    )
    command.add_argument(
        "--seed", type=int, metavar="N", help="of the random draws, which also go by the file's name (default: 0)"
    )
    command.add_argument(
        "--sheet",
        action="store_true",
        help="instead one NAME.sheet.png of each, a row a corruption and a column a severity; made of the picture's "
        "ImageNet crop (short side to 256, centre 224)",
    )
    plugin_option(command)


def _corrupt(arguments: argparse.Namespace) -> int:
    from bench import api
    from bench.tools.gallery import PictureError

    severities = severities_of(arguments.severity)
    seed = api.configure(seed=arguments.seed).settings.seed
    chosen = api.select_corruptions(names_of(arguments.corruption))
    check_stems(arguments.image)
    failed = False
    for path in arguments.image:
        try:
            for name, picture in _pictures(path, chosen, severities, seed, arguments.sheet):
                with writing(arguments.out / name) as whole:
                    picture.save(whole, format="PNG")
                print(arguments.out / name, flush=True)
        except PictureError as error:
            print(f"bench: {error}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


def _pictures(
    path: Path, chosen: Sequence[Any], severities: Sequence[int], seed: int, sheet: bool
) -> "Iterator[tuple[str, Image.Image]]":
    """File names, and what is to be written there."""
    from bench import api

    if sheet:
        yield f"{path.stem}.sheet.png", api.contact_sheet(path, chosen, severities, seed=seed)
        return
    for corruption, severity, picture in api.corrupt(path, chosen, severities, seed=seed):
        yield f"{path.stem}.{corruption.name}-{severity}.png", picture


def check_stems(paths: Sequence[Path]) -> None:
    """Two pictures must not be written to the same files."""
    for stem, count in Counter(path.stem for path in paths).items():
        if count > 1:
            same = " and ".join(str(path) for path in paths if path.stem == stem)
            raise BenchError(
                f"{same} would be written to the same files, {stem}.….png; rename one, or call once for each with an "
                "--out of its own."
            )
