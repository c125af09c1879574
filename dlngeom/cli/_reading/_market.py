"""Matrices of the Matrix Market, whose stored entries are observed.

scipy's reader may end the process at a damaged file, so the lines are read here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import io, sparse

from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli._reading._source import ReadingOptions, Source, parsing, require_size
from dlngeom.cli._reading._text import encoding_of, lines
from dlngeom.completion import _door

__all__ = ["read"]

_SIGNS = {"general": 0.0, "symmetric": 1.0, "skew-symmetric": -1.0}


def read(path: Path, options: ReadingOptions) -> Source:
    """Read a matrix by coordinates or by columns."""
    with parsing(path, "matrix of the Matrix Market"):
        found = lines(path, encoding_of(path))
        layout, symmetry = _banner(path, next(found, ""))
        rest = (line for line in found if not line.startswith("%"))
        sizes = [int(x) for x in next(rest, "").split()]
        if len(sizes) != (3 if layout == "coordinate" else 2) or min(sizes) < 0:
            raise ValueError(f"its line of sizes is {sizes}")
        require_size(path, tuple(sizes[:2]))
        if layout == "coordinate":
            values = _by_coordinates(rest, sizes, _SIGNS[symmetry])
        else:
            values = _by_columns(rest, sizes, _SIGNS[symmetry])
    count = int(np.sum(~np.isnan(values)))
    note = f"{path.name}: {count} stored entries are observed, zeros among them"
    return Source(values, ".mtx", _write, (note,))


def _banner(path: Path, line: str) -> tuple[str, str]:
    words = line.casefold().split()
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        raise ValueError("its first line is no banner")
    _, _, layout, field, symmetry = words
    if field == "pattern":
        raise ValueError(f"{path} holds places without values: give a field real or integer")
    if layout not in ("coordinate", "array") or symmetry not in _SIGNS or field == "complex":
        raise ValueError(f"its kind is {layout} {field} {symmetry}: give real numbers")
    return layout, symmetry


def _by_coordinates(found: Iterator[str], sizes: list[int], sign: float) -> NumpyArray:
    """Matrix of lines with a row, a column and a value, those given twice averaged."""
    entries = _numbers(found, 3)
    rows, columns = (entries[:, k].astype(np.int64) - 1 for k in (0, 1))
    if len(entries) != sizes[2] or np.any(entries[:, :2] != np.stack([rows, columns], 1) + 1):
        raise ValueError(f"there are {len(entries)} lines of entries, and should be {sizes[2]}")
    data = entries[:, 2]
    if sign:
        off = rows != columns
        rows, columns = np.append(rows, columns[off]), np.append(columns, rows[off])
        data = np.append(data, sign * data[off])
    return _door.as_dense(sparse.coo_array((data, (rows, columns)), shape=tuple(sizes[:2])))


def _by_columns(found: Iterator[str], sizes: list[int], sign: float) -> NumpyArray:
    """Matrix of lines with a value each, of the lower triangle alone if it has a symmetry."""
    data, (m, n) = _numbers(found, 1)[:, 0], sizes
    if not sign:
        return data.reshape((m, n), order="F")
    values = np.zeros((m, n))
    columns, rows = np.triu_indices(m, k=int(sign < 0))
    values[columns, rows] = sign * data
    values[rows, columns] = data
    return values


def _numbers(found: Iterator[str], columns: int) -> NumpyArray:
    first = next(found, None)
    if first is None:
        return np.empty((0, columns))
    table = np.loadtxt(itertools.chain([first], found), comments=None, ndmin=2)
    if table.shape[1] != columns:
        raise ValueError(f"its lines have {table.shape[1]} numbers: they should have {columns}")
    return table


def _write(path: Path, completed: NumpyArray) -> None:
    io.mmwrite(str(path), completed)
