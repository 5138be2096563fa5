"""`bench corrupt`: pictures of one's own, and the sheet that shows them side by side."""

import errno
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import api
from bench.cli import main
from bench.corruptions import Corruption, corrupt, corruptions
from bench.corruptions.builtin import GROUPS
from bench.images.crop import crop_image
from bench.tools.gallery import SHEET_CROP, in_groups

SIZE = (61, 43)  # width and height: odd, not square


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)
    picture().save("bird.png")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, list[str], list[str]]]:
    """A function that runs a command line in this process: status, lines of output, lines of complaint."""

    def _call(command: str) -> tuple[int, list[str], list[str]]:
        status = main(shlex.split(command))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out.splitlines(), captured.err.splitlines()

    return _call


def expected(image: Image.Image, name: str, severity: int, seed: int, sample_id: str) -> np.ndarray:
    images_NCHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    made_NCHW = corrupt(corruptions.get(name), images_NCHW, severity, seed=seed, ids=[sample_id])
    return made_NCHW[0].permute(1, 2, 0).numpy()


# -- pictures -------------------------------------------------------------------------------------------------


def test_a_picture_is_corrupted_at_its_own_size_and_drawn_for_by_its_file_name(call):
    command = "corrupt bird.png --corruption gaussian_noise,contrast --severity 3,1 --seed 7 --out made"
    status, out, err = call(command)
    assert (status, err) == (0, [])
    names = [f"{name}-{severity}" for name in ("gaussian_noise", "contrast") for severity in (1, 3)]
    assert out == [f"made/bird.{name}.png" for name in names]
    for path in map(Path, out):
        with Image.open(path) as made:
            assert (made.format, made.mode, made.size) == ("PNG", "RGB", SIZE)
            corruption, severity = path.name.split(".")[1].split("-")
            wanted = expected(picture(), corruption, int(severity), 7, "bird.png")
            np.testing.assert_array_equal(np.asarray(made), wanted)
    assert sorted(path.name for path in Path("made").iterdir()) == sorted(path.name for path in map(Path, out))


def test_without_names_every_corruption_and_severity_is_meant():
    assert [c.name for c in in_groups()] == [name for members in GROUPS.values() for name in members]


def test_options_may_be_repeated(call):
    _, out, _ = call("corrupt bird.png --corruption fog --corruption contrast --severity 1 --severity 2 --out .")
    assert out == [f"bird.{name}-{severity}.png" for name in ("fog", "contrast") for severity in (1, 2)]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_a_picture_of_another_kind_becomes_rgb(call, mode):
    path = Path("other.tif" if mode == "CMYK" else "other.png")
    picture().convert(mode).save(path)
    status, [out], _ = call(f"corrupt {path} --corruption contrast --severity 1 --out made")
    with Image.open(path) as stored, Image.open(out) as made:
        wanted = expected(stored.convert("RGB"), "contrast", 1, 0, path.name)
        np.testing.assert_array_equal(np.asarray(made), wanted)
    assert status == 0


# -- the sheet ------------------------------------------------------------------------------------------------


def test_a_sheet_shows_the_imagenet_crop_clean_and_under_each_severity(call):
    status, out, _ = call("corrupt bird.png --sheet --corruption fog,contrast,brightness --severity 2,5 --out made")
    assert (status, out) == (0, ["made/bird.sheet.png"])
    crop_HWC = Image.fromarray(crop_image(np.array(picture()), SHEET_CROP))
    with Image.open(out[0]) as sheet:
        whole = np.asarray(sheet)
    for name in ("fog", "contrast", "brightness"):
        for severity in (0, 2, 5):
            cell = Image.fromarray(expected(crop_HWC, name, severity, 0, "bird.png")) if severity else crop_HWC
            small = np.asarray(cell.resize((160, 160), Image.Resampling.BICUBIC))
            found = np.lib.stride_tricks.sliding_window_view(whole[..., 0], (1, 160))[:, :, 0]
            assert (found == small[80, :, 0]).all(-1).any(), f"{name} {severity} is not on the sheet"


def test_groups_stand_together_in_the_papers_order_and_strangers_last(scratch_registries):
    corruptions.register(Corruption(name="a-dusk", version=1, load=lambda: lambda images, severity, draws: images))
    chosen = in_groups(["a-dusk", "spatter", "snow", "fog", "contrast", "shot_noise"])
    assert [c.name for c in chosen] == ["shot_noise", "snow", "fog", "contrast", "spatter", "a-dusk"]
    sheet = api.contact_sheet(Path("bird.png"), chosen[-1:], [1])
    assert min(sheet.size) > 160


def test_a_group_stands_for_its_corruptions():
    assert [c.name for c in api.select_corruptions(["weather", "fog"])] == ["snow", "frost", "fog", "brightness"]


# -- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("bird.png --corruption fgo", "no corruption 'fgo'. Did you mean 'fog'"),
        ("bird.png --corruption fog,", "no corruption ''"),
        ("bird.png --severity 6", "--severity wants 1 to 5, or several as in 1,3,5, not '6'"),
        ("bird.png --severity 1,x", "not 'x'"),
        ("bird.png --seed -1", "seed must be at least 0, not -1"),
        ("bird.png sub/bird.jpg", "bird.png and sub/bird.jpg would be written to the same files, bird.….png"),
        ("bird.png --out bird.png/made", "cannot be written: Not a directory; name another place"),
        ("bird.png --out bird.png", "bird.png is not a folder; name another place"),
    ],
)
def test_a_call_that_must_change_is_one_sentence_and_writes_nothing(call, tmp_path, options, says):
    status, out, [sentence] = call(f"corrupt --corruption fog --severity 1 --out made {options}")
    assert (status, out) == (2, [])
    assert sentence.startswith("bench: ")
    assert says in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["bird.png"]


def test_bad_pictures_are_named_and_stop_no_others(call):
    Path("notes.txt").write_text("not a picture")
    Path("empty.png").touch()
    Path("folder.png").mkdir()
    Image.fromarray(np.full((40, 40), 999, np.uint16)).save("deep.png")
    picture(size=(60, 31)).save("small.png")
    Path("cut.png").write_bytes(Path("bird.png").read_bytes()[:-60])
    bad = {
        "notes.txt": "does not decode as an image",
        "empty.png": "is empty",
        "gone.png": "can't be read: No such file or directory",
        "folder.png": "is a folder; name picture files, such as folder.png/*.jpg",
        "deep.png": "has more than 8 bits a channel (I;16), and nobody knows which level is white; save it with 8",
        "small.png": "is 60×31 pixels, and corruptions need at least 32×32",
        "cut.png": "does not decode as an image",
    }
    for sheet in ("", "--sheet"):
        status, out, err = call(
            f"corrupt {' '.join(bad)} bird.png --corruption contrast --severity 1 --out made {sheet}"
        )
        assert status == 1
        # The sheet's crop enlarges the small one.
        assert out == (["made/small.sheet.png", "made/bird.sheet.png"] if sheet else ["made/bird.contrast-1.png"])
        wrong = {name: says for name, says in bad.items() if not (sheet and name == "small.png")}
        for line, (name, says) in zip(err, wrong.items(), strict=True):
            assert line.startswith(f"bench: {name} ")
            assert says in line


def test_a_corruption_that_fails_on_a_picture_names_both(call, scratch_registries):
    def fails(images, severity, draws):
        raise RuntimeError("too dark")

    corruptions.register(Corruption(name="dusk", version=1, load=lambda: fails))
    picture(1).save("crow.png")
    status, out, err = call("corrupt bird.png crow.png --corruption dusk --severity 2 --out made")
    assert (status, out) == (1, [])
    assert [line.partition(" (")[0] for line in err] == [
        f"bench: dusk at severity 2 fails on {name}.png: RuntimeError: too dark" for name in ("bird", "crow")
    ]
    assert all("test_corrupt.py, line " in line for line in err)


def test_a_full_disk_is_one_sentence(call, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.replace", full)
    status, out, [sentence] = call("corrupt bird.png --corruption contrast --severity 1 --out made")
    assert (status, out) == (1, [])
    assert "No space left on device; make room" in sentence
    assert list(Path("made").iterdir()) == []
