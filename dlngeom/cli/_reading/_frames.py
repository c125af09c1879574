"""Data frames in files of their own, which keep the labels of rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli._reading import _triples
from dlngeom.cli._reading._source import ReadingOptions, Source, parsing, require_size
from dlngeom.completion import _door

__all__ = ["read_feather", "read_parquet"]


def read_parquet(path: Path, options: ReadingOptions) -> Source:
    """Read a data frame of a Parquet file."""
    pandas, parquet = _libraries("parquet", path)
    with parsing(path, "data frame of Parquet"):
        size = parquet.read_metadata(path)
        require_size(path, (size.num_rows, size.num_columns))
        frame = pandas.read_parquet(path)
    return _source(path, frame, options, ".parquet", lambda f, target: f.to_parquet(target))


def read_feather(path: Path, options: ReadingOptions) -> Source:
    """Read a data frame of a Feather file."""
    pandas, _ = _libraries("feather", path)
    with parsing(path, "data frame of Feather"):
        frame = pandas.read_feather(path)
    return _source(path, frame, options, ".feather", lambda f, target: f.to_feather(target))


def _libraries(name: str, path: Path) -> tuple[Any, Any]:
    import importlib

    try:
        return importlib.import_module("pandas"), importlib.import_module(f"pyarrow.{name}")
    except ImportError:
        raise ValueError(
            f"{path}: pandas reads such files with pyarrow, which `pip install pyarrow` brings"
        ) from None


def _source(
    path: Path,
    frame: Any,
    options: ReadingOptions,
    suffix: str,
    save: Callable[[Any, Path], None],
) -> Source:
    frame = _without(path, frame, options.drop)
    names = [str(name) for name in frame.columns]
    meant = _triples.names_triples(names)
    if options.triples or (options.triples is None and meant):
        return _triples_of(path, frame, suffix, save)
    count = _label_columns(frame) if options.index_columns is None else options.index_columns
    data = frame.iloc[:, count:]
    values = _values(path, data, names)

    def write(target: Path, completed: NumpyArray) -> None:
        filled = type(frame)(completed, index=frame.index, columns=data.columns)
        save(filled.join(frame.iloc[:, :count])[list(frame.columns)], target)

    return Source(values, suffix, write, (_described(path, frame, count),))


def _values(path: Path, data: Any, names: list[str]) -> NumpyArray:
    try:
        return _door.as_dense(data)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: {error}. It is a frame of the columns {_few(names)}; --index N takes the "
            "first N for labels, and --drop NAME leaves one out"
        ) from None


def _without(path: Path, frame: Any, drop: Sequence[str]) -> Any:
    """Leave out columns that an option names, or counts from one."""
    names = [str(name) for name in frame.columns]
    kept = set(range(len(names)))
    for column in drop:
        number = int(column) - 1 if column.isdecimal() else -1
        j = names.index(column) if column in names else number
        if not 0 <= j < len(names):
            raise ValueError(f"--drop {column!r}: {path} has the columns {_few(names)}")
        kept.discard(j)
    return frame.iloc[:, sorted(kept)]


def _label_columns(frame: Any) -> int:
    """Count the leading columns that hold no numbers."""
    from pandas.api import types

    for j in range(frame.shape[1]):
        column = frame.iloc[:, j].infer_objects()
        mixed = column.dtype == object and types.infer_dtype(column, skipna=True) != "string"
        if types.is_numeric_dtype(column.dtype) or mixed or column.isna().all():
            return j
    return 0


def _triples_of(path: Path, frame: Any, suffix: str, save: Callable[[Any, Path], None]) -> Source:
    import pandas

    if frame.shape[1] < 3:
        raise ValueError(f"{path} has {frame.shape[1]} columns, but triples have at least three")
    if frame.iloc[:, :2].isna().any(axis=None):
        raise ValueError(f"{path}: triples without a label of a row or column")
    coded = [pandas.factorize(frame.iloc[:, j], sort=True) for j in (0, 1)]
    labels = ([str(x) for x in coded[0][1]], [str(x) for x in coded[1][1]])
    require_size(path, (len(labels[0]), len(labels[1])))
    codes = np.stack([codes for codes, _ in coded], axis=1)
    values = np.asarray(_door.as_dense(frame.iloc[:, [2]]))[:, 0]
    rows, columns = (uniques for _, uniques in coded)

    def write(target: Path, completed: NumpyArray, given: NumpyArray) -> None:
        m, n = completed.shape
        parts = (rows.repeat(n), np.tile(columns, m), completed.ravel())
        save(pandas.DataFrame(dict(zip(frame.columns[:3], parts, strict=True))), target)

    return _triples.source_of(path, codes, values, labels, suffix, write)


def _described(path: Path, frame: Any, count: int) -> str:
    columns = [str(name) for name in frame.columns]
    index = type(frame.index).__name__ != "RangeIndex"
    rows = f"the first {count} columns" * (count > 0) + " and " * (count > 0 and index)
    rows += "the index" * index
    said = f"row labels from {rows}" if rows else "no row labels"
    return f"{path.name}: a data frame, column labels {_few(columns[count:])}, {said}"


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + ", ..." * (len(names) > 3)
