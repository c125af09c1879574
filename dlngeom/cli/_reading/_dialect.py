"""Separator and decimal mark of a table of text, found from its first rows."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlngeom.cli._reading._cells import MISSING, Style, split
from dlngeom.cli._reading._source import ReadingOptions

__all__ = ["common_width", "find_style"]

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
    separators = _candidates(lines, options)
    decimals = (".", ",") if options.decimal is None else (_decimal(options.decimal),)
    thousands = options.thousands or ""
    best, style = -1.0, Style(",", decimals[0], thousands, missing)
    for separator in separators:
        rows = _rows(lines, separator)
        for decimal in decimals:
            candidate = Style(separator, decimal, thousands, missing)
            if decimal != thousands and (score := _fit(rows, candidate)) > best:
                best, style = score, candidate
    if style.decimal == "," and options.decimal is None:
        _require_decimals(path, _rows(lines, style.separator), style)
    return style


def common_width(rows: Sequence[Sequence[str]]) -> int:
    """Return how many cells most rows have, the larger of two equally frequent numbers."""
    widths = Counter(map(len, rows))
    return max(widths, key=lambda width: (widths[width], width))


def _candidates(lines: Sequence[str], options: ReadingOptions) -> tuple[str, ...]:
    if options.separator is not None:
        return (_spelled(options.separator),)
    strong = tuple(x for x in _STRONG if _is_regular(_rows(lines, x)))
    return strong or (*_STRONG, *_WEAK)


def _is_regular(rows: list[list[str]]) -> bool:
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


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    try:
        return list(split(lines, separator))
    except csv.Error:
        return []


def _fit(rows: list[list[str]], style: Style) -> float:
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


def _require_decimals(path: Path, rows: list[list[str]], style: Style) -> None:
    """Refuse commas between cells and within quotes that look like those of thousands."""
    marked = [cell.strip() for cell in _filled(rows) if "," in cell and not style.is_text(cell)]
    if style.separator == "," and all(map(_GROUPED.fullmatch, marked)):
        raise ValueError(
            f"{path} looks like a table separated by commas with numbers such as {marked[0]!r}: "
            "--thousands , reads 1,234 as 1234, and --decimal , as 1.234"
        )
