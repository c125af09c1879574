"""What looks like a matrix is taken as what it means, and the caller's arrays are only read."""

import fractions

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone

from dlngeom.completion import DLNCompletion, complete
from dlngeom.completion._door import as_dense, as_matrix
from tests.helpers.completion_cases import hide, low_rank
from tests.helpers.parameters import slow

NAN = np.nan
KEPT = [[1.0, NAN, 3.0], [4.0, 5.0, NAN]]
HIDDEN = [[False, True, False], [False, False, True]]
INTEGERS = [[1, 99, 3], [4, 5, -7]]
QUICK = {"rank": 2, "depth": 2, "max_iterations": 3, "rng": 0}
# Everything that is computed from the entries before the fit, and nothing that is chosen.
ONCE = {"biases": True, "scale": "columns"}
FORMATS = ["coo", "csr", "csc", "bsr", "dia", "lil", "dok"]


def integers_with_na():
    columns = [[1, 4], [None, 5], [3, None]]
    return pd.DataFrame({i: pd.array(x, dtype="Int64") for i, x in enumerate(columns)})


def sparse_frame(fill):
    columns = np.nan_to_num(np.array(KEPT), nan=fill).T
    arrays = [pd.arrays.SparseArray(x, fill_value=fill) for x in columns]
    return pd.DataFrame(dict(enumerate(arrays)))


def mixed_frame():
    frame = sparse_frame(NAN)
    frame[1] = [NAN, 5.0]
    return frame


LOOK_ALIKES = {
    "np.matrix": lambda: np.array(KEPT).view(np.matrix),
    "masked": lambda: np.ma.array(INTEGERS, mask=HIDDEN),
    "masked infinities": lambda: np.ma.array(np.where(HIDDEN, np.inf, INTEGERS), mask=HIDDEN),
    "masked objects": lambda: np.ma.array(INTEGERS, mask=HIDDEN, dtype=object),
    "masked rows": lambda: [np.ma.array(x, mask=m) for x, m in zip(INTEGERS, HIDDEN, strict=True)],
    "list with masked": lambda: [[1, np.ma.masked, 3], [4, 5, np.ma.masked]],
    "masked by value": lambda: np.ma.masked_equal([[1, -1, 3], [4, 5, -1]], -1),
    "frame of Arrow's integers": lambda: integers_with_na().astype("int64[pyarrow]"),
    "frame of equal names": lambda: pd.DataFrame(KEPT, columns=["a", "a", "b"]),
    "list of series": lambda: [pd.Series(x) for x in KEPT],
    "big-endian": lambda: np.array(KEPT, dtype=">f8"),
    "big-endian float32": lambda: np.array(KEPT, dtype=">f4"),
    "list": lambda: KEPT,
    "tuple with None": lambda: ((1, None, 3), (4, 5, None)),
    "objects": lambda: np.array([[1, pd.NA, 3], [fractions.Fraction(4), 5.0, None]]),
    "frame": lambda: pd.DataFrame(KEPT, columns=list("abc"), index=[7, 5]),
    "frame of nullable integers": integers_with_na,
    "frame of nullable floats": lambda: pd.DataFrame(KEPT).convert_dtypes(),
    "frame of objects with NA": lambda: pd.DataFrame([[1, pd.NA, 3], [4, 5.0, None]], dtype=object),
    "sparse frame": lambda: sparse_frame(NAN),
    "sparse frame of zeros": lambda: sparse_frame(0.0),
    "frame with sparse columns": mixed_frame,
    "memory map": lambda: np.array(KEPT).view(np.memmap),
    "sparse": lambda: sparse.coo_matrix(([3, 1, 5, 4], ([0, 0, 1, 1], [2, 0, 1, 0]))),
}

OFTEN = ("np.matrix", "masked", "big-endian", "list", "frame of nullable integers", "sparse")


@pytest.mark.parametrize("kind", LOOK_ALIKES)
def test_look_alikes_mean_what_they_say(kind):
    got = as_dense(LOOK_ALIKES[kind]())
    assert type(got) is np.ndarray
    assert got.dtype == np.float64
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, KEPT)


def both_ways(values):
    model = DLNCompletion(rank=2, max_iter=3, random_state=0)
    return [complete(values, **QUICK).completed, model.fit_transform(values)]


@pytest.fixture(scope="module")
def completed_both_ways():
    return both_ways(np.array(KEPT))


@pytest.mark.parametrize("kind", [x if x in OFTEN else slow(x) for x in LOOK_ALIKES])
def test_both_ways_into_completion_take_them(kind, completed_both_ways):
    got = both_ways(LOOK_ALIKES[kind]())
    # A float32 input comes back in float32.
    for one, two in zip(got, completed_both_ways, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_a_mask_hides_what_is_under_it():
    matrix = low_rank()
    _, hidden = hide(matrix, 0.4)
    masked = np.ma.array(np.where(hidden, 1e3, matrix), mask=hidden)
    result = DLNCompletion(random_state=0, biases=False).fit_transform(masked)
    assert np.sqrt(np.mean((result - matrix)[hidden] ** 2)) < 1e-5


UNCLEAR = {
    "bool": np.ones((3, 3), dtype=bool),
    "float16": np.ones((3, 3), dtype=np.float16),
    "complex128": np.ones((3, 3), dtype=complex),
    "<U1": np.full((3, 3), "1"),
    "is '1'": np.array([[1, 2], [3, "1"]], dtype=object),
    "datetime64": np.zeros((3, 3), dtype="M8[D]"),
    "is True": [[1, None], [True, 2]],
    "too large for a float": [[1, 10**400], [2, 3]],
    "rows of one length": [[1, 2], [3]],
    r"shape \(3,\)": [1.0, 2.0, 3.0],
    r"shape \(\) and": None,
    r"shape \(\) and dtype object": object(),
    r"shape \(2, 2, 2\)": np.ones((2, 2, 2)),
    "dtype bool": pd.DataFrame({"a": [True, False], "b": [1.0, 2.0]}),
    "is 'x'": pd.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]}),
    "Complex data not supported": sparse.csr_array(np.eye(3), dtype=complex),
    "sparse input has shape": sparse.coo_array(np.ones(3)),
    "fill value 1.0": pd.DataFrame({"a": pd.arrays.SparseArray([1.0, 2], fill_value=1.0)}),
}


@pytest.mark.parametrize("message", UNCLEAR)
def test_what_is_no_matrix_of_numbers_is_refused(message):
    for take in (complete, DLNCompletion().fit):
        with pytest.raises(ValueError, match=message):
            take(UNCLEAR[message])


@pytest.mark.skipif(np.longdouble == np.float64, reason="needs long doubles of their own")
def test_long_doubles_and_objects_are_refused_with_the_cure():
    for take in (complete, DLNCompletion().fit):
        with pytest.raises(ValueError, match=r"np\.asarray\(X, float\)"):
            take(np.ones((3, 3), dtype=np.longdouble))
        with pytest.raises(TypeError, match=r"entry \[0, 1\] is .*np\.asarray\(X, float\)"):
            take(np.array([[1, {}], [2, 3]], dtype=object))


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0)])
@pytest.mark.parametrize("kind", [np.zeros, sparse.csr_array, lambda x: pd.DataFrame(np.zeros(x))])
def test_empty_matrices_are_refused(shape, kind):
    for take in (complete, DLNCompletion().fit):
        with pytest.raises(ValueError, match=r"at least 2 x 2|minimum of 1 is required"):
            take(kind(shape))


def test_a_sparse_matrix_too_large_to_be_dense_is_refused_with_its_size():
    with pytest.raises(ValueError, match=r"needs 7\.45e\+03 GiB, more than 4: DLNCompletion"):
        complete(sparse.coo_array(([1.0], ([0], [0])), shape=(10**6, 10**6)))


def test_damaged_indices_are_refused():
    damaged = sparse.csr_array(np.eye(3))
    damaged.indices[1] = 7
    with pytest.raises(ValueError, match="damaged"):
        as_matrix(damaged)


def with_zeros(form, kind):
    """Matrix that stores a zero at [1, 1] and no entry at [0, 1], where the format can."""
    if form == "dia":
        return getattr(sparse, f"dia_{kind}")(([[1.0, 0, 2, 9], [3, 0, 5, 7]], [0, 1]), (3, 3))
    entries = ([1.0, 2, 0, 4], ([0, 0, 1, 1], [2, 0, 1, 0]))
    stored = getattr(sparse, f"coo_{kind}")(entries, shape=(3, 3))
    return sparse.bsr_array(stored, blocksize=(3, 3)) if form == "bsr" else stored.asformat(form)


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
def test_stored_entries_are_observed_zeros_included(form, kind):
    expected = [[2, NAN, 1], [4, 0, NAN], [NAN, NAN, NAN]]
    if form == "bsr":  # A zero in a block looks like those that pad it.
        expected[1][1] = NAN
    if form == "dia":
        expected = [[1, 0, NAN], [NAN, 0, 5], [NAN, NAN, 2]]
    np.testing.assert_array_equal(as_dense(with_zeros(form, kind)), expected)


def test_formats_learn_the_same():
    values, _ = hide(low_rank((20, 15)), 0.4)
    rows, columns = np.nonzero(~np.isnan(values))
    stored = sparse.coo_array((values[rows, columns], (rows, columns)), shape=values.shape)
    model = DLNCompletion(rank=3, max_iter=5, random_state=0, **ONCE)
    expected = model.fit_transform(values)
    for form in ("csc", "lil", "dok", "bsr"):
        got = clone(model).fit_transform(stored.asformat(form))
        np.testing.assert_array_equal(got, expected)
    dense = np.diag(np.arange(12.0)) + np.diag(np.arange(11.0), 1)
    banded = np.where(np.triu(np.ones((12, 12))) - np.triu(np.ones((12, 12)), 2), dense, NAN)
    got = clone(model).fit_transform(sparse.dia_array(dense))
    np.testing.assert_array_equal(got, clone(model).fit_transform(banded))


def doubled(values, form):
    """Matrix that stores each entry twice, half of it above and half of it below."""
    rows, columns = np.nonzero(~np.isnan(values))
    x = values[rows, columns]
    data, index = np.concatenate([x + 1, x - 1]), np.tile([rows, columns], 2)
    stored = sparse.coo_array((data, index), shape=values.shape)
    stored.has_canonical_format = True  # Or scipy would add them up here.
    return stored if form == "coo" else stored.asformat(form)


@pytest.mark.parametrize("form", ["coo", "csr", "csc"])
def test_entries_stored_twice_are_averaged_with_a_warning(form):
    values = np.round(hide(low_rank((20, 15)), 0.3)[0], 2)
    matrix, count = doubled(values, form), np.sum(~np.isnan(values))
    message = f"{count} of {2 * count} entries are stored more than once"
    model = DLNCompletion(rank=3, max_iter=5, random_state=0, **ONCE)
    with pytest.warns(UserWarning, match=message):
        np.testing.assert_allclose(as_dense(matrix), values, rtol=1e-14)
    for take in (model.fit, model.transform, model.score, lambda x: complete(x, **QUICK, **ONCE)):
        with pytest.warns(UserWarning, match=message):
            take(matrix)


def arrays_of(matrix):
    names = ("data", "indices", "indptr", "row", "col", "offsets", "rows")
    found = [getattr(matrix, name, None) for name in names] if sparse.issparse(matrix) else [matrix]
    return [x for x in found if isinstance(x, np.ndarray)]


def unsorted(matrix):
    """The same entries by rows, each row backwards."""
    flipped = sparse.csr_array(matrix[:, ::-1])
    flipped.indices[:] = matrix.shape[1] - 1 - flipped.indices
    return sparse.csr_array((flipped.data, flipped.indices, flipped.indptr), shape=matrix.shape)


@pytest.mark.parametrize("form", [*FORMATS, "unsorted csr", "twice", "dense", "float32", "masked"])
@pytest.mark.filterwarnings("ignore:.*stored more than once")
def test_the_caller_s_arrays_are_only_read(form):
    values, hidden = hide(low_rank((20, 15)), 0.3)
    whole = sparse.csr_array(np.where(hidden, 0.0, values))
    matrix = {
        "unsorted csr": lambda: unsorted(whole),
        "twice": lambda: doubled(values, "csr"),
        "dense": lambda: values,
        "float32": lambda: values.astype(np.float32),
        "masked": lambda: np.ma.array(np.where(hidden, 7.0, values), mask=hidden),
    }.get(form, lambda: whole.asformat(form))()
    before = [x.copy() for x in arrays_of(matrix)]
    for x in arrays_of(matrix):
        x.flags.writeable = False
    model = DLNCompletion(rank=3, max_iter=5, random_state=0, **ONCE)
    for take in (model.fit, model.fit_transform, model.transform, model.score):
        take(matrix)
    complete(matrix, **QUICK, **ONCE)
    for x, copy in zip(arrays_of(matrix), before, strict=True):
        np.testing.assert_array_equal(x, copy)


@pytest.mark.filterwarnings("ignore:.*stored more than once")
def test_what_joblib_hands_to_workers_is_taken(tmp_path):
    values, _ = hide(low_rank((20, 15)), 0.3)
    # Zeros are stored, out of order and twice.
    entries = sparse.hstack([doubled(values, "csr"), doubled(values * 0, "csr")], format="csr")
    joblib.dump(entries, tmp_path / "a")
    mapped = joblib.load(tmp_path / "a", mmap_mode="r")
    assert not mapped.data.flags.writeable
    model = DLNCompletion(rank=3, max_iter=5, random_state=0)
    expected = clone(model).fit_transform(entries)
    np.testing.assert_array_equal(model.fit_transform(mapped), expected)


def test_predict_reads_places_only():
    values, _ = hide(low_rank((20, 15)), 0.3)
    model = DLNCompletion(rank=3, max_iter=5, random_state=0).fit(values)
    rows, columns = np.array([3, 1, 3]), np.array([0, 14, 2], dtype=">i4")
    rows.flags.writeable = columns.flags.writeable = False
    got = model.predict(rows, columns)
    np.testing.assert_array_equal(got, [model.predict(*x)[0] for x in ((3, 0), (1, 14), (3, 2))])
    np.testing.assert_array_equal(rows, [3, 1, 3])
