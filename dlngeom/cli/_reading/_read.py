"""One reader for each kind of file, and what is done to every matrix that was read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli._reading import _arrays, _frames, _market, _pictures, _tables
from dlngeom.cli._reading._source import ReadingOptions, Source

__all__ = ["read", "sample_picture"]

Reader = Callable[[Path, ReadingOptions], Source]

_READERS: dict[str, Reader] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt", ".dat", ".data"), _tables.read),
    ".npy": _arrays.read_npy,
    ".npz": _arrays.read_npz,
    ".mtx": _market.read,
    ".mat": _arrays.read_mat,
    ".parquet": _frames.read_parquet,
    ".feather": _frames.read_feather,
    **dict.fromkeys(_pictures.SUFFIXES, _pictures.read),
}

# Those that may be compressed.
_COMPRESSED = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".mtx")

_CURES = {
    ".xlsx": "is a workbook: save the sheet as CSV",
    ".xls": "is a workbook: save the sheet as CSV",
    ".ods": "is a workbook: save the sheet as CSV",
    ".json": "is JSON: pandas.read_json(...).to_csv(...) makes a table of it",
    ".h5": "is HDF5: save the array with numpy.save",
    ".hdf5": "is HDF5: save the array with numpy.save",
    ".rds": "is a file of R: write.csv makes a table of it",
    ".pkl": "is a pickle, which may run code: save the array with numpy.save",
    **dict.fromkeys((".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".gz"), "is packed: unpack it"),
    ".sav": "is a file of SPSS: save it as CSV",
    ".dta": "is a file of Stata: save it as CSV",
}


_PLAIN = ReadingOptions()


def read(path: Path, options: ReadingOptions = _PLAIN) -> Source:
    """Read a matrix from a file of any kind; colours of a picture lie side by side, 0 to 1.

    Raises
    ------
    ValueError
        If the file holds no matrix of numbers, or one that is too large.
    OSError
        If it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file" + " but a folder" * path.is_dir())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = _reader(path)(path, options)
    said = [f"warning: {path.name}: {x.message}" for x in caught if x.category is UserWarning]
    source = source._replace(notes=(*source.notes, *said))
    source = _without_marks(source, options)
    return source if options.mask is None else _masked(source, options.mask)


def _reader(path: Path) -> Reader:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = suffixes[-1] if suffixes else ""
    if suffix == ".gz" and suffixes[-2:-1] and suffixes[-2] in _COMPRESSED:
        suffix = suffixes[-2]
    if suffix in _READERS:
        return _READERS[suffix]
    cure = _CURES.get(suffix, f"unknown kind {suffix!r}, use one of {', '.join(_READERS)}")
    raise ValueError(f"{path}: {cure}")


def _without_marks(source: Source, options: ReadingOptions) -> Source:
    """Make numbers missing that an option names, in tables whatever digits they have."""
    if source.is_picture and source.suffix == ".png" and options.missing_values:
        raise ValueError("--missing-value: of a picture, --mask says which pixels are missing")
    marks = []
    for mark in options.missing_values:
        try:
            marks.append(float(mark))
        except ValueError:
            continue  # A mark of text, which tables know.
    hidden = np.isin(source.values, marks)
    if not hidden.any():
        return source
    return source._replace(values=np.where(hidden, np.nan, source.values))


def _masked(source: Source, path: Path) -> Source:
    """Make entries missing where another file is white, or nonzero."""
    mask = _mask(path, source.channels)
    shape = (source.values.shape[0], source.values.shape[1] // max(source.channels, 1))
    if mask.shape != shape:
        raise ValueError(
            f"the mask {path} is {mask.shape[0]} x {mask.shape[1]}: it must be {shape[0]} x "
            f"{shape[1]} as the input is"
        )
    share = float(mask.mean())
    if not 0 < share < 1:
        raise ValueError(
            f"the mask {path} covers {'all' if share else 'nothing'}: it must be white, or not "
            "zero, where entries are missing, and black elsewhere"
        )
    values = np.where(np.tile(mask, (1, max(source.channels, 1))), np.nan, source.values)
    note = f"{path.name}: a mask, {share:.1%} white or not zero, where entries are missing"
    return source._replace(values=values, notes=(*source.notes, note))


def _mask(path: Path, channels: int) -> NumpyArray:
    found = read(path, ReadingOptions(is_mask=True))
    if not found.is_picture:
        return np.asarray(np.nan_to_num(found.values) != 0)
    grey = np.nanmean(np.nan_to_num(found.shaped(found.values)).reshape(*_size(found), -1), axis=2)
    return np.asarray(grey > 0.5)


def _size(source: Source) -> tuple[int, int]:
    return source.values.shape[0], source.values.shape[1] // source.channels


def sample_picture() -> Source:
    """scikit-learn's photograph of a temple, 427 x 640, in grey from 0 to 1."""
    from sklearn.datasets import load_sample_image

    colours = load_sample_image("china.jpg") / 255
    values = np.asarray(colours @ np.array([0.299, 0.587, 0.114]))
    return Source(values, ".png", _pictures.write_grey, channels=1)
