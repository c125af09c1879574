"""Tables and files that chance makes: never a traceback, never a wrong shape."""

import io
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import io as matlab
from scipy import sparse

from dlngeom.cli._reading import ReadingOptions, read

FAST = settings(
    max_examples=30, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
LONG = settings(FAST, max_examples=400)

NUMBERS = st.one_of(
    st.integers(-9, 999).map(float),
    st.floats(-1e6, 1e6, allow_nan=False, width=32).map(float),
    st.floats(-1, 1, allow_nan=False),
    st.just(np.nan),
)
NAMES = st.text(
    "abcxyzABC 0123456789_.-()/:\u00e9\u6f22", min_size=1, max_size=8
).map(lambda x: f"c{x}e".replace("inf", "if"))  # fmt: skip


@st.composite
def matrices(draw):
    m, n = draw(st.integers(2, 7)), draw(st.integers(2, 6))
    values = np.array(draw(st.lists(NUMBERS, min_size=m * n, max_size=m * n))).reshape(m, n)
    # A line of empty cells is one of an empty file, and a last column of them a closing separator.
    assume(not np.isnan(values).all(axis=1).any())
    assume(not np.isnan(values[:, -1]).all())
    return values


@st.composite
def frames(draw):
    values = draw(matrices())
    m, n = values.shape
    frame = pd.DataFrame(values)
    if draw(st.booleans()):
        frame.columns = draw(st.lists(NAMES, min_size=n, max_size=n, unique=True))
    if draw(st.booleans()):
        frame.index = draw(st.lists(NAMES, min_size=m, max_size=m, unique=True))
    return frame


STYLES = st.fixed_dictionaries({
    "sep": st.sampled_from([",", ";", "\t", "|"]),
    "decimal": st.sampled_from([".", ","]),
    "na_rep": st.sampled_from(["", "NA", "nan", "?", "-", "N/A", "null", "None"]),
    "lineterminator": st.sampled_from(["\n", "\r\n"]),
})  # fmt: skip
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])


def check_frame(frame, style, encoding, folder):
    path = folder / "a.csv"
    path.write_bytes(frame.to_csv(**style).encode(encoding))
    source = read(path)
    np.testing.assert_array_equal(source.values, frame.to_numpy())
    source.write(folder / "b.csv", np.nan_to_num(source.values))
    again = read(folder / "b.csv", ReadingOptions(header_rows=1, index_columns=1)).values
    np.testing.assert_array_equal(again, np.nan_to_num(source.values))


@FAST
@given(frames(), STYLES, ENCODINGS)
def test_frames_that_pandas_writes_are_read_right(tmp_path, frame, style, encoding):
    check_frame(frame, style, encoding, tmp_path)


@pytest.mark.slow
@LONG
@given(frames(), STYLES, ENCODINGS)
def test_many_frames_that_pandas_writes_are_read_right(tmp_path, frame, style, encoding):
    check_frame(frame, style, encoding, tmp_path)


def check_plain(values, style, named, folder):
    """A table without an index, and with names of columns or nothing."""
    frame = pd.DataFrame(values, columns=[f"c{j}" for j in range(values.shape[1])])
    (folder / "a.csv").write_text(frame.to_csv(header=named, index=False, **style))
    # Integers that count above or beside fractions are taken for labels, and so is said.
    options = ReadingOptions() if named else ReadingOptions(header_rows=0, index_columns=0)
    np.testing.assert_array_equal(read(folder / "a.csv", options).values, values)


@FAST
@given(matrices(), STYLES, st.booleans())
def test_tables_without_an_index_are_read_right(tmp_path, values, style, named):
    check_plain(values, style, named, tmp_path)


@pytest.mark.slow
@LONG
@given(matrices(), STYLES, st.booleans())
def test_many_tables_without_an_index_are_read_right(tmp_path, values, style, named):
    check_plain(values, style, named, tmp_path)


def everyday(rng, kind):
    """Numbers of an everyday table, a fifth of them missing but in no row all."""
    shape = tuple(rng.integers(3, 8, size=2))
    values = {
        "integers": lambda: rng.integers(0, 10, size=shape).astype(float),
        "ratings": lambda: rng.integers(1, 6, size=shape).astype(float),
        "fractions": lambda: rng.normal(size=shape),
        "one digit": lambda: rng.normal(size=shape).round(1),
    }[kind]()
    gaps = rng.random(shape) < 0.2
    gaps[:, -1] = gaps[:, -1] & (np.arange(shape[0]) > 0)
    gaps[np.arange(shape[0]), rng.integers(shape[1] - 1, size=shape[0])] = False
    gaps[0, -1] = False
    return np.where(gaps, np.nan, values)


UNLABELLED = {
    "short": lambda x: "\n".join(
        ",".join("" if np.isnan(v) else f"{v:.17g}" for v in row) for row in x
    ),
    "long": lambda x: "\n".join(" ".join(f"{v:.18e}" for v in row) for row in x),
    "index alone": lambda x: pd.DataFrame(x).to_csv(header=False),
    "header alone": lambda x: pd.DataFrame(x).to_csv(index=False),
    "integers": lambda x: pd.DataFrame(x).convert_dtypes().to_csv(),
}


@pytest.mark.parametrize("how", UNLABELLED)
@pytest.mark.parametrize("kind", ["integers", "ratings", "fractions", "one digit"])
def test_numbers_are_data_and_default_labels_are_labels(kind, how, tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = everyday(rng, kind)
        (tmp_path / "a.csv").write_text(UNLABELLED[how](values))
        np.testing.assert_array_equal(read(tmp_path / "a.csv").values, values)


TEXTS = st.one_of(
    st.text("0123456789.,;-+eE\"'\n\t |#%naNA?_:xu\r\0\ufeff", max_size=120),
    st.text(max_size=60),
    st.lists(
        st.lists(st.sampled_from(["1", "2.5", "", "x", "-", "1,5", '"', "inf", "user"]), max_size=5)
        .map(",".join),
        max_size=8,
    ).map("\n".join),
)  # fmt: skip


def check_whatever(path, options=None):
    """A file is read as a matrix of numbers, or refused with one message."""
    try:
        source = read(path, options or ReadingOptions())
    except ValueError:
        return
    assert source.values.ndim == 2
    assert source.values.dtype == np.float64
    assert not np.isinf(source.values).any()


@FAST
@given(TEXTS)
def test_no_text_makes_a_traceback(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text.encode("utf-8", "replace"))
    for triples in (None, True, False):
        check_whatever(tmp_path / "a.csv", ReadingOptions(triples=triples))


def _written(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


VALUES = np.arange(20.0).reshape(5, 4)
PICTURE = Image.fromarray(VALUES.astype(np.uint8) * 9)
WHOLE = {
    ".npy": _written(lambda x: np.save(x, VALUES)),
    ".npz": _written(lambda x: np.savez(x, a=VALUES)),
    ".mat": _written(lambda x: matlab.savemat(x, {"a": VALUES})),
    ".mtx": _written(lambda x: matlab.mmwrite(x, sparse.coo_array(VALUES))),
    ".parquet": _written(lambda x: pd.DataFrame(VALUES, columns=list("abcd")).to_parquet(x)),
    ".png": _written(lambda x: PICTURE.save(x, "PNG")),
    ".gif": _written(lambda x: PICTURE.save(x, "GIF")),
    ".tif": _written(lambda x: PICTURE.convert("F").save(x, "TIFF")),
    ".jpg": _written(lambda x: PICTURE.convert("RGB").save(x, "JPEG")),
    ".csv": pd.DataFrame(VALUES).to_csv().encode("utf-16"),
    ".csv.gz": _written(lambda x: pd.DataFrame(VALUES).to_csv(x, compression="gzip")),
}


def damaged(data, rng, suffix):
    """Bytes with some of them changed, cut out, or missing at the end."""
    out = bytearray(data)
    if suffix == ".mat":
        # scipy's reader may end the process at a changed byte, beyond what can be caught.
        return bytes(out[: int(rng.integers(len(out)))])
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(out)))
        out[place] = int(rng.integers(256))
    kind, place = rng.integers(4), int(rng.integers(len(out)))
    if kind == 0:
        del out[place:]
    elif kind == 1:
        del out[place : place + 3]
    return bytes(out)


def check_damaged(suffix, count, folder):
    rng = np.random.default_rng(0)
    path: Path = folder / f"a{suffix}"
    for _ in itertools.repeat(None, count):
        path.write_bytes(damaged(WHOLE[suffix], rng, suffix))
        check_whatever(path)


@pytest.mark.parametrize("suffix", WHOLE)
def test_no_damage_makes_a_traceback(suffix, tmp_path):
    check_damaged(suffix, 20, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", WHOLE)
def test_no_damage_of_many_makes_a_traceback(suffix, tmp_path):
    check_damaged(suffix, 300, tmp_path)
