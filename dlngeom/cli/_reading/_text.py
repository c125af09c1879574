"""Lines of a file of text, in whatever encoding and compression it has."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from dlngeom.cli._reading._source import GIB, LARGEST_TEXT

__all__ = ["encoding_of", "is_comment", "lines", "suffix_of"]

# UTF-32 stands first, since its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_SAMPLE = 2**12

# Lines that begin so are comments, unless a spreadsheet marks a missing entry so.
_COMMENTS, _NO_COMMENTS = ("#", "%"), ("#N/A", "#NA")


# A line by which a spreadsheet is told the separator.
_SEPARATOR = re.compile(r'"?sep=.?"?', re.IGNORECASE)


def suffix_of(path: Path) -> str:
    """Suffix of a file without that of its compression."""
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def is_comment(line: str) -> bool:
    """Whether a line is a comment."""
    if _SEPARATOR.fullmatch(line.strip()):
        return True
    return line.startswith(_COMMENTS) and not line.startswith(_NO_COMMENTS)


def lines(path: Path, encoding: str, skip: int = 0) -> Iterator[str]:
    """Yield the lines of a file that are not empty; comments too.

    Raises
    ------
    ValueError
        If it holds no text, or too much of it.
    """
    read, number = 0, 0
    try:
        with _opened(path, encoding) as stream:
            for line in stream:
                number, read = number + 1, read + len(line)
                if read > LARGEST_TEXT:
                    raise ValueError(_too_large(path, read))
                if number > skip and line.strip(" \n"):
                    yield line
    except UnicodeError as error:
        raise ValueError(f"{path} is no text in {encoding}: {error}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}") from None


def encoding_of(path: Path) -> str:
    """Find the encoding of a text: its mark, UTF-16 if it has zeros, UTF-8, else Windows'.

    Raises
    ------
    ValueError
        If it is too large, or holds no text.
    """
    if (size := path.stat().st_size) > LARGEST_TEXT:
        raise ValueError(_too_large(path, size))
    start = _start(path)
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            _require_text(path, _decodes(path, encoding))
            return encoding
    even, odd = start[::2].count(0), start[1::2].count(0)
    if even or odd:
        encoding = "utf-16-le" if odd else "utf-16-be"
        is_text = min(even, odd) == 0 and 2 * max(even, odd) > len(start) // 3
        _require_text(path, is_text and _decodes(path, encoding))
        return encoding
    return "utf-8" if _decodes(path, "utf-8") else "cp1252"


def _require_text(path: Path, is_text: bool) -> None:
    if not is_text:
        raise ValueError(f"{path} holds bytes that are no text: name it after its kind of file")


def _start(path: Path) -> bytes:
    try:
        with _bytes(path) as stream:
            return stream.read(_SAMPLE)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}") from None


def _decodes(path: Path, encoding: str) -> bool:
    """Whether all of a file is text in an encoding, read in blocks, since it may be one line."""
    decoder = codecs.getincrementaldecoder(encoding)()
    read = 0
    try:
        with _bytes(path) as stream:
            while block := stream.read(2**20):
                if (read := read + len(block)) > LARGEST_TEXT:
                    raise ValueError(_too_large(path, read))
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}") from None
    return True


def _bytes(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.GzipFile(path)) if is_gzip else path.open("rb")


def _opened(path: Path, encoding: str) -> IO[str]:
    # Lines end in any of the three ways; the csv module would take a lone return for an error.
    return io.TextIOWrapper(_bytes(path), encoding=encoding, newline=None)


def _too_large(path: Path, size: int) -> str:
    return (
        f"{path} is a file of {size / GIB:.3g} GiB: at most {LARGEST_TEXT / GIB:g} GiB of text "
        "are read, give a smaller matrix or a .npy"
    )
