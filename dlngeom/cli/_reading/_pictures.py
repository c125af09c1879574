"""Pictures of every mode as matrices from 0 to 1, and back to as many bits as they had."""

from __future__ import annotations

import math
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli._reading._source import ReadingOptions, Source, require_size

__all__ = ["SUFFIXES", "read", "write_grey"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".pgm", ".ppm")

# Tag of a TIFF that says which number stands for a missing one.
_NO_DATA = 42113

# Raw modes of Pillow that take the upper of two bytes, and those that take the lower one instead.
_LOWER = {
    "16B": "16L",
    "16L": "16B",
    "16N": "16B" if sys.byteorder == "little" else "16L",
}


class _Pixels(NamedTuple):
    """Colours of a picture, and which of its pixels are there.

    Attributes
    ----------
    colours : array (height, width, channels)
    seen : bool array (height, width)
    bits : int
        Of a channel: 8, 16, or 32 for numbers without a scale.
    notes : tuple of str
    """

    colours: NumpyArray
    seen: NumpyArray
    bits: int
    notes: tuple[str, ...] = ()


def read(path: Path, options: ReadingOptions) -> Source:
    """Read a picture: its colours side by side, missing where it is transparent."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _opened(path) as picture:
            is_grey = picture.mode in ("1", "L", "LA", "F") or picture.mode.startswith("I")
            require_size(path, (picture.height, picture.width) + (3,) * (not is_grey))
            pixels = _pixels(path, picture)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large: {error}") from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{path} is no picture that can be read: save it as PNG, or as TIFF of one channel"
        ) from None
    except MemoryError:
        raise
    except Exception as error:
        # Pillow raises whatever comes up in the bytes of a damaged file.
        text = str(error)
        said = text if text.startswith(str(path)) else f"{path} is a damaged picture: {error}"
        raise ValueError(said) from None
    return _source(path, pixels)


def _opened(path: Path) -> Any:
    from PIL import Image

    with warnings.catch_warnings():
        # Its limit warns of sizes that are read here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _source(path: Path, pixels: _Pixels) -> Source:
    colours = np.where(pixels.seen[..., None], pixels.colours, np.nan)
    height, width, channels = colours.shape
    values = np.moveaxis(colours, 2, 1).reshape(height, channels * width)
    kinds = {1: "a grey picture", 3: "a picture in colour"}
    depth = {8: "8 bits", 16: "16 bits", 32: "numbers as they are"}[pixels.bits]
    notes = [f"{path.name}: {kinds[channels]}, {depth}", *pixels.notes]
    if not pixels.seen.all():
        share = 1 - pixels.seen.mean()
        notes.append(f"{share:.1%} of its pixels are transparent or not given: missing")
    writer, suffix = _writer(channels, pixels.bits)
    return Source(values, suffix, writer, tuple(notes), channels)


def _pixels(path: Path, picture: Any) -> _Pixels:
    """Pixels of the first frame, turned as a camera says."""
    notes = []
    if getattr(picture, "n_frames", 1) > 1:
        notes.append(f"the first of {picture.n_frames} frames")
    found = _deep_colours(path, picture) or _numbers(picture) or _shallow(picture)
    # Pillow turns some kinds of pictures itself as it loads them, and then says so here.
    if turn := _orientation(picture):
        notes.append("turned as its EXIF orientation says")
    return found._replace(
        colours=_turned(found.colours, turn), seen=_turned(found.seen, turn), notes=tuple(notes)
    )


def _orientation(picture: Any) -> int:
    turn = picture.getexif().get(0x0112, 1)
    return turn if turn in range(2, 9) else 0


def _turned(pixels: NumpyArray, orientation: int) -> NumpyArray:
    """Undo an orientation of EXIF: 5 to 8 swap axes, then rows and columns may be reversed."""
    if orientation > 4:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _shallow(picture: Any) -> _Pixels:
    """Pixels of eight bits; grey if no pixel has a colour."""
    # Of a palette or a single transparent colour, only the conversion knows what is transparent.
    rgba = np.asarray(picture.convert("RGBA"))
    return _Pixels(_without_colour(rgba[..., :3]) / 255, rgba[..., 3] > 0, 8)


def _numbers(picture: Any) -> _Pixels | None:
    """Pixels of one channel of more than eight bits."""
    if not picture.mode.startswith(("I", "F")):
        return None
    format_, tags = picture.format, getattr(picture, "tag_v2", {})
    transparent = picture.info.get("transparency")
    values = np.array(picture, dtype=np.float64)
    seen = np.isfinite(values)
    try:
        missing = float(str(tags.get(_NO_DATA, transparent)).strip("\0 "))
    except ValueError:
        missing = math.nan
    # Beyond the digits of what is written for it.
    seen &= ~np.isclose(values, missing, rtol=1e-6, atol=0)
    deep = picture.mode.startswith("I;16") or (picture.mode == "I" and format_ != "TIFF")
    scale = 65535 if deep else 1
    return _Pixels((values / scale)[..., None], seen, 16 if deep else 32)


def _deep_colours(path: Path, picture: Any) -> _Pixels | None:
    """Colours of sixteen bits, which Pillow cuts to eight: decoded twice, for either byte."""
    modes = {_raw_mode(tile.args) for tile in picture.tile}
    if len(modes) != 1 or picture.mode.startswith(("I", "CMYK")):
        return None
    if "16" not in (mode := modes.pop()):
        return None
    if mode == "LA;16B":
        # A pixel's four bytes, as if they were four channels.
        parts = _decoded(path, "RGBA")
        deep = parts[..., ::2] * 256 + parts[..., 1::2]
    else:
        high = np.asarray(picture).astype(np.uint16)
        deep = high * 256 + _decoded(path, mode[:-3] + _LOWER[mode[-3:]])
    has_alpha = deep.shape[2] % 2 == 0
    colours = deep[..., :-1] if has_alpha else deep
    seen = deep[..., -1] > 0 if has_alpha else np.ones(deep.shape[:2], dtype=bool)
    return _Pixels(_without_colour(colours) / 65535, seen, 16)


def _decoded(path: Path, mode: str) -> NumpyArray:
    """Bytes of a picture that are unpacked in another raw mode."""
    with _opened(path) as again:
        again.tile = [_with_mode(tile, mode) for tile in again.tile]
        return np.asarray(again).astype(np.uint16)


def _without_colour(colours: NumpyArray) -> NumpyArray:
    """One channel, if all of them are equal."""
    return colours[..., :1] if np.all(colours == colours[..., :1]) else colours


def _raw_mode(args: Any) -> str:
    return str(args if isinstance(args, str) else args[0])


def _with_mode(tile: Any, mode: str) -> Any:
    args = mode if isinstance(tile.args, str) else (mode, *tile.args[1:])
    return tile._replace(args=args)


def _writer(channels: int, bits: int) -> tuple[Callable[[Path, NumpyArray], None], str]:
    if bits == 32:
        return _write_numbers, ".tiff"

    def write(path: Path, values: NumpyArray) -> None:
        _write_png(path, values, channels, bits)

    return write, ".png"


def _write_numbers(path: Path, values: NumpyArray) -> None:
    from PIL import Image

    Image.fromarray(values.astype(np.float32)).save(path)


def write_grey(path: Path, values: NumpyArray) -> None:
    """Write a grey picture of eight bits."""
    _write_png(path, values, 1, 8)


def _write_png(path: Path, values: NumpyArray, channels: int, bits: int) -> None:
    """Write a PNG, whose colours of sixteen bits Pillow cannot write."""
    height, width = values.shape[0], values.shape[1] // channels
    colours = np.moveaxis(values.reshape(height, channels, width), 1, 2)
    top = 2**bits - 1
    whole = np.clip(np.round(colours * top), 0, top).astype(">u2" if bits == 16 else np.uint8)
    lines = np.ascontiguousarray(whole).reshape(height, -1).view(np.uint8)
    # Each line begins with its filter, which is none.
    data = np.pad(lines, ((0, 0), (1, 0))).tobytes()
    head = struct.pack(">IIBBBBB", width, height, bits, 2 if channels == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts))


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check
