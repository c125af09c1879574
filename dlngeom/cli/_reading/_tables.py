"""Tables of text: reading them cell by cell, and writing a completed one in the same form."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli._reading import _triples
from dlngeom.cli._reading._cells import Style, is_integer, separator_name, split
from dlngeom.cli._reading._dialect import common_width, cuts_alike, find_style
from dlngeom.cli._reading._labels import Layout, find_layout
from dlngeom.cli._reading._source import ReadingOptions, Source, require_size
from dlngeom.cli._reading._text import encoding_of, is_comment, lines, suffix_of

__all__ = ["Labels", "read", "write_table"]

# Lines that the style and the labels are found from, few of them if they are long.
_HEAD, _FEWEST, _CHARACTERS = 1000, 20, 2**18

# Cells that are kept as text.
_BLOCK = 2**20

# Significant digits of predictions; what was observed is written as it was.
_DIGITS = 10


class Labels(NamedTuple):
    """Rows and columns of labels, as they stood.

    Attributes
    ----------
    above : list of list of str
        Rows above the numbers, with the cells above the index.
    beside : list of list of str
        Cells to the left of the numbers, for each row.
    """

    above: list[list[str]]
    beside: list[list[str]]


class _Table(NamedTuple):
    """A file of text, and how it is written."""

    path: Path
    encoding: str
    style: Style
    skip: int
    drop: frozenset[int] = frozenset()

    def rows(self) -> Iterator[list[str]]:
        """Yield the rows of cells, without the columns that are left out."""
        found = lines(self.path, self.encoding, self.skip)
        try:
            for row in _cut(found, self.style.separator):
                yield [cell for j, cell in enumerate(row) if j not in self.drop]
        except csv.Error as error:
            raise ValueError(f"{self.path} is no table of text: {error}") from None


def read(path: Path, options: ReadingOptions) -> Source:
    """Read a table of text.

    Raises
    ------
    ValueError
        If it is no table of numbers, with what it looks like and the option that may read it.
    """
    encoding = encoding_of(path)
    head = _head(lines(path, encoding, options.skip))
    heading = _heading(head)
    head = [line for line in head if not is_comment(line)]
    if not head:
        raise ValueError(f"{path} is empty")
    style = find_style(path, head, options)
    table = _Table(path, encoding, style, options.skip)
    rows = list(itertools.islice(table.rows(), len(head)))
    if options.drop:
        table = table._replace(drop=_dropped(path, rows, options.drop))
        rows = list(itertools.islice(table.rows(), len(head)))
    if _triples.is_meant(rows, style, options):
        return _triples.read(path, table.rows(), style, options)
    return _matrix(table, rows, heading, options)


def _head(found: Iterable[str]) -> list[str]:
    """First lines of a text."""
    head, count, size = [], 0, 0
    for line in found:
        head.append(line)
        count, size = count + (not is_comment(line)), size + len(line)
        if count >= _HEAD or (size > _CHARACTERS and count >= _FEWEST):
            break
    return head


def _cut(found: Iterable[str], separator: str) -> Iterator[list[str]]:
    return split((line for line in found if not is_comment(line)), separator)


def _heading(head: Sequence[str]) -> str:
    """Comment right above the first row, which may name the columns."""
    comments = list(itertools.takewhile(is_comment, head))
    return comments[-1].lstrip("#%") if comments else ""


def _matrix(table: _Table, rows: list[list[str]], heading: str, options: ReadingOptions) -> Source:
    layout = find_layout(rows, table.style, options)
    values, labels = _parsed(table, layout)
    named = _names_in(heading, table.style, layout, labels)
    if named:
        labels.above.append(named)
    values, labels, closing = _without_last(values, labels)
    notes = [_described(table, layout, labels), *layout.doubts]
    if _triples.may_be_meant(rows, layout.header_rows):
        notes.append("if each row is a label of a row, one of a column and a value: --triples")
    notes += _cures_of_narrow(table, layout, values.shape)
    if closing:
        notes.append("each row ends with a separator, which makes no column")

    def write(path: Path, completed: NumpyArray) -> None:
        write_table(path, completed, values, labels, table.style)

    return Source(values, suffix_of(table.path), write, tuple(notes))


def _cures_of_narrow(table: _Table, layout: Layout, shape: tuple[int, ...]) -> list[str]:
    """Options that would read more of a table of which one row or column of numbers is left."""
    cures = []
    if shape[1] < 2:
        head = _head(x for x in lines(table.path, table.encoding, table.skip) if not is_comment(x))
        others = [x for x in cuts_alike(head) if x != table.style.separator]
        if layout.index_columns == 2:
            cures.append("--triples reads labels of a row and a column, and the value there")
        elif layout.index_columns:
            cures.append("--index no reads all columns as numbers")
        marks = f", here at {' or '.join(map(separator_name, others))}" if others else ""
        cures.append(f"--separator MARK cuts the lines elsewhere{marks}")
    if shape[0] < 2 and layout.header_rows:
        cures.append("--header no reads all rows as numbers")
    return cures


def _parsed(table: _Table, layout: Layout) -> tuple[NumpyArray, Labels]:
    """Numbers and labels of all rows, in blocks, so that cells of few rows are kept as text."""
    labels, blocks, block, count = Labels([], []), [np.empty((0, 0))], [], 0
    for number, row in enumerate(table.rows(), start=1):
        cells = _fitted(table, layout, number, row)
        if number <= layout.header_rows:
            labels.above.append(cells)
            continue
        if layout.index_columns:
            labels.beside.append(cells[: layout.index_columns])
        block.append(_numbers(table, layout, number, cells))
        if len(block) * layout.width >= _BLOCK:
            count += len(block)
            require_size(table.path, (count, layout.width - layout.index_columns))
            blocks.append(np.array(block))
            block = []
    if block:
        blocks.append(np.array(block))
    if len(blocks) == 1:
        raise ValueError(
            f"{table.path} has {layout.header_rows} rows of labels and no other: --header"
        )
    return np.concatenate(blocks[1:]), labels


def _fitted(table: _Table, layout: Layout, number: int, row: list[str]) -> list[str]:
    """Row with as many cells as the others, without what a closing separator adds."""
    if len(row) == layout.width + 1 and not row[-1].strip():
        row = row[:-1]
    if number == 1 and layout.header_rows and layout.index_columns and len(row) == layout.width - 1:
        return ["", *row]
    if len(row) != layout.width:
        raise ValueError(
            f"{table.path}: row {number} has {len(row)} cells, row {1 if number > 1 else 2} has "
            f"{layout.width}: {_looks(table, layout)}; --separator cuts it otherwise, and --skip "
            "leaves lines out above the table"
        )
    return row


def _numbers(table: _Table, layout: Layout, number: int, cells: Sequence[str]) -> list[float]:
    values = table.style.numbers(cells[layout.index_columns :])
    if None not in values and np.inf not in values and -np.inf not in values:
        return values  # type: ignore[return-value]
    for j, x in enumerate(values, start=layout.index_columns):
        if x is None or x in (np.inf, -np.inf):
            _refuse_cell(table, layout, number, j, cells[j].strip())
    return values  # type: ignore[return-value]


def _refuse_cell(table: _Table, layout: Layout, number: int, j: int, cell: str) -> NoReturn:
    shown = cell if len(cell) <= 40 else f"{cell[:37]}..."
    cures = [f"--missing-value {shown!r} reads it as missing"]
    if j == layout.index_columns:
        cures.append(f"--index {j + 1} takes {_counted(j + 1, 'column')} for labels")
    if number == layout.header_rows + 1:
        cures.append(f"--header {number} takes {_counted(number, 'row')} for labels")
    if not table.style.is_name(cell):
        cures.append("--decimal and --thousands say what the marks in numbers mean")
    raise ValueError(
        f"{table.path}: row {number}, column {j + 1} is {shown!r}: a cell must be a finite number, "
        f"or empty where the entry is missing. {_looks(table, layout)}; {', '.join(cures)}, "
        f"--drop {j + 1} leaves the column out"
    )


def _looks(table: _Table, layout: Layout) -> str:
    return (
        f"It looks like a table of {layout.width} columns cut at "
        f"{separator_name(table.style.separator)}, {_counted(layout.header_rows, 'row')} and "
        f"{_counted(layout.index_columns, 'column')} of labels"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}" + "s" * (count > 1)


def _names_in(heading: str, style: Style, layout: Layout, labels: Labels) -> list[str]:
    """Labels in a comment above the table, if there are as many as columns, or one less."""
    cells = [cell.strip() for row in split([heading], style.separator) for cell in row]
    if labels.above or not cells or not all(map(style.is_text, cells)):
        return []
    missing = layout.width - len(cells)
    return [""] * missing + cells if missing in (0, layout.index_columns) else []


def _without_last(values: NumpyArray, labels: Labels) -> tuple[NumpyArray, Labels, bool]:
    """Leave out a last column that nothing is in, unless it has a name: lines end so."""
    nameless = not any(row[-1].strip() for row in labels.above)
    if values.shape[1] < 3 or not nameless or not np.isnan(values[:, -1]).all():
        return values, labels, False
    header = [row[:-1] for row in labels.above]
    return values[:, :-1], Labels(header, labels.beside), True


def _dropped(path: Path, rows: list[list[str]], drop: Sequence[str]) -> frozenset[int]:
    """Places of columns that an option names, or counts from one."""
    names, width = [cell.strip() for cell in rows[0]], common_width(rows)
    if len(names) < width and drop:
        raise ValueError(f"{path}: --drop needs a header with a cell above each column")
    places = []
    for column in drop:
        j = names.index(column) if column in names else _number(column) - 1
        if not 0 <= j < width:
            raise ValueError(
                f"--drop {column!r}: {path} has no such column; give a name or a number from 1 to "
                f"{width}"
            )
        places.append(j)
    return frozenset(places)


def _number(text: str) -> int:
    return int(text) if is_integer(text) else 0


def _described(table: _Table, layout: Layout, labels: Labels) -> str:
    """Say how a table was read, and what was taken for labels."""
    style, parts = table.style, []
    names = labels.above[0][layout.index_columns :] if labels.above else []
    parts.append(f"column labels {_shown(names)}" if labels.above else "no column labels")
    rows = [" ".join(row) for row in labels.beside[:4]]
    parts.append(f"row labels {_shown(rows)}" if labels.beside else "no row labels")
    marks = f"cut at {separator_name(style.separator)}, decimal {style.decimal!r}"
    return f"{table.path.name} in {table.encoding}: {marks}, {', '.join(parts)}"


def _shown(names: Sequence[str]) -> str:
    few = ", ".join(repr(name.strip()) for name in names[:3])
    return few + ", ..." * (len(names) > 3)


def write_table(
    path: Path, completed: NumpyArray, given: NumpyArray, labels: Labels, style: Style
) -> None:
    """Write a table with the labels, separator and decimal mark of the one that was read."""
    observed = completed == given
    separator = style.separator if len(style.separator) == 1 else "\t"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        writer.writerows(labels.above)
        for i, row in enumerate(completed.tolist()):
            cells = [
                style.written(x if seen else float(f"{x:.{_DIGITS}g}"))
                for x, seen in zip(row, observed[i], strict=True)
            ]
            writer.writerow([*(labels.beside[i] if labels.beside else ()), *cells])
