import json
import os
import pickle
import tarfile

import numpy as np
import pytest

from bench.datasets import fingerprint
from bench.datasets.readers.shards import ShardSamples, shard_files
from bench.datasets.spaces import IMAGENET
from bench.errors import AbsentError, BenchError, RunError
from bench.records import ClassSpace


@pytest.fixture
def folder(tmp_path, write_bird_shards):
    """Three shards of three samples."""
    return write_bird_shards(tmp_path)


def test_every_key_is_a_sample(folder, birds, images):
    samples = ShardSamples(folder, birds, "b")
    assert samples.ids.tolist() == [f"{number:04d}" for number in range(9)]
    assert samples.labels.tolist() == [0, 1, 2] * 3
    assert samples.labels.dtype == samples.sizes.dtype == np.int64
    assert samples.sizes.tolist() == [len(data) for data in images]
    assert [samples.read(index) for index in (8, 0, 4)] == [images[8], images[0], images[4]]


@pytest.mark.parametrize("pattern", ["birds-{000..002}.tar", "birds-*.tar", "birds-00{0,1,2}.tar", "{birds}-*.tar"])
def test_patterns_name_the_same_shards_as_the_folder(folder, birds, pattern):
    assert fingerprint(ShardSamples(folder / pattern, birds, "b")) == fingerprint(ShardSamples(folder, birds, "b"))


def test_one_shard_may_be_named(folder, birds):
    assert ShardSamples(folder / "birds-001.tar", birds, "b").ids.tolist() == ["0003", "0004", "0005"]


def test_worker_processes_can_have_a_copy(folder, birds, images):
    samples = ShardSamples(folder, birds, "b")
    copy = pickle.loads(pickle.dumps(samples))
    assert copy.read(5) == images[5]
    assert fingerprint(copy) == fingerprint(samples)


def test_stamps_tell_samples_apart_and_change_with_the_shard(folder, birds):
    before = ShardSamples(folder, birds, "b")
    stamps = [before.stamp(index) for index in range(9)]
    path = folder / "birds-001.tar"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    after = [ShardSamples(folder, birds, "b").stamp(index) for index in range(9)]
    assert [a == b for a, b in zip(stamps, after, strict=True)] == [True] * 3 + [False] * 3 + [True] * 3
    assert len({*stamps, *after}) == 12
    with pytest.raises(RunError, match=r"birds-001\.tar has changed since this run began; run again"):
        before.read(4)


def test_labels_may_be_in_json_or_be_names(tmp_path, birds, images, write_tar):
    members = {"a.JPEG": images[0], "a.json": json.dumps({"label": 2, "width": 7}).encode()}
    write_tar(tmp_path / "number.tar", members)
    assert ShardSamples(tmp_path / "number.tar", birds, "b").labels.tolist() == [2]
    write_tar(tmp_path / "name.tar", {"a.webp": images[0], "a.json": b'{"label": "robin"}', "b.jpg": images[1],
                                      "b.cls": b"wren"})  # fmt: skip
    assert ShardSamples(tmp_path / "name.tar", birds, "b").labels.tolist() == [1, 2]


def test_class_names_that_are_numbers_are_names(tmp_path, images, write_tar):
    ten, padded = (
        ClassSpace(name="b", classes=tuple(map(str, range(1, 11)))),
        ClassSpace(name="p", classes=("00", "02")),
    )
    write_tar(tmp_path / "b.tar", {"a.jpg": images[0], "a.cls": b"1", "b.jpg": images[1], "b.cls": b"10"})
    assert ShardSamples(tmp_path / "b.tar", ten, "b").labels.tolist() == [0, 9]
    write_tar(
        tmp_path / "p.tar", {"a.jpg": images[0], "a.cls": b"02", "b.jpg": images[1], "b.json": b'{"label": "00"}'}
    )
    assert ShardSamples(tmp_path / "p.tar", padded, "p").labels.tolist() == [1, 0]
    write_tar(tmp_path / "c.tar", {"a.jpg": images[0], "a.cls": b"1", "b.jpg": images[1], "b.json": b'{"label": 2}'})
    with pytest.raises(
        BenchError, match=r"c\.tar \(b\) has the class '1', which is the name of one class of 'b' and the"
    ):
        ShardSamples(tmp_path / "c.tar", ten, "b")


def test_keys_keep_their_folders_and_end_at_the_first_dot(tmp_path, birds, images, write_tar):
    members = {"./x/a.jpg": images[0], "./x/a.cls": b"0", "y/a.jpg": images[1], "y/a.cls": b"1",
               "y/a.seg.png": images[2], "y/a.txt": b"a wren", "README": b"", ".hidden": b""}  # fmt: skip
    samples = ShardSamples(write_tar(tmp_path / "b.tar", members), birds, "b")
    assert samples.ids.tolist() == ["x/a", "y/a"]
    assert samples.read(1) == images[1]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.jpg": b"i"}, r"b\.tar, key 'a': there is no label; each key needs KEY\.cls or KEY\.json there"),
        ({"a.jpg": b"i", "a.cls": b""}, "key 'a': there is no label"),
        ({"a.jpg": b"i", "a.json": b'{"width": 7}'}, "key 'a': there is no label"),
        ({"a.jpg": b"i", "a.json": b"[1]"}, "key 'a': there is no label"),
        ({"a.jpg": b"i", "a.json": b"{"}, "key 'a': there is no label"),
        ({"a.jpg": b"i", "a.json": b'{"label": 1.5}'}, "key 'a': there is no label"),
        ({"a.jpg": b"i", "a.json": b'{"label": true}'}, "key 'a': there is no label"),
        ({"a.jpg": b"i", "a.cls": b"\xff\xfe"}, "key 'a': there is no label"),
        ({"a.cls": b"1"}, r"key 'a': there is no image; each key needs KEY\.jpg or KEY\.jpeg or KEY\.png or KEY\.webp"),
        ({"a.jpg": b"i", "a.png": b"i", "a.cls": b"1"}, "key 'a': there are two images; each key needs one"),
        ({"a.jpg": b"i", "a.cls": b"3"}, r"row 0 of .*b\.tar \(b\) has the label 3, but there are 3 classes"),
        ({"a.jpg": b"i", "a.cls": b"-1"}, "row 0 of .* is labelled -1"),
        ({"a.jpg": b"i", "a.cls": b"emu"}, "row 0 of .* has the label 'emu', which is no class of 'birds'"),
        ({"a.jpg": b"i", "a.cls": b"1", "b.jpg": b"i", "b.cls": b"wren"}, "has numbers and names among its labels"),
        ({"README": b"x"}, r"holds no samples; KEY\.jpg with KEY\.cls were looked for"),
    ],
)
def test_samples_that_are_not_whole_are_named(tmp_path, birds, write_tar, members, message):
    with pytest.raises(BenchError, match=message):
        ShardSamples(write_tar(tmp_path / "b.tar", members), birds, "b")


def test_a_key_in_two_shards_is_refused(folder, birds, images, write_tar):
    write_tar(folder / "more.tar", {"0004.jpg": images[0], "0004.cls": b"1"})
    with pytest.raises(BenchError, match=r"the key '0004' is in .*birds-001\.tar and in .*more\.tar; keys must be"):
        ShardSamples(folder, birds, "b")


@pytest.mark.parametrize("cut", ["nothing", "a header", "an image", "its end", "the end mark"])
def test_a_shard_cut_short_is_named(folder, birds, cut):
    path = folder / "birds-001.tar"
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    end = members[-1].offset_data + tarfile.BLOCKSIZE
    keep = {"nothing": 0, "a header": members[2].offset + 100, "an image": members[2].offset_data + 20}
    keep |= {"its end": members[2].offset, "the end mark": end}
    path.write_bytes(path.read_bytes()[: keep[cut]])
    with pytest.raises(
        RunError, match=r"birds-001\.tar (is no whole|lacks the end mark of a) tar file.*obtain it again"
    ):
        ShardSamples(folder, birds, "b")


def test_damage_between_members_is_seen(folder, birds):
    path = folder / "birds-001.tar"
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        header = tar.getmembers()[2].offset
    data[header : header + 512] = b"x" * 512
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"birds-001\.tar .* damaged or cut short; obtain it again"):
        ShardSamples(folder, birds, "b")


def test_shards_that_are_not_there_are_named(folder, birds):
    with pytest.raises(
        AbsentError, match=r"birds-003\.tar is wanted for b, but is not there; check the path, or obtain"
    ):
        shard_files(folder / "birds-{000..004}.tar", "b")
    with pytest.raises(AbsentError, match=r"gone: a \.tar file is wanted for b|gone is wanted for b"):
        shard_files(folder / "gone", "b")
    (folder / "empty").mkdir()
    with pytest.raises(AbsentError, match=r"empty: a \.tar file is wanted for b, but is not there"):
        shard_files(folder / "empty", "b")
    with pytest.raises(AbsentError, match=r"x\*\.tar: a \.tar file is wanted for b"):
        shard_files(folder / "x*.tar", "b")


@pytest.mark.parametrize("name", ["b.tar.gz", "b.tgz", "b.tar.zst"])
def test_packed_shards_are_to_be_unpacked(tmp_path, name):
    (tmp_path / name).touch()
    for place in (tmp_path, tmp_path / name):
        with pytest.raises(BenchError, match=rf"{name} is a packed tar file, .*; unpack it to \.tar"):
            shard_files(place, "b")


def test_photographs_come_back_from_shards_as_they_were(real_data, tmp_path, write_tar):
    files = sorted((real_data / "imagenet-sample").glob("*/*"))
    for shard in range(4):
        members = {}
        for path in files[shard::4]:
            members[f"{path.stem}.jpeg"] = path.read_bytes()
            members[f"{path.stem}.cls"] = str(IMAGENET.classes.index(path.parent.name)).encode()
        write_tar(tmp_path / f"{shard}.tar", members)
    samples = ShardSamples(tmp_path, IMAGENET, "sample")
    assert len(samples.ids) == len(files)
    by_name = {path.stem: path for path in files}
    for index, (key, label) in enumerate(zip(samples.ids, samples.labels, strict=True)):
        assert samples.read(index) == by_name[key].read_bytes()
        assert IMAGENET.classes[label] == by_name[key].parent.name


# -- hostile shards -------------------------------------------------------------------------------------------


def member(name, size=0, kind=tarfile.REGTYPE, data=b""):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def test_a_sparse_member_of_a_few_bytes_is_not_unfolded(tmp_path, birds, images):
    """GNU's old form: a map of where there is data, and the size of the whole: here 6.6 GB."""
    header = bytearray(member("a.cls", 0, tarfile.GNUTYPE_SPARSE))
    header[386:410] = b"%011o\0" % 0 + b"%011o\0" % 0
    header[483:495] = b"%011o\0" % 6_600_000_000
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 8 * ord(" "))
    path = tmp_path / "b.tar"
    path.write_bytes(bytes(header) + member("a.png", len(images[0]), data=images[0]) + bytes(1024))
    with pytest.raises(BenchError, match=r"b\.tar, key 'a': is stored as a sparse file; pack the shard again"):
        ShardSamples(path, birds, "b")


def test_a_size_below_zero_does_not_lead_round_and_round(tmp_path, birds):
    header = bytearray(member("a.cls"))
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 8 * ord(" "))
    (tmp_path / "b.tar").write_bytes(member("b.txt") + bytes(header) * 3 + bytes(1024))
    with pytest.raises(RunError, match=r"b\.tar is no whole tar file \(a member's size is negative\)"):
        ShardSamples(tmp_path / "b.tar", birds, "b")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"i", "a.json": b'{"label": ' + b"[" * 100_000}, "key 'a': there is no label"),
        ({"a.png": b"i", "a.cls": b"9" * 5_000}, "key 'a': there is no label"),
        ({"a.png": b"i", "a.cls": b"9" * 30}, "key 'a': there is no label"),
        ({"a.png": b"i", "a.cls": bytes(2**24 + 1)}, "key 'a': a label of 16.0 MiB is none; pack the shard again"),
        ({"a" * 2_000 + ".png": b"i"}, r"keys have at most 1,024 characters; pack the shard again\.$"),
    ],
)
def test_labels_and_keys_have_a_limit(tmp_path, birds, write_tar, members, message):
    with pytest.raises(BenchError, match=message) as raised:
        ShardSamples(write_tar(tmp_path / "b.tar", members), birds, "b")
    assert len(str(raised.value)) < 1_500


@pytest.mark.parametrize("pattern", ["x-{0..999999999}.tar", "x-" + "{a,b}" * 40 + ".tar"])
def test_a_pattern_of_very_many_shards_is_refused(tmp_path, pattern):
    with pytest.raises(BenchError, match="names more than 100,000 shards|at most 8 braces, not 40"):
        shard_files(tmp_path / pattern, "b")


def test_damaged_shards_are_read_or_named(folder, birds):
    path, rng = folder / "birds-000.tar", np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            start = 512 * int(rng.integers(len(data) // 512)) + int(rng.choice([0, 100, 124, 125, 148, 156, 257, 345]))
            data[start : start + 3] = rng.bytes(3)
            if rng.random() < 0.5:  # with a sum that holds, or nothing further is looked at
                block = start - start % 512
                header = data[block : block + 512]
                data[block + 148 : block + 156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 256)
        path.write_bytes(data)
        message = ""
        try:
            ShardSamples(path, birds, "b")
        except BenchError as error:
            message = str(error)
        assert "\n" not in message
