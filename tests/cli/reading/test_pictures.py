"""Pictures of every mode are read right, and come back with as many bits and colours."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from dlngeom import plotting
from dlngeom.cli import main
from dlngeom.cli._reading import ReadingOptions, read

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, size=(12, 9)).astype(np.uint8)
COLOURS = RNG.integers(0, 256, size=(12, 9, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, size=(12, 9)).astype(np.uint16)
ALPHA = np.where(GREY > 60, 255, 0).astype(np.uint8)
FLOATS = np.where(GREY > 200, np.nan, 50 * RNG.normal(size=(12, 9))).astype(np.float32)


def side_by_side(colours):
    return np.concatenate(list(np.moveaxis(colours, 2, 0)), axis=1)


def hidden(values):
    seen = ALPHA > 0
    return np.where(seen if values.ndim == 2 else seen[..., None], values, np.nan)


def picture(values, mode=None):
    made = Image.fromarray(values)
    return made if mode is None else made.convert(mode)


def chunk(kind, data):
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def deep_png(path, values, kind):
    """PNG of sixteen bits, which Pillow cannot write in colour."""
    height, width = values.shape[:2]
    lines = values.reshape(height, -1).astype(">u2").view(np.uint8).reshape(height, -1)
    data = zlib.compress(np.pad(lines, ((0, 0), (1, 0))).tobytes())
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def deep(channels):
    """Picture of sixteen bits, whose last channel tells what is transparent if they are even."""
    values = RNG.integers(1, 65536, size=(12, 9, channels)).astype(np.uint16)
    if channels in (2, 4):
        values[..., -1] = 257 * ALPHA.astype(np.uint16)
    return values


def deep_expected(values):
    if values.shape[2] in (2, 4):
        return side_by_side(hidden(values[..., :-1] / 65535))
    return side_by_side(values / 65535)


GREY_ALPHA = Image.merge("LA", (picture(GREY), picture(ALPHA)))
RGBA = Image.merge("RGBA", (*picture(COLOURS).split(), picture(ALPHA)))
PALETTE = picture(COLOURS).quantize(16)
CMYK = picture(COLOURS, "CMYK")

LOSSLESS = {"webp": {"lossless": True, "exact": True}}
KINDS = {
    **{f"grey {x}": (x, picture(GREY), GREY / 255) for x in ("png", "tif", "bmp", "gif", "pgm")},
    **{
        f"colours {x}": (x, picture(COLOURS), side_by_side(COLOURS / 255))
        for x in ("png", "tif", "bmp", "webp", "ppm")
    },
    "colours without colour": ("png", picture(GREY, "RGB"), GREY / 255),
    "black and white": ("png", picture(GREY > 100), (GREY > 100).astype(float)),
    "palette": ("png", PALETTE, side_by_side(np.asarray(PALETTE.convert("RGB")) / 255)),
    "inks": ("tif", CMYK, side_by_side(np.asarray(CMYK.convert("RGB")) / 255)),
    "grey and transparent": ("png", GREY_ALPHA, hidden(GREY / 255)),
    "transparent png": ("png", RGBA, side_by_side(hidden(COLOURS / 255))),
    "transparent tif": ("tif", RGBA, side_by_side(hidden(COLOURS / 255))),
    "transparent webp": ("webp", RGBA, side_by_side(hidden(COLOURS / 255))),
    "16 bits png": ("png", picture(DEEP), DEEP / 65535),
    "16 bits tif": ("tif", picture(DEEP), DEEP / 65535),
    "16 bits pgm": ("pgm", picture(DEEP), DEEP / 65535),
    "floats": ("tif", picture(FLOATS), FLOATS.astype(float)),
    "integers": ("tif", picture(DEEP.astype(np.int32) - 9), DEEP - 9.0),
}


def there_and_back(source, tmp_path):
    """What is written of a source without its gaps, read again."""
    filled = np.nan_to_num(source.values)
    source.write(tmp_path / f"back{source.suffix}", filled)
    return read(tmp_path / f"back{source.suffix}").values, filled


@pytest.mark.parametrize("kind", KINDS)
def test_every_mode_is_read_right_and_written_with_as_many_bits(kind, tmp_path):
    suffix, made, expected = KINDS[kind]
    made.save(tmp_path / f"a.{suffix}", **LOSSLESS.get(suffix, {}))
    source = read(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(source.values, expected, rtol=1e-15)
    again, filled = there_and_back(source, tmp_path)
    np.testing.assert_allclose(again, filled, rtol=1e-15)


@pytest.mark.parametrize(("channels", "kind"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_sixteen_bits_of_colour_stay_sixteen_bits(channels, kind, tmp_path):
    values = deep(channels)
    deep_png(tmp_path / "a.png", values, kind)
    source = read(tmp_path / "a.png")
    np.testing.assert_array_equal(source.values, deep_expected(values))
    assert "16 bits" in source.notes[0]
    again, filled = there_and_back(source, tmp_path)
    np.testing.assert_array_equal(again, filled)


def deep_tiff(path, values, order):
    """TIFF of sixteen bits in colour, which Pillow cannot write, in one strip."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    depths = 8 + len(data)
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, depths), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, height),
        (279, 4, 1, len(data)), *([(338, 3, 1, 2)] if channels == 4 else []),
    ]  # fmt: skip
    out = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, depths + 2 * channels)
    out += data + struct.pack(f"{order}{channels}H", *[16] * channels)
    out += struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        out += struct.pack(f"{order}HHI" + ("HH" if short else "I"), tag, kind, count,
                           *((value, 0) if short else (value,)))  # fmt: skip
    path.write_bytes(out + struct.pack(f"{order}I", 0))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_of_colour_in_a_tiff_stay_sixteen_bits(channels, order, tmp_path):
    values = deep(channels)
    deep_tiff(tmp_path / "a.tif", values, order)
    source = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(source.values, deep_expected(values))
    again, filled = there_and_back(source, tmp_path)
    np.testing.assert_array_equal(again, filled)


def test_a_colour_that_stands_for_transparent_pixels_is_missing(tmp_path):
    one = int(GREY[3, 4])
    picture(GREY).save(tmp_path / "a.png", transparency=one)
    expected = np.where(np.equal(GREY, one), np.nan, GREY / 255)
    np.testing.assert_array_equal(read(tmp_path / "a.png").values, expected)
    picture(COLOURS).save(tmp_path / "a.png", transparency=tuple(map(int, COLOURS[3, 4])))
    source = read(tmp_path / "a.png")
    assert np.isnan(source.shaped(source.values)[3, 4]).all()
    assert np.isnan(source.values).sum() == 3
    palette = PALETTE.copy()
    place = int(np.asarray(palette)[3, 4])
    palette.save(tmp_path / "a.gif", transparency=place)
    missing = np.isnan(read(tmp_path / "a.gif").values[:, :9])
    np.testing.assert_array_equal(missing, np.asarray(palette) == place)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(orientation, suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(COLOURS).save(tmp_path / f"a.{suffix}", exif=exif, **LOSSLESS.get(suffix, {}))
    picture(COLOURS).save(tmp_path / "b.png", exif=exif)
    with Image.open(tmp_path / "b.png") as made:
        expected = np.asarray(ImageOps.exif_transpose(made)) / 255
    got = read(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(got.shaped(got.values), expected)


def test_the_first_frame_of_several_is_taken_and_said(tmp_path):
    frames = [picture(GREY[::-1]), picture(GREY.T)]
    picture(GREY).save(tmp_path / "a.tif", save_all=True, append_images=frames)
    source = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(source.values, GREY / 255)
    assert "the first of 3 frames" in source.notes


def mask_files(tmp_path, mask):
    picture(np.where(mask, 255, 0).astype(np.uint8)).save(tmp_path / "m.png")
    picture(np.where(mask, 250, 9).astype(np.uint8), "RGB").save(tmp_path / "m.jpg", quality=100)
    np.save(tmp_path / "m.npy", mask)
    np.savetxt(tmp_path / "m.csv", mask, fmt="%d", delimiter=",")
    return [tmp_path / f"m.{suffix}" for suffix in ("png", "jpg", "npy", "csv")]


def test_a_mask_is_white_where_entries_are_missing(tmp_path):
    mask = np.kron(RNG.random((3, 3)) < 0.4, np.ones((4, 3))) > 0
    picture(COLOURS).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", DEEP)
    expected = side_by_side(np.where(mask[..., None], np.nan, COLOURS / 255))
    for path in mask_files(tmp_path, mask):
        source = read(tmp_path / "a.png", ReadingOptions(mask=path))
        np.testing.assert_array_equal(source.values, expected)
        assert "white or not zero" in source.notes[-1]
        got = read(tmp_path / "a.npy", ReadingOptions(mask=path)).values
        np.testing.assert_array_equal(got, np.where(mask, np.nan, DEEP))


def test_a_mark_of_tables_means_nothing_in_a_picture(tmp_path):
    picture(GREY).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="--mask says which pixels"):
        read(tmp_path / "a.png", ReadingOptions(missing_values=("255",)))


def test_masks_that_do_not_fit_are_refused(tmp_path):
    picture(GREY).save(tmp_path / "a.png")
    for size, value, message in (
        ((9, 12), 0, r"mask .* is 9 x 12: it must be 12 x 9"),
        ((12, 9), 0, "covers nothing"),
        ((12, 9), 255, "covers all"),
    ):
        picture(np.full(size, value, dtype=np.uint8)).save(tmp_path / "m.png")
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "a.png", ReadingOptions(mask=tmp_path / "m.png"))


@pytest.fixture
def smooth(tmp_path):
    """Picture of rank three in colour, a third of it transparent."""
    x, y = np.linspace(0, 1, 24), np.linspace(0, 1, 20)
    waves = [np.add.outer(np.sin(3 * x + k), y * (k + 1) / 3) for k in range(3)]
    colours = np.stack([(w - w.min()) / np.ptp(w) for w in waves], axis=2)
    seen = np.random.default_rng(1).random((24, 20)) > 0.3
    whole = np.round(255 * np.dstack([colours, seen])).astype(np.uint8)
    picture(whole).save(tmp_path / "a.png")
    return tmp_path / "a.png", colours, seen


@pytest.mark.usefixtures("blank_figures")
def test_a_transparent_picture_is_completed_in_colour(smooth, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dlngeom.cli._complete.MAX_ITERATIONS", 12)
    path, colours, seen = smooth
    arguments = [str(path), "--output", str(tmp_path / "out"), "--rank", "3", "--depth", "2"]
    assert main(["complete", *arguments, "--compare", "none"]) == 0
    assert "a picture in colour" in (printed := capsys.readouterr().out)
    for colour in ("red", "green", "blue"):
        assert f"a.png, {colour}: 24 x 20, " in printed
    assert "pixels are transparent" in printed
    with Image.open(tmp_path / "out" / "completed.png") as image:
        assert image.mode == "RGB"
        written = np.asarray(image) / 255
    array = np.load(tmp_path / "out" / "completed.npy")
    assert array.shape == (24, 20, 3)
    np.testing.assert_allclose(array[seen], colours[seen], atol=0.6 / 255)
    np.testing.assert_allclose(written, np.clip(array, 0, 1), atol=0.6 / 255)
    assert np.sqrt(np.mean((array - colours)[~seen] ** 2)) < 0.1


def test_pixels_are_hidden_with_all_their_colours(tmp_path):
    from dlngeom.cli import _parser, _tasks

    picture(COLOURS).save(tmp_path / "a.png")
    options = _parser.parse(["complete", str(tmp_path / "a.png"), "--missing", "0.4"])
    task = _tasks.hide(_tasks.load(options), options.missing, np.random.default_rng(0))
    missing = np.isnan(task.source.shaped(task.values))
    assert missing.any(axis=2).sum() == round(0.4 * 108)
    np.testing.assert_array_equal(missing.all(axis=2), missing.any(axis=2))


def test_figures_show_colours_as_they_are():
    colours = COLOURS / 255
    observed = np.where(ALPHA[..., None] > 0, colours, np.nan)
    figure = plotting.completion_figure(observed, colours, 0 * colours, np.ones((3, 2)))
    shown = [x.images[0].get_array() for x in figure.axes[:3]]
    assert [x.shape for x in shown] == [(12, 9, 3), (12, 9, 3), (12, 9)]
    np.testing.assert_array_equal(shown[1], colours)
    assert np.isfinite(np.asarray(shown[0])).all()
