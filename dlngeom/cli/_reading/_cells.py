"""Cells of a table of text: how lines are cut into them, and which of them are numbers."""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["MISSING", "Style", "counts", "has_point", "is_integer", "separator_name", "split"]

# Marks of missing entries, whatever their case.
MISSING = frozenset({"", "na", "nan", "null", "none", "?", "-", "n/a", "#n/a", "#na", "<na>"})

# What float() takes beyond this, underscores and digits of other scripts, is no number here.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.I)
# Of these characters float() reads nothing but such numbers.
_PLAIN = re.compile(r"[0-9eE.+-]*")

# Numbers in another style than that of the table: mistakes rather than names.
_FOREIGN = re.compile(
    r"[+-]?[$€£¥]? ?(\d+|\d*[.,]\d*|\d{1,3}([.,' ]\d{3})+([.,]\d+)?|\d+(_\d+)+) ?[%$€£¥]?",
    re.ASCII,
)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blanks"}


class Style(NamedTuple):
    """How a table is written.

    Attributes
    ----------
    separator, decimal : str
    thousands : str
        Mark between groups of three digits, or nothing.
    missing : frozenset of str
        Marks of missing entries, in lower case.
    """

    separator: str = ","
    decimal: str = "."
    thousands: str = ""
    missing: frozenset[str] = MISSING

    def is_missing(self, cell: str) -> bool:
        """Whether a cell marks a missing entry."""
        return cell.strip().casefold() in self.missing

    def number(self, cell: str) -> float | None:
        """Value of a cell, NaN where an entry is missing, None if it is neither."""
        cell = cell.strip()
        if cell.casefold() in self.missing:
            return math.nan
        cell = cell.replace("\u2212", "-")
        if self.thousands:
            cell = cell.replace(self.thousands, "")
        if self.decimal != ".":
            cell = "text" if "." in cell else cell.replace(self.decimal, ".")
        return float(cell) if _NUMBER.fullmatch(cell) else None

    def numbers(self, cells: Sequence[str]) -> list[float | None]:
        """Values of a row, as :meth:`number` of each cell."""
        # Most rows are so, and files have many.
        if self.decimal == "." and _PLAIN.fullmatch("".join(cells)):
            with contextlib.suppress(ValueError):
                return [float(cell) if cell else math.nan for cell in cells]
        return [self.number(cell) for cell in cells]

    def is_text(self, cell: str) -> bool:
        """Whether a cell holds neither a number nor a mark of a missing entry."""
        return self.number(cell) is None

    def is_name(self, cell: str) -> bool:
        """Whether a cell is text that looks like no number of any style."""
        return self.is_text(cell) and _FOREIGN.fullmatch(cell.strip()) is None

    def written(self, value: float) -> str:
        """Cell of a number, with as few digits as give it back."""
        text = str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        return text.replace(".", self.decimal)


def is_integer(cell: str) -> bool:
    """Whether a cell is written as an integer, as labels are that count."""
    return _INTEGER.fullmatch(cell.strip()) is not None


def has_point(cell: str, style: Style) -> bool:
    """Whether a cell is a number that is not written as an integer."""
    value = style.number(cell)
    return value is not None and not math.isnan(value) and not is_integer(cell)


def counts(cells: Iterable[str]) -> bool:
    """Whether cells count 0, 1, 2 or 1, 2, 3 and so on."""
    texts = [cell.strip() for cell in cells]
    return any(texts == [str(k + first) for k in range(len(texts))] for first in (0, 1))


def split(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Cut lines into cells; quotes keep what they enclose together.

    Raises
    ------
    csv.Error
        If quotes or cells are beyond what the csv module reads.
    """
    if separator == " ":
        lines = (line.replace("\t", " ").rstrip(" \n") for line in lines)
    elif separator == "::":
        # The csv module cuts at one character.
        lines, separator = (line.replace("::", "\x1f") for line in lines), "\x1f"
    return csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t")


def separator_name(separator: str) -> str:
    """Name of a separator, for messages."""
    return _NAMES.get(separator, repr(separator))
