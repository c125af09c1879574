"""Sizes that are absurd are refused with what they need, before anything is allocated."""

import gzip
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from dlngeom.cli import _reading, _sample, main
from dlngeom.cli._reading import _text

SIDE = 10**6


def header(path, text, version=(1, 0)):
    size = {1: "<H", 2: "<I", 3: "<I"}[version[0]]
    data = text.ljust(117).encode() + b"\n"
    path.write_bytes(b"\x93NUMPY" + bytes(version) + struct.pack(size, len(data)) + data)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, width, height):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rest = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + rest)


def array(path, dtype, shape, version=(1, 0)):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    header(path, text, version)


def archived(path):
    array(path.with_suffix(".npy"), "<f8", (SIDE, SIDE))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".npy"), "a.npy")


FILES = {
    "large.npz": (archived, "needs 7.45e+03 GiB: at most 1 GiB"),
    "large.npy": (lambda p: array(p, "<f8", (SIDE, SIDE)), "needs 7.45e+03 GiB: at most 1 GiB"),
    "bytes.npy": (lambda p: array(p, "|u1", (SIDE, SIDE)), "needs 7.45e+03 GiB"),
    "second.npy": (lambda p: array(p, "<f8", (10**20, 10), (2, 0)), "needs 7.45e+12 GiB"),
    "third.npy": (lambda p: array(p, "<f8", (9, 9), (3, 0)), "version (3, 0)"),
    "short.npy": (lambda p: array(p, "<f8", (1000, 1000)), "holds no numpy array"),
    "vector.npy": (lambda p: array(p, "<f8", (10**15,)), "shape (1000000000000000,): it must be"),
    "objects.npy": (lambda p: array(p, "|O", (SIDE, SIDE)), "holds object of shape"),
    "nested.npy": (lambda p: header(p, "(" * 5000), "holds no numpy array"),
    "negative.npy": (lambda p: array(p, "<f8", (-2, 3)), "holds no numpy array"),
    "broken.npy": (lambda p: header(p, "{'descr': "), "holds no numpy array"),
    "wide.png": (lambda p: png(p, 14_000, 12_000), "needs 1.25 GiB: at most 1 GiB"),
    "bomb.png": (lambda p: png(p, 2**30, 2**30), "is too large: Image size"),
    "empty.png": (lambda p: png(p, 9000, 11_000), "is a damaged picture"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_header_is_not_believed(name, tmp_path, capsys):
    write, message = FILES[name]
    write(tmp_path / name)
    tracemalloc.start()
    try:
        assert main(["complete", str(tmp_path / name), "--output", str(tmp_path / "out")]) == 2
        assert name == "empty.png" or tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_text_of_absurd_size_is_not_read(tmp_path, capsys):
    with (tmp_path / "a.csv").open("wb") as stream:
        stream.truncate(2**40)  # Takes no place on the disk.
    for command in ("complete", "sample", "landscape"):
        assert main([command, str(tmp_path / "a.csv"), "--output", str(tmp_path / "out")]) == 2
        assert "is a file of 1.02e+03 GiB: at most 2 GiB" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_a_text_that_unpacks_without_end_is_not_read(encoding, tmp_path, monkeypatch):
    monkeypatch.setattr(_text, "LARGEST_TEXT", 2**20)
    with gzip.open(tmp_path / "a.csv.gz", "wb") as stream:
        for _ in range(40):
            stream.write(("0," * 2**19).encode(encoding))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="GiB of text"):
            _reading.read(tmp_path / "a.csv.gz")
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f8", np.longdouble, np.uint8, ">i4"])
def test_numbers_of_every_size_are_read(dtype, tmp_path):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    for order in ("C", "F"):
        np.save(tmp_path / "a.npy", np.asarray(values, order=order))
        got = _reading.read(tmp_path / "a.npy").values
        assert got.dtype == np.float64
        assert got.dtype.isnative
        np.testing.assert_array_equal(got, np.arange(12.0).reshape(3, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", 10**39), f"steps={10**39}: it must be an integer of at least 40 and below"),
        (("--steps", 10**18), f"steps={10**18}: at most 1,000,000,000 are taken"),
        (("--steps", 10**9 + 1), "steps=1000000001: at most"),
        (("--chains", 10**39), f"chains={10**39}: it must be an integer of at least 1 and below"),
        (("--chains", 10**18), "fewer chains"),
        (
            ("--chains", 400_000, "--depth", 100, "--rank", 10),
            "are 4,052,000,000 numbers (30.2 GiB",
        ),
        (("--seed", "-1"), "seed=-1"),
    ],
)
def test_a_sample_of_absurd_size_is_refused(arguments, message, tmp_path, capsys):
    values = np.random.default_rng(0).normal(size=(12, 10))
    np.save(tmp_path / "a.npy", np.where(np.eye(12, 10) > 0, np.nan, values))
    arguments = [str(x) for x in (tmp_path / "a.npy", *arguments, "--output", tmp_path / "out")]
    assert main(["sample", *arguments]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert message in printed[-1]
    assert len(printed) == 1
    assert not (tmp_path / "out").exists()


def test_a_rank_that_was_found_is_refused_too():
    with pytest.raises(ValueError, match="fewer --chains"):
        _sample._require_small(2**10, 30, 100, (300, 300))
    _sample._require_small(64, 20, 3, (640, 427))


def test_a_picture_beyond_the_warning_of_pillow_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    Image.fromarray(np.full((30, 20), 51, dtype=np.uint8)).save(tmp_path / "a.png")
    got = _reading.read(tmp_path / "a.png").values
    np.testing.assert_allclose(got, np.full((30, 20), 0.2))


def test_memory_that_does_not_suffice_is_one_line(tmp_path, monkeypatch, capsys):
    def fail(path, options):
        raise MemoryError("Unable to allocate 9.31 GiB")

    monkeypatch.setattr(_reading, "read", fail)
    assert main(["complete", str(tmp_path / "a.npy"), "--output", str(tmp_path / "out")]) == 2
    expected = "dlngeom complete: error: the memory does not suffice: Unable to allocate 9.31 GiB"
    assert capsys.readouterr().err.strip() == expected
