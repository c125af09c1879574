"""Matrices as users have them, with the rule for what is missing: the one way into completion."""

from __future__ import annotations

import decimal
import math
import numbers
import sys
import warnings
from itertools import chain
from typing import Any

import numpy as np
from scipy import sparse

from dlngeom._lib.arrays import NumpyArray, to_numpy

__all__ = ["LARGEST", "as_dense", "as_matrix"]

# numpy gives masked arrays no types.
_masked: Any = np.ma

# Bytes up to which a sparse matrix is made dense, and that the layers of a descent may take.
LARGEST = 2**32


def as_matrix(values: Any) -> Any:
    """Return a matrix as plain arrays that are safe to compute with; the caller's stay unchanged.

    Parameters
    ----------
    values : array, nested lists, data frame or sparse matrix (m, n)
        Missing are NaN, what a mask covers, ``None`` and ``pandas.NA``, and what a sparse matrix
        or a sparse column of a data frame does not store.  Stored zeros are observed; of BSR only
        those entries of a block that are not zero, since zeros pad the blocks, and of DIA all
        that lie inside the matrix.  Entries stored more than once are averaged.

    Returns
    -------
    array (m, n) or csr_array (m, n)
        Of native float32 or float64, NaN where an entry of an array is missing; or in canonical
        format.

    Raises
    ------
    ValueError
        If the shape is not that of a matrix, or the entries are not plain numbers.
    TypeError
        If an object among the entries is no number.
    """
    if sparse.issparse(values):
        return _canonical(_stored(values))
    if hasattr(values, "dtypes") and hasattr(values, "iloc") and getattr(values, "ndim", 0) == 2:
        return _from_frame(values)
    return _from_array(_as_array(values))


def as_dense(values: Any) -> NumpyArray:
    """Return :func:`as_matrix` in float64, with NaN where a sparse matrix stores nothing.

    Raises
    ------
    ValueError
        If that takes more than 4 GiB.
    """
    matrix = as_matrix(values)
    if not sparse.issparse(matrix):
        return np.asarray(matrix, dtype=np.float64)
    m, n = matrix.shape
    if (need := 8 * m * n) > LARGEST:
        raise ValueError(
            f"a dense {m} x {n} matrix needs {need / 2**30:.3g} GiB, more than "
            f"{LARGEST / 2**30:g}: DLNCompletion takes it sparse"
        )
    dense = np.full((m, n), np.nan)
    stored = matrix.tocoo()
    dense[stored.row, stored.col] = stored.data
    return dense


def _as_array(values: Any) -> NumpyArray:
    """Array of any library, with masked entries or nested lists as an array that keeps them."""
    if isinstance(values, np.ma.MaskedArray):
        return values
    try:
        if not isinstance(values, (list, tuple)):
            return to_numpy(values)
        with warnings.catch_warnings():
            # A masked entry of a list becomes NaN, as it should here.
            warnings.filterwarnings("ignore", ".*converting a masked element to nan", UserWarning)
            # Rows of a list may be masked arrays, whose masks numpy's own function drops.
            return np.asanyarray(_masked.array(values))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{_short(values)} is no matrix ({error}): give rows of one length") from (
            None
        )


def _from_array(array: NumpyArray) -> NumpyArray:
    """Plain array of native floats, with NaN where a mask covers or an object is missing."""
    mask = _masked.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
    plain = np.asarray(_masked.getdata(array))
    if plain.ndim != 2:
        raise ValueError(
            f"the input has shape {plain.shape} and dtype {plain.dtype}: it must be a matrix of "
            "numbers. Reshape your data to (m, n)"
        )
    if plain.dtype.kind == "O":
        return _from_objects(plain, mask)
    dtype = _float_type(plain.dtype)
    if mask is None or not mask.any():
        return plain.astype(dtype, copy=False)
    return np.where(mask, dtype.type(math.nan), plain.astype(dtype))


def _float_type(dtype: Any) -> np.dtype[Any]:
    """Type to compute with, float32 for float32 and float64 for it and integers.

    Raises
    ------
    ValueError
        For other types.
    """
    if dtype.kind == "c":
        raise ValueError(
            f"the input has dtype {dtype}. Complex data not supported: complete X.real and X.imag"
        )
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize == 8):
        return np.dtype(np.float64)
    if dtype.kind == "f" and dtype.itemsize == 4:
        return np.dtype(np.float32)
    raise ValueError(
        f"the input has dtype {dtype}: its entries must be float64, float32 or integers; "
        "np.asarray(X, float) converts what are numbers"
    )


def _from_objects(array: NumpyArray, mask: NumpyArray | None) -> NumpyArray:
    """Floats from Python numbers, NaN from None, ``pandas.NA`` and what a mask covers."""
    pandas = sys.modules.get("pandas")
    missing = (None, np.ma.masked, getattr(pandas, "NA", None))
    out = np.empty(array.shape)
    for index, entry in np.ndenumerate(array):
        hidden = (mask is not None and mask[index]) or any(entry is x for x in missing)
        out[index] = math.nan if hidden else _number(index, entry)
    return out


def _number(index: tuple[int, ...], entry: Any) -> float:
    is_number = isinstance(entry, (numbers.Real, decimal.Decimal)) and not isinstance(entry, bool)
    if is_number:
        try:
            return float(entry)
        except OverflowError:
            raise ValueError(f"entry {list(index)} is too large for a float: rescale") from None
    raise (ValueError if isinstance(entry, (str, bytes, bool)) else TypeError)(
        f"entry {list(index)} is {_short(entry)}: the argument must be free of strings, bools and "
        "other objects, with numbers alone and None or NaN where one is missing; "
        "np.asarray(X, float) converts what are numbers"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _from_frame(frame: Any) -> Any:
    """Values of a data frame of pandas; a sparse one stays sparse."""
    dtypes = list(frame.dtypes)
    if any(hasattr(dtype, "fill_value") for dtype in dtypes):
        return _from_sparse_frame(frame)
    if any(getattr(dtype, "kind", "O") in "OSTUV" for dtype in dtypes):
        return _from_array(frame.to_numpy(dtype=object))
    types = {_float_type(dtype) for dtype in dtypes}
    dtype = np.dtype(np.float32) if types == {np.dtype(np.float32)} else np.dtype(np.float64)
    return _from_array(frame.to_numpy(dtype=dtype, na_value=math.nan))


def _from_sparse_frame(frame: Any) -> Any:
    """Collect what sparse columns store, and what is not NaN in the other columns."""
    columns = [_column(frame.iloc[:, j], name) for j, name in enumerate(frame.columns)]
    ends = np.cumsum([0, *(len(rows) for rows, _ in columns)])
    rows, data = (np.concatenate([column[k] for column in columns]) for k in (0, 1))
    return _canonical(sparse.csc_array((data, rows, ends), shape=frame.shape).tocsr())


def _column(series: Any, name: Any) -> tuple[NumpyArray, NumpyArray]:
    """Rows and values of the observed entries of a column."""
    if not hasattr(series.dtype, "fill_value"):
        values = np.asarray(_from_frame(series.to_frame()), dtype=np.float64)[:, 0]
        rows = np.flatnonzero(~np.isnan(values))
        return rows, values[rows]
    _float_type(series.dtype.subtype)
    fill = series.dtype.fill_value
    if not (fill == 0 or math.isnan(fill)):
        raise ValueError(
            f"sparse column {name!r} has the fill value {fill!r}: it must be NaN or 0, which "
            "stand for missing entries; X.sparse.to_dense() keeps its values"
        )
    rows, values = series.array.sp_index.indices, np.asarray(series.array.sp_values, np.float64)
    observed = ~np.isnan(values)
    return rows[observed], values[observed]


def _stored(matrix: Any) -> Any:
    """Sparse matrix by rows with what another stores, perhaps unsorted and more than once."""
    if matrix.ndim != 2:
        raise ValueError(
            f"the sparse input has shape {matrix.shape}: it must be a matrix. Reshape your data to "
            "(m, n)"
        )
    dtype = _float_type(matrix.dtype)
    if matrix.format in ("csr", "csc"):
        kind = sparse.csr_array if matrix.format == "csr" else sparse.csc_array
        parts = (matrix.data, matrix.indices, matrix.indptr)
        try:
            # A new object over the same arrays: scipy keeps what it finds out, even sorts, in one.
            same = kind(parts, shape=matrix.shape, copy=False)
            same.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"the sparse input is damaged ({error}): build it anew") from None
        return same.tocsr().astype(dtype, copy=False)
    if matrix.format == "lil":
        return _from_lists(matrix, dtype)
    data, rows, columns = _coordinates(matrix)
    entries = sparse.coo_array((data.astype(dtype, copy=False), (rows, columns)), matrix.shape)
    # Claims that nothing is there twice, or scipy would add up what is.
    entries.has_canonical_format = True
    return entries.tocsr()


def _from_lists(matrix: Any, dtype: np.dtype[Any]) -> Any:
    """Entries of a matrix of lists, which scipy reads only if it may write to it."""
    ends = np.cumsum([0, *map(len, matrix.rows)])
    columns = np.fromiter(chain.from_iterable(matrix.rows), np.int64, ends[-1])
    data = np.fromiter(chain.from_iterable(matrix.data), dtype, ends[-1])
    return sparse.csr_array((data, columns, ends), shape=matrix.shape)


def _coordinates(matrix: Any) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
    """Values, rows and columns of stored entries, without the zeros that pad BSR's blocks."""
    if matrix.format == "dia":
        return _on_diagonals(matrix)
    entries = matrix.tocoo(copy=False)
    data, rows, columns = entries.data, entries.row, entries.col
    if matrix.format == "bsr":
        kept = data != 0
        data, rows, columns = data[kept], rows[kept], columns[kept]
    return data, rows, columns


def _on_diagonals(matrix: Any) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
    """All entries of the stored diagonals that lie inside the matrix, zeros included."""
    (m, n), width = matrix.shape, matrix.data.shape[1]
    columns = np.broadcast_to(np.arange(width), matrix.data.shape)
    rows = columns - np.asarray(matrix.offsets)[:, None].astype(np.int64)
    inside = (rows >= 0) & (rows < m) & (columns < n)
    return matrix.data[inside], rows[inside], columns[inside]


def _canonical(matrix: Any) -> Any:
    """Sort the entries by rows and columns, and average those that are stored more than once."""
    if matrix.has_canonical_format:
        return matrix
    matrix = matrix.copy()
    matrix.sort_indices()
    before = matrix.nnz
    parts = (np.ones(before), matrix.indices.copy(), matrix.indptr.copy())
    counts = sparse.csr_array(parts, shape=matrix.shape)
    counts.sum_duplicates()
    if counts.nnz == before:
        return matrix
    warnings.warn(
        f"{before - counts.nnz} of {before} entries are stored more than once: their values are "
        "averaged",
        stacklevel=2,
    )
    matrix.sum_duplicates()
    matrix.data /= counts.data
    return matrix
