"""Reading matrices with missing entries, and writing results all at once or not at all."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from dlngeom._lib.arrays import NumpyArray

__all__ = [
    "IMAGES",
    "open_folder",
    "read_matrix",
    "require_other_file",
    "sample_picture",
    "write_all",
    "write_matrix",
]

IMAGES = (".png", ".jpg", ".jpeg")

# numpy gives its readers of headers no types.
npy: Any = np.lib.format

GIB = 2**30

# Bytes of a matrix in float64, and of a file of text, up to which they are read.
LARGEST_MATRIX, LARGEST_TEXT = GIB, 2 * GIB


def read_matrix(path: Path) -> NumpyArray:
    """Read a matrix with NaN where entries are missing; pictures in grey, 0 to 1.

    Raises
    ------
    ValueError
        If the file holds no matrix of numbers, or one that is too large.
    OSError
        If it cannot be read.
    """
    readers: dict[str, Callable[[Path], NumpyArray]] = {".csv": _read_csv, ".npy": _read_npy}
    readers |= dict.fromkeys(IMAGES, _read_image)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file" + " but a folder" * path.is_dir())
    if suffix not in readers:
        raise ValueError(f"{path}: unknown kind {suffix!r}, use one of {', '.join(readers)}")
    return readers[suffix](path)


def _require_size(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse a matrix that is too large, before anything of its size is allocated."""
    if (need := 8 * math.prod(shape)) > LARGEST_MATRIX:
        size = " x ".join(map(str, shape))
        raise ValueError(
            f"{path} is {size} and needs {need / GIB:.3g} GiB: at most {LARGEST_MATRIX / GIB:g} "
            "GiB are read, give a smaller matrix"
        )


def _read_csv(path: Path) -> NumpyArray:
    if (size := path.stat().st_size) > LARGEST_TEXT:
        raise ValueError(
            f"{path} is a file of {size / GIB:.3g} GiB: at most {LARGEST_TEXT / GIB:g} GiB of text "
            "are read, give a smaller matrix or a .npy"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file in UTF-8: {error}") from None
    if not rows:
        raise ValueError(f"{path} is empty")
    for i, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise ValueError(f"{path}: row {i} has {len(row)} cells, row 1 has {len(rows[0])}")
    return np.array(
        [
            [_cell(path, i, j, text) for j, text in enumerate(row, start=1)]
            for i, row in enumerate(rows, start=1)
        ]
    )


def _cell(path: Path, row: int, column: int, text: str) -> float:
    """Read a cell, NaN if it is empty; a written-out NaN is more likely a mistake."""
    text = text.strip()
    if not text:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(
            f"{path}: row {row}, column {column} is {text!r}: a cell must be a finite number, "
            "or empty where the entry is missing"
        )
    return value


def _read_npy(path: Path) -> NumpyArray:
    try:
        shape, dtype = _header(path)
        if len(shape) != 2 or dtype.kind not in "fiu":
            kind = f"{dtype} of shape {shape}"
            raise ValueError(f"{path} holds {kind}: it must be a matrix of real numbers")
        _require_size(path, shape)
        values = np.load(path, allow_pickle=False)
    except (ValueError, TypeError, EOFError, SyntaxError, RecursionError, TokenError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} holds no numpy array: {error}") from None
    return np.asarray(values, dtype=np.float64)


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array in a file, which numpy would allocate first and read then."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with path.open("rb") as stream:
        version = npy.read_magic(stream)
        if version not in readers:
            raise ValueError(f"its format has version {version}, that of matrices is (1, 0)")
        shape, _, dtype = readers[version](stream)
    return shape, dtype


def _read_image(path: Path) -> NumpyArray:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Its limit warns of sizes that are read here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
        with picture:
            _require_size(path, (picture.height, picture.width))
            # Pillow clips deep greys to eight bits instead of scaling them.
            if picture.mode.startswith("I"):
                return np.asarray(picture, dtype=np.float64) / 65535
            return np.asarray(picture.convert("L"), dtype=np.float64) / 255
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large: {error}") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no picture that can be read") from None
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} is a damaged picture: {error}") from None


def sample_picture() -> NumpyArray:
    """scikit-learn's photograph of a temple, 427 x 640, in grey from 0 to 1."""
    from sklearn.datasets import load_sample_image

    colours = load_sample_image("china.jpg") / 255
    return np.asarray(colours @ np.array([0.299, 0.587, 0.114]))


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[None]:
    """Make sure that files can be written to a folder, before the work that makes them.

    Folders that had to be created are removed again if the work fails.

    Raises
    ------
    OSError
        If nothing can be written there.
    """
    created = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OSError(f"{folder}: cannot write there ({error.strerror})") from None
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for part in created:
                part.rmdir()
        raise


def require_other_file(source: Path | None, folder: Path, names: Iterable[str]) -> None:
    """Refuse results that would overwrite the input.

    Raises
    ------
    ValueError
        If a file of one of the names in the folder is the input.
    """
    for name in names:
        target = folder / name
        if source is not None and target.exists() and target.samefile(source):
            raise ValueError(
                f"{source} is the input, and {target} would overwrite it: choose another --output"
            )


def write_all(folder: Path, writers: dict[str, Callable[[Path], None]]) -> None:
    """Write several files, all or none: what was there comes back if one cannot be moved."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        old.mkdir()
        for name, write in writers.items():
            write(new / name)
        moved: list[str] = []
        try:
            for name in writers:
                if (folder / name).is_dir():
                    raise IsADirectoryError(
                        f"{folder / name} is a folder: move it, or choose another --output"
                    )
                if (folder / name).exists():
                    os.replace(folder / name, old / name)
                moved.append(name)
                os.replace(new / name, folder / name)
        except BaseException:
            for name in moved:
                (folder / name).unlink(missing_ok=True)
                if (old / name).exists():
                    os.replace(old / name, folder / name)
            raise


def write_matrix(path: Path, values: NumpyArray) -> None:
    """Write a matrix as CSV, .npy or grey picture, by the suffix of the path."""
    if path.suffix == ".csv":
        np.savetxt(path, values, delimiter=",", fmt="%.10g")
    elif path.suffix == ".npy":
        np.save(path, values)
    else:
        from PIL import Image

        grey = np.clip(np.round(values * 255), 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(path)
