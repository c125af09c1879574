"""What was read from a file, how results are written in its form, and how much is read."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlngeom._lib.arrays import NumpyArray

__all__ = ["GIB", "LARGEST_MATRIX", "LARGEST_TEXT", "ReadingOptions", "Source", "parsing",
           "require_size"]  # fmt: skip

GIB = 2**30

# Bytes of a matrix in float64, and of a file of text, up to which they are read.
LARGEST_MATRIX, LARGEST_TEXT = GIB, 2 * GIB

Writer = Callable[[Path, NumpyArray], None]


class ReadingOptions(NamedTuple):
    """What the command line says about a file, where None leaves it to the file.

    Attributes
    ----------
    separator, decimal, thousands : str, optional
        Of a table of text.
    header_rows, index_columns : int, optional
        Numbers of rows and of columns that are labels.
    skip : int
        Lines left out before the table.
    drop : tuple of str
        Names or numbers of columns that are left out.
    missing_values : tuple of str
        More marks of missing entries.
    triples : bool, optional
        Whether each row holds labels of a row and a column, and the value there.
    variable : str, optional
        Array to take of a file that holds several.
    mask : Path, optional
        File that is white or nonzero where entries are missing.
    is_mask : bool
        Whether the file is such a one, and may hold bools.
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    header_rows: int | None = None
    index_columns: int | None = None
    skip: int = 0
    drop: tuple[str, ...] = ()
    missing_values: tuple[str, ...] = ()
    triples: bool | None = None
    variable: str | None = None
    mask: Path | None = None
    is_mask: bool = False


class Source(NamedTuple):
    """A matrix that was read.

    Attributes
    ----------
    values : array (m, n)
        NaN where an entry is missing.
    suffix : str
        Of the file that a result is written to.
    writer : callable
        Takes a path and a matrix like ``values``, and writes it in the form of the input.
    notes : tuple of str
        What was taken for what, for the screen.
    channels : int
        Colours of a picture, which lie side by side in ``values``; 0 if it is no picture.
    """

    values: NumpyArray
    suffix: str
    writer: Writer
    notes: tuple[str, ...] = ()
    channels: int = 0

    @property
    def is_picture(self) -> bool:
        """Whether entries are pixels."""
        return self.channels > 0

    def shaped(self, values: NumpyArray) -> NumpyArray:
        """Array of a matrix like ``values``: (m, n), or (height, width, 3) of a coloured picture.

        The colours lie side by side in the matrix.
        """
        if self.channels < 2:
            return values
        height, width = values.shape[0], values.shape[1] // self.channels
        return np.moveaxis(values.reshape(height, self.channels, width), 1, 2)

    def write(self, path: Path, values: NumpyArray) -> None:
        """Write a matrix like ``values``: as an array where the path says so, else as it came."""
        if path.suffix == ".npy":
            np.save(path, self.shaped(values))
        else:
            self.writer(path, values)


@contextlib.contextmanager
def parsing(path: Path, what: str) -> Iterator[None]:
    """Name the file in whatever error the readers of other libraries raise on damaged ones."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        text = str(error)
        said = text if text.startswith(str(path)) else f"{path} holds no {what}: {error}"
        raise ValueError(said) from None


def require_size(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse a matrix that is too large, before anything of its size is allocated.

    Raises
    ------
    ValueError
        If it takes more than 1 GiB.
    """
    if (need := 8 * math.prod(shape)) > LARGEST_MATRIX:
        size = " x ".join(map(str, shape))
        raise ValueError(
            f"{path} is {size} and needs {need / GIB:.3g} GiB: at most {LARGEST_MATRIX / GIB:g} "
            "GiB are read, give a smaller matrix"
        )
