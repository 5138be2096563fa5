from pathlib import Path

import pytest

from bench.checkpoints.toml_file import read_registry
from bench.datasets.spaces import IMAGENET
from bench.errors import BenchError, UnknownNameError
from bench.records import Checkpoint, ClassSpace, Params

DIGITS = ClassSpace(name="digits", classes=tuple("0123456789"))

FULL = """
[my-vit]
arch = "vit_tiny_patch16_224"
arch_args = { embed_dim = 96, img_size = 32, qk_norm = true }
weights = "my_vit.safetensors"
state_dict = "model_ema"
weights_digest = "ABCDEFabcdef0123456789abcdef0123456789abcdef0123456789abcdef0123"
dataset = "digits"
input_size = 32
crop_ratio = 1
interpolation = "bilinear"
mean = [0, 0.5, 0.5]
std = [1, 0.5, 0.5]
family = "vit"
sam = "gsam"
recipe = "augreg"
seed = 3
pretraining = "in21k"
pairs_with = "other"
pair_differs = "augmentation"
published = ["timm:my_vit", "gsam:My ViT"]

[short]
arch = "resnet18"
weights = "/elsewhere/short.pth"
classes = ["cat", "dog"]
"""

START = '[my-vit]\narch = "resnet18"\nweights = "w"\n'


def class_spaces(name: str) -> ClassSpace:
    if name != "digits":
        raise UnknownNameError("dataset", name, ["digits"], see="bench list datasets")
    return DIGITS


def read(folder: Path, text: str, **options: bool) -> list[Checkpoint]:
    path = folder / "mine.toml"
    path.write_text(text)
    return read_registry(path, class_spaces, **options)


def test_every_key_reaches_the_checkpoint(tmp_path: Path) -> None:
    assert read(tmp_path, FULL)[0] == Checkpoint(
        name="my-vit",
        class_space=DIGITS,
        arch="vit_tiny_patch16_224",
        arch_args=Params(embed_dim=96, img_size=32, qk_norm=True),
        weights=str(tmp_path / "my_vit.safetensors"),
        state_dict="model_ema",
        weights_digest="abcdefabcdef0123456789abcdef0123456789abcdef0123456789abcdef0123",
        family="vit",
        sam="gsam",
        recipe="augreg",
        seed=3,
        pretraining="in21k",
        pairs_with="other",
        pair_differs="augmentation",
        published=("timm:my_vit", "gsam:My ViT"),
        input_size=32,
        crop_ratio=1.0,
        interpolation="bilinear",
        mean=(0.0, 0.5, 0.5),
        std=(1.0, 0.5, 0.5),
    )


def test_what_our_own_files_leave_out_has_the_defaults_of_the_record(tmp_path: Path) -> None:
    assert read(tmp_path, FULL, ours=True)[1] == Checkpoint(
        name="short",
        class_space=ClassSpace(name="short", classes=("cat", "dog")),
        arch="resnet18",
        weights="/elsewhere/short.pth",
    )


def test_weights_are_found_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(FULL)
    monkeypatch.chdir(tmp_path)
    (entry, _) = read_registry(Path("mine.toml"), class_spaces)
    assert entry.weights == str(tmp_path / "my_vit.safetensors")


@pytest.mark.parametrize("address", ["hf://timm/resnet18.tv_in1k/model.safetensors", "https://a.b/c/ViT-B_16.npz"])
def test_an_address_stays_as_it_is(tmp_path: Path, address: str) -> None:
    assert read(tmp_path, f'[x]\narch = "resnet18"\nweights = "{address}"\ndataset = "digits"')[0].weights == address


@pytest.mark.parametrize(
    "address", ["hf://resnet18/model.safetensors", "http://a.b/c", "https://a.b", "https://a.b/../c", "https://a.b/c/"]
)
def test_an_address_of_another_form_is_refused(tmp_path: Path, address: str) -> None:
    message = r"line 3: \[x\] weights: .* is none of hf://OWNER/REPOSITORY/FILE, https://HOST/FILE and package://"
    with pytest.raises(BenchError, match=message):
        read(tmp_path, f'[x]\narch = "resnet18"\nweights = "{address}"\ndataset = "digits"')


def test_a_class_space_is_found_by_its_name(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, '[x]\narch = "resnet18"\nweights = "w"\nclasses = "imagenet-1k"')
    assert entry.class_space is IMAGENET


def test_a_builder_is_read_from_the_files_that_may_name_one(tmp_path: Path) -> None:
    text = '[x]\nbuilder = "a.b:c"\nweights = "w"\ndataset = "digits"\n'
    assert read(tmp_path, text, ours=True)[0].builder == "a.b:c"
    with pytest.raises(BenchError, match=r"mine\.toml, line 2: \[x\] builder names code, .*plug-in"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('archs = "x"', r"no key 'archs'\. Did you mean 'arch'"),
        ("[my-vit.b16]\nx = 1", r"no key 'b16'.*needs quotes: \[\"my-vit\.b16\"\]"),
        ("family = 3", "family must be a name in quotes, not 3"),
        ('family = ""', "family must be a name in quotes, not ''"),
        ("recipe = 1", "recipe must be text in quotes, not 1"),
        ('sam = "yes"', "sam must be one of none, sam, gsam, asam, looksam, in quotes, not 'yes'"),
        ("sam = []", r"sam must be one of none, sam, gsam, asam, looksam, in quotes, not \[\]"),
        (
            'interpolation = "lanczos"',
            "interpolation must be one of nearest, bilinear, bicubic, in quotes, not",
        ),
        ("seed = -1", "seed must be a whole number, 0 or more, not -1"),
        ("seed = true", "seed must be a whole number, 0 or more, not True"),
        ('seed = "3"', "seed must be a whole number, 0 or more, not '3'"),
        ("seed = 3.0", "seed must be a whole number, 0 or more, not 3.0"),
        ('input_size = "32"', "input_size must be a whole number of pixels, at least 1, not '32'"),
        ("input_size = true", "input_size must be a whole number of pixels, at least 1, not True"),
        ("input_size = 0", "input_size must be a whole number of pixels, at least 1, not 0"),
        ("crop_ratio = 0", "crop_ratio must be a number above 0 and at most 1, not 0"),
        ("crop_ratio = 1.1", "crop_ratio must be a number above 0 and at most 1, not 1.1"),
        ("crop_ratio = nan", "crop_ratio must be a number with an end, not nan"),
        ("mean = [0.5, 0.5]", "mean must be three numbers"),
        ("mean = [0.5, 0.5, inf]", "mean must be a number with an end, not inf"),
        ("std = [0.5, 0.5, 0]", "std must be three numbers above 0, not"),
        ("arch_args = { depths = [1, 2] }", "arch_args must be a table of numbers, texts and true or false"),
        ("arch_args = { p = nan }", r"arch_args\.p must be a number with an end, not nan"),
        ('weights_digest = "abc"', "weights_digest must be a SHA-256 of 64 hexadecimal digits"),
        ("classes = []", r"classes must be a class space's name in quotes, or a list of one or more names .*not \[\]"),
        ("classes = [1, 2]", "classes must be a class space's name in quotes, or a list of one or more names"),
        ('classes = ""', "classes must be a class space's name in quotes, or a list of one or more names"),
        ('classes = "imagenet1k"', r"classes: no class space 'imagenet1k'\. Did you mean 'imagenet-1k'"),
        ('pair_differs = ["augmentation"]', "pair_differs must be text in quotes"),
        ('published = "timm:resnet18"', "published must be a list of one or more names in quotes, not 'timm:resnet18'"),
        ('classes = ["cat", "dog", "cat"]', "classes has 'cat' more than once; each class needs its own"),
        ('dataset = "digit"', r"dataset: no dataset 'digit'\. Did you mean 'digits'.*bench list datasets"),
        ('dataset = ["digits"]', "dataset must be the name of a data set, in quotes"),
    ],
)
def test_a_wrong_line_is_named_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(BenchError, match=rf"mine\.toml, line 4: (\[my-vit\] .*|my-vit\.){message}"):
        read(tmp_path, START + line)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('\n[a]\nweights = "w"\ndataset = "digits"', r"line 2: \[a\] names no architecture; add arch ="),
        ('\n[a]\narch = "x"\ndataset = "digits"', r"line 2: \[a\] names no weights; add weights ="),
        ('\n[a]\narch = "x"\nweights = "w"', r"line 2: \[a\] does not say its classes; add dataset ="),
        (START + 'dataset = "digits"\nclasses = ["a"]', r"line 5: \[my-vit\] has both dataset and classes"),
        ('# x\narch = "x"', "line 2: 'arch' stands outside a checkpoint's table; put its name in brackets"),
        ("# nothing", "mine.toml has no checkpoint and no data set; begin one with its name in brackets"),
        ("[a\n", "mine.toml, line 1: not valid TOML"),
    ],
)
def test_what_is_missing_is_asked_for(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        read(tmp_path, text)


def test_an_architecture_and_a_builder_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"line 4: \[my-vit\] has both arch and builder; keep one"):
        read(tmp_path, START + 'builder = "a:b"', ours=True)


def test_a_builder_without_a_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"builder must be `package\.module:function` in quotes, not 'a\.b'"):
        read(tmp_path, '[a]\nbuilder = "a.b"', ours=True)


def test_a_long_wrong_value_is_cut_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(BenchError) as caught:
        read(tmp_path, START + f"classes = {list(range(1000))}")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
