"""Rows and columns of a table of text that are labels, found from its first rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from dlngeom.cli._reading._cells import Style, counts, has_point, is_integer
from dlngeom.cli._reading._dialect import common_width
from dlngeom.cli._reading._source import ReadingOptions

__all__ = ["Layout", "find_layout"]

Rows = Sequence[Sequence[str]]

# Names of columns whose integers are labels if no two are equal, and endings of such names.
_LABELS = frozenset({
    "", "id", "index", "idx", "row", "key", "no", "no.", "nr", "nr.", "number", "user", "name",
    "sample", "subject", "unnamed: 0", "date", "time", "timestamp", "year", "#",
})  # fmt: skip
_ENDINGS = ("_id", " id", "Id", "ID", ".id", "-id")

_YEARS = range(1500, 2200)


class Layout(NamedTuple):
    """Which part of a table holds labels.

    Attributes
    ----------
    width : int
        Number of columns, those of labels included.
    header_rows, index_columns : int
        Number of rows and of columns of labels.
    doubts : tuple of str
        What may as well be labels or not, with the option that says so.
    """

    width: int
    header_rows: int
    index_columns: int
    doubts: tuple[str, ...] = ()


def find_layout(rows: Rows, style: Style, options: ReadingOptions) -> Layout:
    """Find the labels of a table, unless options say where they are."""
    width, index = _width(rows), options.index_columns
    known = _text_columns(rows, width, style) if index is None else index
    header = options.header_rows
    header = _header(rows, width, known, style) if header is None else header
    if index is None:
        index = max(known, int(header > 0 and len(rows[0]) == width - 1))
        index = index or int(_first_column_is_index(rows, width, header, style))
        # Labels alone are no table.
        index = index if index < width else 0
    return Layout(width, header, index, _doubts(rows, header, index, options))


def _width(rows: Rows) -> int:
    """Return the number of columns; a separator at the end of every line makes none."""
    width = common_width(rows)
    ended = [row for row in rows[1:] if len(row) == width and not row[-1].strip()]
    return width - 1 if len(ended) == len(rows) - 1 > 0 and len(rows[0]) == width - 1 else width


def _text_columns(rows: Rows, width: int, style: Style) -> int:
    """Count the leading columns that hold text and no number."""
    # The first row may lack the cells above them.
    full = [row for row in rows if len(row) >= width]
    for j in range(width):
        if not _is_text_column(full, j, style) or not _is_text_column(full[1:] or full, j, style):
            return j
    return 0


def _is_text_column(rows: Rows, j: int, style: Style) -> bool:
    cells = [row[j] for row in rows if len(row) > j and not style.is_missing(row[j])]
    return any(map(style.is_name, cells)) and all(map(style.is_text, cells))


def _header(rows: Rows, width: int, index: int, style: Style) -> int:
    """Count the leading rows that are labels."""
    first = rows[0]
    shift = width - len(first)
    named = [
        style.is_name(cell) and not _is_text_column(rows[1:], j + shift, style)
        for j, cell in enumerate(first)
        if j + shift >= index
    ]
    is_header = any(named) and _has_names(first, sum(named), style)
    if len(rows) < 2 or not (is_header or _counting_header(rows, index, style)):
        return 0
    header = 1
    # Rows of units, say: text alone.
    while header < len(rows) - 1 and _is_row_of_units(rows[header], index, style):
        header += 1
    return header


def _has_names(first: Sequence[str], names: int, style: Style) -> bool:
    """Whether numbers beside names are names too, and those not a mistake among numbers."""
    numbers = [x.strip() for x in first if not (style.is_text(x) or style.is_missing(x))]
    return all(map(is_integer, numbers)) and (len(numbers) <= names or _rises(numbers))


def _is_row_of_units(row: Sequence[str], index: int, style: Style) -> bool:
    """Whether several different words stand beside nothing; a mark of missing ones is one word."""
    filled = [cell for cell in row[index:] if not style.is_missing(cell)]
    words = all(style.is_name(cell) and any(map(str.isalpha, cell)) for cell in filled)
    return words and len(set(filled)) > 1 and not any(cell.strip() for cell in row[:index])


def _counting_header(rows: Rows, index: int, style: Style) -> bool:
    """Whether a first row of integers names columns, as pandas writes them."""
    first, body = rows[0], rows[1:]
    if index and len(first) > index:
        return _names_columns(first, [row[index:] for row in body], index, style)
    if len(first) > 2 and len(body) > 1 and not first[0].strip():
        column, rest = [row[0] for row in body if row], first[1:]
        if _is_distinct(rest) and _is_distinct(column) and _are_labels(rest, column, body, style):
            return True
    return _counts_above_fractions(first, body, style)


def _are_labels(rest: Sequence[str], column: Sequence[str], body: Rows, style: Style) -> bool:
    """Whether different integers right of and below an empty corner are labels."""
    if all(_has_fractions(row[1:], style) for row in body):
        return True
    is_long = min(len(rest), len(column)) > 2
    return _rises(rest) and _rises(column) and (is_long or counts(rest) or counts(column))


def _names_columns(first: Sequence[str], body: Rows, index: int, style: Style) -> bool:
    """Whether numbers beside labels of rows are labels of columns: the corner, or they, say so."""
    corner, rest = [cell.strip() for cell in first[:index]], first[index:]
    if not any(corner):
        return True
    if not _rises(rest) or len(rest) < 2:
        return False
    if counts(rest):
        named = all(cell.casefold() in _LABELS or cell.endswith(_ENDINGS) for cell in corner)
        return named or all(_has_fractions(row, style) for row in body)
    return _are_years(rest) and not all(map(_are_years, body))


def _are_years(cells: Sequence[str]) -> bool:
    return all(is_integer(cell) and int(cell) in _YEARS for cell in cells)


def _counts_above_fractions(first: Sequence[str], body: Rows, style: Style) -> bool:
    """Whether the first row counts from zero, and no other number is written as an integer."""
    zero = len(first) > 1 and counts(first) and first[0].strip() == "0"
    return zero and len(body) > 1 and all(_has_fractions(row, style) for row in body)


def _has_fractions(cells: Sequence[str], style: Style) -> bool:
    """Whether every number has a decimal mark or an exponent."""
    return all(style.is_missing(cell) or has_point(cell, style) for cell in cells)


def _is_distinct(cells: Sequence[str]) -> bool:
    return all(map(is_integer, cells)) and len(set(cells)) == len(cells)


def _rises(cells: Sequence[str]) -> bool:
    if not all(map(is_integer, cells)):
        return False
    numbers = [int(cell) for cell in cells]
    return all(a < b for a, b in pairwise(numbers))


def _first_column_is_index(rows: Rows, width: int, header: int, style: Style) -> bool:
    """Whether the first column, of numbers, names rows."""
    body = [row for row in rows[header:] if len(row) >= width - 1 and row]
    column = [row[0] for row in body]
    if width < 2 or not column:
        return False
    if header and len(rows[0]) == width:
        name = rows[0][0].strip()
        if not name and any(cell.strip() for cell in rows[0][1:]):
            return True
        if (name.casefold() in _LABELS or name.endswith(_ENDINGS)) and _is_distinct(column):
            return True
    fractions = all(_has_fractions(row[1:], style) for row in body)
    many = len(column) > 2 or column[0].strip() == "0"
    return width > 2 and len(column) > 1 and many and counts(column) and fractions


def _doubts(rows: Rows, header: int, index: int, options: ReadingOptions) -> tuple[str, ...]:
    """Say what counts, and was taken for data."""
    doubts = []
    if header == 0 and options.header_rows is None and len(rows[0]) > 2 and counts(rows[0]):
        doubts.append("the first row counts, and was read as data: --header yes takes it for names")
    column = [row[0] for row in rows[header:] if row]
    if index == 0 and options.index_columns is None and len(column) > 2 and counts(column):
        doubts.append("the first column counts, and was read as data: --index yes for names")
    return tuple(doubts)
