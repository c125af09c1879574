"""Triples: labels of a row and a column, and the value there, as ratings are kept."""

from __future__ import annotations

import csv
import itertools
import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli._reading._cells import Style, is_integer
from dlngeom.cli._reading._source import ReadingOptions, Source, require_size
from dlngeom.cli._reading._text import suffix_of

__all__ = ["is_meant", "names_triples", "read", "source_of"]

Names = tuple[list[str], list[str]]

_USERS = frozenset({"user", "userid", "u", "uid", "row", "i", "customer", "customerid", "reader",
                    "readerid", "reviewer", "reviewerid", "person", "rater", "subject", "who",
                    "viewer", "member", "client"})  # fmt: skip
_ITEMS = frozenset({"item", "itemid", "movie", "movieid", "product", "productid", "book", "bookid",
                    "isbn", "song", "songid", "track", "artist", "artistid", "anime", "animeid",
                    "column", "col", "j", "asin", "joke", "jokeid", "title", "film", "variable",
                    "iid", "game", "what"})  # fmt: skip
_VALUES = frozenset({"rating", "ratings", "score", "value", "stars", "x", "v", "count", "weight",
                     "playcount", "plays", "overall", "bookrating", "val"})  # fmt: skip

# Seconds since 1970 of times that ratings may have been given.
_TIMES = (1e8, 1e11)


def is_meant(rows: Sequence[Sequence[str]], style: Style, options: ReadingOptions) -> bool:
    """Whether a table is one of triples, unless an option says so."""
    if options.triples is not None:
        return options.triples
    if options.index_columns is not None or options.drop:
        return False
    width = len(rows[0])
    if width < 3 or any(len(row) < 3 for row in rows):
        return False
    if options.header_rows != 0 and names_triples(rows[0]):
        return True
    body = rows[1:] if style.is_text(rows[0][2]) else rows
    if width == 3:
        return _are_labelled(body, style)
    return width == 4 and _have_times(body) and (_are_labelled(body, style) or _are_counted(body))


def may_be_meant(rows: Sequence[Sequence[str]], header_rows: int) -> bool:
    """Whether rows that were read as a matrix may be triples: of two integers that occur again."""
    body = rows[header_rows:]
    columns = [[row[j].strip() for row in body if len(row) == 3] for j in (0, 1)]
    return len(columns[0]) == len(body) > 3 and all(
        all(map(is_integer, column)) and len(set(column)) < len(column) for column in columns
    )


def names_triples(names: Sequence[Any]) -> bool:
    """Whether names of columns are those of triples."""
    if len(names) < 3:
        return False
    first, second, third = ("".join(filter(str.isalnum, str(x))).casefold() for x in names[:3])
    pair = (first in _USERS and second in _ITEMS) or (first in _ITEMS and second in _USERS)
    return pair and third in _VALUES


def _are_labelled(body: Sequence[Sequence[str]], style: Style) -> bool:
    """Whether two columns of text precede one of numbers, and labels of both occur again."""
    texts = all(style.is_text(row[j]) for row in body for j in (0, 1))
    numbers = all(not style.is_text(row[2]) for row in body)
    firsts, seconds = {row[0] for row in body}, {row[1] for row in body}
    return len(body) > 1 and texts and numbers and max(len(firsts), len(seconds)) < len(body)


def _are_counted(body: Sequence[Sequence[str]]) -> bool:
    return all(is_integer(row[j]) for row in body for j in (0, 1))


def _have_times(body: Sequence[Sequence[str]]) -> bool:
    """Whether the fourth column holds seconds since 1970."""
    cells = [row[3] for row in body if len(row) > 3]
    return len(cells) == len(body) > 1 and all(
        is_integer(cell) and _TIMES[0] < int(cell) < _TIMES[1] for cell in cells
    )


def read(
    path: Path, rows: Iterable[Sequence[str]], style: Style, options: ReadingOptions
) -> Source:
    """Read triples, whose labels may be anything.

    Raises
    ------
    ValueError
        If a row has no two labels and a number.
    """
    found = iter(rows)
    first = next(found)
    skipped = options.header_rows
    if skipped is None:
        skipped = int(len(first) > 2 and style.is_text(first[2]))
    header = [cell.strip() for cell in first[:3]] if skipped else []
    body = itertools.islice(itertools.chain([first], found), skipped, None)
    codes, values, names = _coded(
        (_triple(path, number, row, style) for number, row in enumerate(body, skipped + 1)), style
    )

    def write(target: Path, completed: NumpyArray, given: NumpyArray) -> None:
        _write(target, completed, given, names, header, style)

    return source_of(path, codes, values, names, suffix_of(path), write)


def _coded(
    triples: Iterable[tuple[str, str, float]], style: Style
) -> tuple[NumpyArray, NumpyArray, Names]:
    """Numbers of the labels of rows and columns, values, and the labels in increasing order."""
    labels: tuple[dict[str, int], dict[str, int]] = ({}, {})
    # Arrays of numbers, since there may be many.
    rows, columns, values = array("q"), array("q"), array("d")
    for first, second, value in triples:
        rows.append(labels[0].setdefault(first, len(labels[0])))
        columns.append(labels[1].setdefault(second, len(labels[1])))
        values.append(value)
    names = (_sorted(labels[0], style), _sorted(labels[1], style))
    codes = np.empty((len(values), 2), dtype=np.int64)
    for k, found in enumerate((rows, columns)):
        places = np.empty(len(names[k]), dtype=np.int64)
        places[[labels[k][name] for name in names[k]]] = np.arange(len(names[k]))
        codes[:, k] = places[np.asarray(found)]
    return codes, np.asarray(values), names


def _sorted(labels: Iterable[str], style: Style) -> list[str]:
    """Labels in the order of pandas: numbers by their size, all others by their letters."""
    labels = list(labels)
    numbers = {label: style.number(label) for label in labels}
    if any(x is None or math.isnan(x) for x in numbers.values()):
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label] or 0.0, label))


def _triple(path: Path, number: int, row: Sequence[str], style: Style) -> tuple[str, str, float]:
    if len(row) < 3:
        raise ValueError(
            f"{path}: row {number} has {len(row)} cells, but triples have at least three: a label "
            "of a row, one of a column and a value; --separator cuts it otherwise, and "
            "--no-triples reads a matrix"
        )
    first, second, cell = (part.strip() for part in row[:3])
    if not first or not second:
        raise ValueError(f"{path}: row {number} has no label of its row or column")
    value = style.number(cell)
    if value is None or math.isinf(value):
        raise ValueError(
            f"{path}: row {number} is {first!r}, {second!r}, {cell!r}: the third cell of triples "
            f"must be a finite number, or empty; --missing-value {cell!r} reads it as missing, and "
            "--no-triples reads a matrix"
        )
    return first, second, value


def source_of(
    path: Path,
    codes: NumpyArray,
    values: NumpyArray,
    names: Names,
    suffix: str,
    writer: Callable[[Path, NumpyArray, NumpyArray], None],
) -> Source:
    """Matrix of triples whose labels are numbers of names; those given twice are averaged."""
    shape = (len(names[0]), len(names[1]))
    require_size(path, shape)
    matrix, twice = _averaged(codes, values, shape)
    kept = f"{shape[0]} row labels {_few(names[0])}, {shape[1]} column labels {_few(names[1])}"
    notes = [f"{path.name}: {len(values)} triples, {kept}; --no-triples reads a matrix"]
    if twice:
        notes.append(f"warning: {twice} of {len(values)} triples repeat a place: averaged")

    def write(target: Path, completed: NumpyArray) -> None:
        writer(target, completed, matrix)

    return Source(matrix, suffix, write, tuple(notes))


def _averaged(
    codes: NumpyArray, values: NumpyArray, shape: tuple[int, int]
) -> tuple[NumpyArray, int]:
    """Mean of the values at each place, NaN where there is none, and how many repeat a place."""
    seen = ~np.isnan(values)
    places, size = codes[seen, 0] * shape[1] + codes[seen, 1], shape[0] * shape[1]
    counts = np.bincount(places, minlength=size)
    sums = np.bincount(places, values[seen], minlength=size)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means.reshape(shape), int(np.sum(counts[counts > 1] - 1))


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:2])) + ", ..." * (len(names) > 2)


def _write(
    path: Path,
    completed: NumpyArray,
    given: NumpyArray,
    names: Names,
    header: Sequence[str],
    style: Style,
) -> None:
    """Write a triple for every entry, in the order of rows."""
    separator = style.separator if len(style.separator) == 1 else "\t"
    observed = completed == given
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        if header:
            writer.writerow(header)
        for i, first in enumerate(names[0]):
            for j, second in enumerate(names[1]):
                x = float(completed[i, j])
                cell = style.written(x if observed[i, j] else float(f"{x:.10g}"))
                writer.writerow((first, second, cell))
