"""Separator and decimal mark of a table of text, found from its first rows."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dlngeom.cli._reading._cells import MISSING, Style, split
from dlngeom.cli._reading._source import ReadingOptions
from dlngeom.cli._reading._triples import names_triples

__all__ = ["common_width", "cuts_alike", "find_style"]

Rows = list[list[str]]

# Text and numbers hold commas and blanks too, so the first ones are taken where all rows have as
# many; of those that fit equally well, the first.
_STRONG, _WEAK = ("\t", ";", "|", "::"), (",", " ")

_SPELLED = {"tab": "\t", "\\t": "\t", "blank": " ", "blanks": " ", "space": " ", "comma": ",",
            "semicolon": ";", "bar": "|", "whitespace": " ", "\\s+": " "}  # fmt: skip

_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+", re.ASCII)


def find_style(path: Path, lines: Sequence[str], options: ReadingOptions) -> Style:
    """Choose the separator and decimal mark with which most cells are numbers.

    Raises
    ------
    ValueError
        If an option is no such mark, or commas may as well separate thousands.
    """
    missing = MISSING | {mark.strip().casefold() for mark in options.missing_values}
    decimals = (".", ",") if options.decimal is None else (_decimal(options.decimal),)
    thousands = options.thousands or ""
    cuts, are_triples = _cuts(lines, options)
    best, style = -1.0, Style(",", decimals[0], thousands, missing)
    for separator, rows in cuts.items():
        for decimal in decimals:
            candidate = Style(separator, decimal, thousands, missing)
            if decimal == thousands or _is_poorer(rows, candidate, cuts):
                continue
            score = _fit_of_triples(rows, candidate) if are_triples else _fit(rows, candidate)
            if score > best:
                best, style = score, candidate
    if style.decimal == "," and options.decimal is None:
        _require_decimals(path, _rows(lines, style.separator), style)
    return style


def common_width(rows: Sequence[Sequence[str]]) -> int:
    """Return how many cells most rows have, the larger of two equally frequent numbers."""
    widths = Counter(map(len, rows))
    return max(widths, key=lambda width: (widths[width], width))


def cuts_alike(lines: Sequence[str]) -> dict[str, int]:
    """Separators that cut every line into as many cells, two or more, and how many these are."""
    found = {separator: _rows(lines, separator) for separator in (*_STRONG, *_WEAK)}
    return {x: len(rows[0]) for x, rows in found.items() if _is_even(rows)}


def _cuts(lines: Sequence[str], options: ReadingOptions) -> tuple[dict[str, Rows], bool]:
    """Rows of cells of each separator that may be meant, and whether these are of triples."""
    if options.separator is not None:
        separator = _spelled(options.separator)
        return {separator: _rows(lines, separator)}, False
    cuts = {separator: _rows(lines, separator) for separator in (*_STRONG, *_WEAK)}
    named = {x: rows for x, rows in cuts.items() if rows and names_triples(rows[0])}
    # A header says best how lines are cut; labels and numbers may hold other marks.
    if any(map(_is_even, cuts.values())):
        cuts = {x: rows for x, rows in cuts.items() if _has_fitting_header(rows)}
    long = {x: rows for x, rows in cuts.items() if rows and common_width(rows) > 2}
    if named or (options.triples and long):
        return named or long, True
    strong = {x: cuts[x] for x in _STRONG if x in cuts and _is_regular(cuts[x])}
    return strong or cuts, False


def _is_even(rows: Rows) -> bool:
    """Whether all rows have as many cells, and more than one."""
    return len({len(row) for row in rows}) == 1 and len(rows[0]) > 1


def _has_fitting_header(rows: Rows) -> bool:
    """Whether the first row is as long as the others, but for cells above an index."""
    return bool(rows) and 1 < len(rows[0]) >= common_width(rows) - 1


def _is_poorer(rows: Rows, style: Style, cuts: Mapping[str, Rows]) -> bool:
    """Whether it leaves one column of numbers, and another separator cuts all rows alike."""
    if not rows:
        return False
    width, body, is_blank = common_width(rows), rows[1:] or rows, style.separator == " "
    others = (x for mark, x in cuts.items() if mark not in (" ", style.separator))
    # Labels hold blanks more often than other marks.
    if not any(_is_even(x) and (is_blank or len(x[0]) > width) for x in others):
        return False
    columns = ([row[j] for row in body if len(row) == width] for j in range(width))
    return sum(not all(map(style.is_text, column)) for column in columns) < 2


def _is_regular(rows: Rows) -> bool:
    """Whether all rows but the first, which may be a header, have as many cells."""
    widths = {len(row) for row in rows[1:] or rows}
    return len(widths) == 1 and min(widths) > 1 and len(rows[0]) > 1


def _spelled(separator: str) -> str:
    separator = _SPELLED.get(separator.casefold(), separator)
    if separator != "::" and (len(separator) != 1 or separator in '"\n\r' or separator.isalnum()):
        raise ValueError(
            f"--separator {separator!r}: it must be one character that is no letter, digit or "
            "quote, '::', or one of tab, blank, comma, semicolon, bar"
        )
    return separator


def _decimal(mark: str) -> str:
    mark = {"point": ".", "comma": ","}.get(mark.casefold(), mark)
    if mark not in (".", ","):
        raise ValueError(f"--decimal {mark!r}: it must be '.' or ','")
    return mark


def _rows(lines: Sequence[str], separator: str) -> Rows:
    try:
        return list(split(lines, separator))
    except csv.Error:
        return []


def _fit_of_triples(rows: Rows, style: Style) -> float:
    """Share of rows whose third cell is a number, or marks a missing one."""
    body = rows[1:] or rows
    return sum(len(row) > 2 and not style.is_text(row[2]) for row in body) / len(body)


def _fit(rows: Rows, style: Style) -> float:
    """Share of rows of the common width, times that of cells that are numbers."""
    if not rows or (width := common_width(rows)) < 2:
        return -1.0
    cells = list(_filled(rows[1:] or rows))
    numbers = sum(not style.is_text(cell) for cell in cells) / max(len(cells), 1)
    # A header may lack the cell above the index, and a line may end with a separator.
    fitting = sum(len(row) == width for row in rows) + sum(len(row) != width for row in rows[:1])
    # Blanks stand within labels, too, beside numbers.
    doubt = 0.1 if style.separator == " " and numbers < 1 - 1.01 / width else 1
    return fitting / len(rows) * (1e-3 + numbers) * doubt


def _filled(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    return (cell for row in rows for cell in row if cell.strip())


def _require_decimals(path: Path, rows: Rows, style: Style) -> None:
    """Refuse commas between cells and within quotes that look like those of thousands."""
    marked = [cell.strip() for cell in _filled(rows) if "," in cell and not style.is_text(cell)]
    if style.separator == "," and all(map(_GROUPED.fullmatch, marked)):
        raise ValueError(
            f"{path} looks like a table separated by commas with numbers such as {marked[0]!r}: "
            "--thousands , reads 1,234 as 1234, and --decimal , as 1.234"
        )
