"""Numbers that make no sense are refused with one sentence, and a failed fit changes nothing."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dlngeom.completion import DLNCompletion, complete
from tests.helpers.completion_cases import hide, low_rank

VALUES, _ = hide(low_rank((20, 15)), 0.3)
ONE, TWO = np.array([3]), np.array([2, 3])
NO_NUMBERS = ["3", 1j, math.nan, ONE, TWO, np.array(3), {}]
# None, lists and negative integers are among the values of some options.
NO_INTEGERS = [*NO_NUMBERS, 0, 2.5, True, math.inf]
NO_REALS = [*NO_NUMBERS, [3], None, -1.0, True, 10**400]
NO_FLAGS = ["no", 1j, [True], math.nan, ONE, TWO, {}, None, 0.5]

SOLVERS = ["newton", 1, None, ["alternating"], np.array(["alternating"])]
RANKS = [*NO_INTEGERS, [3], -1, 16, 10**400]
FRACTIONS = [*NO_REALS, 0, 1, 1.0, math.inf]
OF_THE_ESTIMATOR = {
    "depth": [*NO_INTEGERS, [3], None, -1, 10**400],
    "rank": RANKS,
    "solver": SOLVERS,
    "biases": NO_FLAGS,
    "scale": [*NO_FLAGS, True, 1],
    "clip": NO_FLAGS,
    "early_stopping": NO_FLAGS,
    "warm_start": NO_FLAGS,
    "verbose": NO_FLAGS,
    "ridge": [*NO_REALS, math.inf],
    "tol": [*NO_REALS, math.inf],
    "validation_fraction": FRACTIONS,
    "max_iter": [*NO_INTEGERS, [3], None, -1],
    "memory_limit": [*NO_REALS, np.array([math.inf])],
    "n_jobs": [*NO_INTEGERS, [3], 2000, 10**400, -(10**400)],
    "random_state": ["3", 1j, [{}], math.nan, {}, -1, True, 10**400, 2.5],
}
OF_THE_FUNCTION = {
    "depth": [*NO_INTEGERS, None, -1, 10**400, [], [2, "3"], [[2]], b"3"],
    "rank": RANKS,
    "solver": SOLVERS,
    "biases": NO_FLAGS,
    "scale": [*NO_FLAGS, True, 1],
    "clip": NO_FLAGS,
    "holdout": FRACTIONS,
    "max_iterations": OF_THE_ESTIMATOR["max_iter"],
    "rng": ["3", 1j, math.nan, {}, -1, 2.5, np.random.RandomState(0), np.random],
    "report": ["3", 1, {}],
}


def wrong(table):
    return [
        pytest.param(name, value, id=f"{name}-{k}")
        for name, values in table.items()
        for k, value in enumerate(values)
    ]


def check(error, name, value):
    text = str(error)
    assert f"{name}=" in text
    # Its own type: a raw error of numpy or Python would be of another, or name no option.
    assert len(text.splitlines()) <= 2
    assert repr(value)[:15] in text or isinstance(value, list)


@pytest.mark.parametrize(("name", "value"), wrong(OF_THE_ESTIMATOR))
def test_the_estimator_names_wrong_values(name, value):
    with pytest.raises(ValueError, match=r"must be|must lie|needs a finite") as caught:
        DLNCompletion(**{name: value}).fit(VALUES)
    check(caught.value, name, value)


@pytest.mark.parametrize(("name", "value"), wrong(OF_THE_FUNCTION))
def test_the_function_names_wrong_values(name, value):
    with pytest.raises(ValueError, match=r"must be|must lie|at least|finite|pass a") as caught:
        complete(VALUES, **{name: value})
    check(caught.value, name, value)


def test_numbers_of_numpy_and_generators_are_taken():
    options = {"depth": np.int64(2), "rank": np.uint8(3), "max_iter": np.int32(4), "n_jobs": 1}
    kinds = {"ridge": np.float32(1), "tol": 0, "memory_limit": math.inf, "biases": np.True_}
    for seed in (None, 7, np.int64(7), np.random.RandomState(0), np.random.default_rng(0)):
        assert DLNCompletion(**options, **kinds, random_state=seed).fit(VALUES).rank_ <= 3
    for depth in (2, [2], (np.int64(2),), range(2, 3)):
        result = complete(VALUES, depth=depth, rank=2, max_iterations=3, rng=np.int64(4))
        assert result.depth == 2


def test_layers_beyond_the_memory_are_refused_and_the_alternating_solver_needs_none():
    expected = r"depth=10000000 .*needs 168 GiB"
    with pytest.raises(ValueError, match=expected):
        complete(VALUES, depth=(2, 10**7), solver="trust-regions")
    with pytest.raises(ValueError, match=expected):
        DLNCompletion(10**7, solver="trust-regions").fit(VALUES)
    assert np.isfinite(complete(VALUES, depth=10**7, max_iterations=5).completed).all()
    assert np.isfinite(DLNCompletion(10**7, max_iter=5).fit_transform(VALUES)).all()


def test_predict_of_no_places_is_empty_and_of_wrong_ones_one_error():
    model = DLNCompletion(rank=2, max_iter=3, random_state=0).fit(VALUES)
    for nothing in ([], (), np.zeros(0), np.zeros(0, dtype=int), pd.Series([], dtype=float)):
        got = model.predict(nothing, nothing)
        assert got.shape == (0,)
        assert got.dtype == np.float64
    for rows in ("1", 1.0, None, [True], [10**400], [[1], [2, 3]], np.ma.array([1], mask=[1]), 1j):
        with pytest.raises(ValueError, match=r"rows.*: give (one )?integer"):
            model.predict(rows, [0])
    for rows in ([-1], [20], np.array([2**63], dtype=np.uint64)):
        with pytest.raises(ValueError, match="rows has values from"):
            model.predict(rows, [0])
    with pytest.raises(ValueError, match="rows and columns have shapes"):
        model.predict([], [0])


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("kind", [np.array, sparse.csr_array])
def test_a_score_needs_an_entry_to_fit_and_one_to_predict(count, kind):
    model = DLNCompletion(rank=2, max_iter=3, random_state=0).fit(VALUES)
    few = np.full((3, 15), np.nan)
    few[0, :count] = 5.0
    if kind is sparse.csr_array:
        few = sparse.csr_array(np.nan_to_num(few))
    with pytest.raises(ValueError, match=f"{count} entries are observed .* at least two"):
        model.score(few)
    # To complete rows, their biases are enough.
    assert np.isfinite(model.transform(few)).all()


def test_later_calls_check_what_was_set_since():
    model = DLNCompletion(rank=2, max_iter=3, random_state=0).fit(VALUES)
    for name, call in (
        ("validation_fraction", model.score),
        ("ridge", model.transform),
        ("memory_limit", model.transform),
        ("n_jobs", model.transform),
    ):
        before = getattr(model, name)
        setattr(model, name, "1")
        with pytest.raises(ValueError, match=f"{name}='1'"):
            call(VALUES)
        setattr(model, name, before)


def interrupted(*arguments, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_fit_that_fails_changes_nothing(warm_start, monkeypatch):
    names = [f"c{j}" for j in range(15)]
    model = DLNCompletion(rank=2, max_iter=3, random_state=0, warm_start=warm_start)
    frame = pd.DataFrame(VALUES, columns=names)
    before = dict(vars(model.fit(frame)))
    predicted, score = model.transform(frame), model.score(frame)
    other = np.where(np.eye(9, 7) > 0, np.nan, 1.0)
    bad = [
        (ValueError, {}, np.full((4, 4), np.nan)),
        (ValueError, {}, np.where(np.eye(9, 7) > 0, np.inf, 1.0)),
        (ValueError, {}, 1e200 * other),
        (ValueError, {}, np.ones((9, 7), dtype=bool)),
        (ValueError, {"rank": 8}, other),
        (ValueError, {"random_state": "x"}, other),
        (ValueError, {"memory_limit": 1e-9}, pd.DataFrame(other)),
        (TypeError, {}, pd.DataFrame(other, columns=["a", *range(6)])),
    ]
    for error, change, values in bad:
        saved = {name: getattr(model, name) for name in change}
        with pytest.raises(error):
            model.set_params(**change).fit(values)
        model.set_params(**saved)
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())
    with monkeypatch.context() as patch:
        patch.setattr("dlngeom.completion._choice.learn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(other)
    assert model.n_features_in_ == 15
    assert list(model.feature_names_in_) == names
    np.testing.assert_array_equal(model.transform(frame), predicted)
    assert model.score(frame) == score
    assert model.fit(other).n_features_in_ == 7
    assert not hasattr(model, "feature_names_in_")
