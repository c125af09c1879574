"""Arrays of numpy, scipy and Matlab, and data frames in files of their own."""

import gzip
import struct
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from dlngeom.cli import main
from dlngeom.cli._reading import ReadingOptions, read

NAN = np.nan
VALUES = np.array([[1.5, NAN, 0], [NAN, -2, 4], [3, NAN, NAN], [NAN, 7, 1]])
SEEN = ~np.isnan(VALUES)
ROWS, COLUMNS = np.nonzero(SEEN)
STORED = sparse.coo_array((VALUES[SEEN], (ROWS, COLUMNS)), shape=VALUES.shape)
FRAME = pd.DataFrame(VALUES, columns=["a", "b", "c"], index=["x", "y", "z", "w"])
LONG = pd.DataFrame({
    "user": [f"u{i}" for i in ROWS], "item": COLUMNS + 10, "rating": VALUES[SEEN],
})  # fmt: skip


def market(path, field="real", symmetry="general"):
    with path.open("w") as stream:
        stream.write(f"%%MatrixMarket matrix coordinate {field} {symmetry}\n")
        stream.write(f"4 3 {SEEN.sum()}\n")
        for i, j in zip(ROWS, COLUMNS, strict=True):
            stream.write(f"{i + 1} {j + 1} {VALUES[i, j]}\n")


def labelled(frame):
    return frame.reset_index(names="name")


FILES = {
    "a.npy": lambda p: np.save(p, VALUES),
    "fortran.npy": lambda p: np.save(p, np.asfortranarray(VALUES)),
    "one.npz": lambda p: np.savez(p, only=VALUES),
    "packed.npz": lambda p: np.savez_compressed(p, large=VALUES, vector=np.ones(3)),
    **{
        f"{form}.npz": lambda p, form=form: sparse.save_npz(p, STORED.asformat(form))
        for form in ("coo", "csr", "csc")
    },
    "a.mtx": market,
    "integers.mtx": lambda p: market(p, "integer"),
    "dense.mtx": lambda p: io.mmwrite(p, VALUES),
    "dense.mat": lambda p: io.savemat(p, {"A": VALUES, "note": "text", "n": 3.0}),
    "sparse.mat": lambda p: io.savemat(p, {"A": STORED.tocsc()}),
    "old.mat": lambda p: io.savemat(p, {"A": VALUES}, format="4"),
    "packed.mat": lambda p: io.savemat(p, {"A": VALUES}, do_compression=True),
    "a.parquet": FRAME.to_parquet,
    "nullable.parquet": lambda p: FRAME.convert_dtypes().to_parquet(p),
    "labels.parquet": lambda p: labelled(FRAME).to_parquet(p),
    "numbered.parquet": lambda p: FRAME.reset_index(drop=True).to_parquet(p),
    "a.feather": lambda p: labelled(FRAME).to_feather(p),
    "triples.parquet": LONG.to_parquet,
    "triples.feather": LONG.to_feather,
}


@pytest.mark.parametrize("name", ["triples.parquet", "triples.feather"])
def test_triples_of_a_frame_come_back_as_triples(name, tmp_path):
    FILES[name](tmp_path / name)
    source = read(tmp_path / name)
    source.write(tmp_path / f"out{source.suffix}", np.nan_to_num(source.values, nan=0.5))
    got = getattr(pd, f"read_{name.partition('.')[2]}")(tmp_path / f"out{source.suffix}")
    assert list(got.columns) == ["user", "item", "rating"]
    assert got["item"].dtype == np.int64
    both = LONG.merge(got, on=["user", "item"])
    np.testing.assert_array_equal(both["rating_x"], both["rating_y"])
    assert len(got) == 12


def test_a_column_of_a_frame_may_be_left_out(tmp_path):
    FRAME.assign(hue="red").to_parquet(tmp_path / "a.parquet")
    for column in ("hue", "4"):
        got = read(tmp_path / "a.parquet", ReadingOptions(drop=(column,))).values
        np.testing.assert_array_equal(got, VALUES)
    with pytest.raises(ValueError, match=r"--drop 'x'.* 'a', 'b', 'c'"):
        read(tmp_path / "a.parquet", ReadingOptions(drop=("x",)))


@pytest.mark.parametrize("name", FILES)
def test_files_of_arrays_and_frames_are_read_right_and_written_so(name, tmp_path):
    FILES[name](tmp_path / name)
    source = read(tmp_path / name)
    np.testing.assert_array_equal(source.values, VALUES)
    assert source.values.dtype == np.float64
    filled = np.where(np.isnan(source.values), 0.5, source.values)
    source.write(tmp_path / f"filled{source.suffix}", filled)
    np.testing.assert_array_equal(read(tmp_path / f"filled{source.suffix}").values, filled)


def test_labels_of_frames_are_kept_and_said(tmp_path):
    FRAME.to_parquet(tmp_path / "a.parquet")
    source = read(tmp_path / "a.parquet")
    assert "row labels from the index" in source.notes[0]
    source.write(tmp_path / "b.parquet", np.ones((4, 3)))
    got = pd.read_parquet(tmp_path / "b.parquet")
    assert list(got.index) == list(FRAME.index)
    assert list(got.columns) == list(FRAME.columns)
    labelled(FRAME).to_parquet(tmp_path / "a.parquet")
    source = read(tmp_path / "a.parquet")
    assert "row labels from the first 1 columns" in source.notes[0]
    source.write(tmp_path / "b.parquet", np.ones((4, 3)))
    assert list(pd.read_parquet(tmp_path / "b.parquet")["name"]) == list(FRAME.index)


def test_stored_entries_that_repeat_are_averaged_with_a_warning(tmp_path):
    text = "%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 2\n1 1 4\n2 2 5\n"
    (tmp_path / "a.mtx").write_text(text)
    source = read(tmp_path / "a.mtx")
    np.testing.assert_array_equal(source.values, [[3, NAN], [NAN, 5]])
    assert source.notes[-1].startswith("warning: a.mtx: 1 of 3 entries are stored more than once")


def test_a_number_may_stand_for_missing_entries(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, -999], [3, 4]]))
    got = read(tmp_path / "a.npy", ReadingOptions(missing_values=("-999.0", "x"))).values
    np.testing.assert_array_equal(got, [[1, NAN], [3, 4]])


@pytest.mark.parametrize("symmetry", ["general", "symmetric", "skew-symmetric"])
@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz"])
@pytest.mark.parametrize("make", [np.asarray, sparse.coo_array])
def test_symmetries_of_the_matrix_market_are_completed(symmetry, suffix, make, tmp_path):
    values = np.arange(1.0, 17).reshape(4, 4)
    sign = {"general": 0, "symmetric": 1, "skew-symmetric": -1}[symmetry]
    values = np.tril(values, -(sign == -1)) + sign * np.tril(values, -1).T
    io.mmwrite(tmp_path / "a.mtx", make(values), symmetry=symmetry)
    if suffix.endswith("gz"):
        (tmp_path / "a.mtx.gz").write_bytes(gzip.compress((tmp_path / "a.mtx").read_bytes()))
    got = read(tmp_path / f"a{suffix}").values
    stored = make is np.asarray or values != 0
    np.testing.assert_array_equal(got, np.where(stored, values, np.nan))


@pytest.mark.parametrize("save", [np.savez, lambda p, **x: io.savemat(p, x)])
def test_one_of_several_arrays_is_named(save, tmp_path):
    path = tmp_path / ("a.npz" if save is np.savez else "a.mat")
    save(path, first=VALUES, second=np.ones((3, 2)))
    with pytest.raises(ValueError, match="first 4x3, second 3x2: --variable NAME takes one"):
        read(path)
    np.testing.assert_array_equal(read(path, ReadingOptions(variable="first")).values, VALUES)
    with pytest.raises(ValueError, match="--variable"):
        read(path, ReadingOptions(variable="third"))


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_without_pyarrow_it_is_said_what_brings_it(kind, tmp_path, monkeypatch):
    (tmp_path / f"a.{kind}").write_bytes(b"")
    monkeypatch.setitem(sys.modules, f"pyarrow.{kind}", None)
    with pytest.raises(ValueError, match="pip install pyarrow"):
        read(tmp_path / f"a.{kind}")


def pattern(path):
    market(path, "pattern")


def large(path):
    path.write_text("%%MatrixMarket matrix coordinate real general\n900000 900000 1\n1 1 1\n")


def short(path):
    path.write_text(f"%%MatrixMarket matrix coordinate real general\n9 9 {10**6}\n1 1 1\n")


def sparse_header(path):
    parts = {"format": b"coo", "shape": np.array([10**6, 10**6]), "data": np.ones(1)}
    np.savez(path, row=np.zeros(1, int), col=np.zeros(1, int), **parts)


def hdf5(path):
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124, b" ") + struct.pack("<HH", 0x0200, 0x4D49))


REFUSED = {
    "pattern.mtx": (pattern, "places without values"),
    "large.mtx": (large, "needs 6.03e.03 GiB"),
    "short.mtx": (short, "1 lines of entries, and should be 1000000"),
    "text.mtx": (lambda p: p.write_text("1,2\n"), "no matrix of the Matrix Market"),
    "large.npz": (sparse_header, "needs 7.45e.03 GiB"),
    "text.npz": (lambda p: p.write_text("1,2\n"), "no numpy arrays"),
    "cube.npz": (lambda p: np.savez(p, x=np.ones((2, 2, 2))), "x 2x2x2: none is a matrix"),
    "objects.npz": (lambda p: np.savez(p, x=np.array([[{}]], object)), "none is a matrix"),
    "text.mat": (lambda p: p.write_text("1,2\n"), "no matrix of Matlab"),
    "hdf5.mat": (hdf5, "save it with -v7"),
    "words.mat": (lambda p: io.savemat(p, {"s": "words"}), "none is a matrix"),
    "text.parquet": (lambda p: p.write_text("1,2\n"), "no data frame of Parquet"),
    "text.feather": (lambda p: p.write_text("1,2\n"), "no data frame of Feather"),
    "hues.parquet": (FRAME.assign(hue="red").to_parquet, "--drop NAME"),
    "bools.parquet": (FRAME.assign(yes=True).to_parquet, "bool.*--drop NAME"),
    "a.xlsx": (lambda p: p.write_text("PK"), "workbook: save the sheet as CSV"),
    "a.pkl": (lambda p: p.write_text(""), "numpy.save"),
    "bools.npy": (lambda p: np.save(p, SEEN), "bool of shape"),
    "bools.npz": (lambda p: np.savez(p, x=SEEN), "none is a matrix of numbers"),
    "a.csv.bz2": (lambda p: p.write_text(""), "unpack it"),
    "a.npy.gz": (lambda p: p.write_text(""), "unpack it"),
    "a.h5": (lambda p: p.write_text(""), "numpy.save"),
    "a": (lambda p: p.write_text("1,2\n"), "unknown kind '', use one of .csv"),
    "zeros.csv": (lambda p: p.write_bytes(b"PK\0\0\1\2\0\3\0\0\0"), "no text"),
    "broken.csv.gz": (lambda p: p.write_bytes(b"\x1f\x8b\x08\0garbage"), "damaged gzip"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_one_line_with_a_cure(name, tmp_path, capsys):
    write, message = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)
    assert main(["complete", str(tmp_path / name), "--output", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
